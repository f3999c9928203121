-- drop_table
-- verify: table public.recommendation_outcomes
DROP TABLE public.recommendation_outcomes;

-- drop_table_with_dependents
-- verify: constraint public.recommendations.recommendations_snapshot_time_ticker_id_fkey
DROP TABLE public.daily_snapshots CASCADE;

-- drop_hypertable
-- verify: table public.ohlcv
DROP TABLE public.ohlcv;

-- rename_table
-- verify: table public.options_chains
ALTER TABLE public.options_chains RENAME TO option_chains;

-- rename_table_is_extra
-- drift: table public.option_chains => +table public.option_chains
ALTER TABLE public.options_chains RENAME TO option_chains;

-- move_table
-- verify: table public.recommendation_outcomes
CREATE SCHEMA elsewhere;
ALTER TABLE public.recommendation_outcomes SET SCHEMA elsewhere;

-- replace_table_by_view
-- verify: table public.recommendation_outcomes => logged view
ALTER TABLE public.recommendation_outcomes RENAME TO hidden;
CREATE VIEW public.recommendation_outcomes AS SELECT * FROM public.hidden;

-- unlogged_table
-- verify: table public.recommendation_outcomes => unlogged
ALTER TABLE public.recommendation_outcomes SET UNLOGGED;

-- table_owner
-- verify: table public.tickers => owner: pg_monitor
ALTER TABLE public.tickers OWNER TO pg_monitor;

-- grant_to_public
-- verify: table public.ohlcv => granted to PUBLIC: SELECT
GRANT SELECT ON public.ohlcv TO PUBLIC;

-- grant_on_column_to_public
-- verify: table public.tickers => granted to PUBLIC: UPDATE
GRANT UPDATE (symbol) ON public.tickers TO PUBLIC;

-- row_security
-- verify: table public.recommendations => row-level security: on
ALTER TABLE public.recommendations ENABLE ROW LEVEL SECURITY;

-- row_security_is_automatic
-- drift: table public.recommendations => +    row level security enabled
ALTER TABLE public.recommendations ENABLE ROW LEVEL SECURITY;

-- forced_row_security
-- drift: table public.recommendations => +    row level security forced
ALTER TABLE public.recommendations FORCE ROW LEVEL SECURITY;

-- drop_ledger
-- verify: table dbops.schema_migrations
DROP TABLE dbops.schema_migrations;

-- ledger_column
-- verify: column dbops.schema_migrations.checksum
ALTER TABLE dbops.schema_migrations ALTER COLUMN checksum DROP NOT NULL;

-- table_beside_ledger
-- drift: table dbops.notes => +table dbops.notes
CREATE TABLE dbops.notes (note text);

-- create_for_public
-- verify: schema public => CREATE
GRANT CREATE ON SCHEMA public TO PUBLIC;
