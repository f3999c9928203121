-- drop_table: table public.recommendation_outcomes
DROP TABLE public.recommendation_outcomes;

-- drop_table_with_dependents: constraint public.recommendations.recommendations_snapshot_time_ticker_id_fkey
DROP TABLE public.daily_snapshots CASCADE;

-- drop_hypertable: table public.ohlcv
DROP TABLE public.ohlcv;

-- rename_table: table public.options_chains
ALTER TABLE public.options_chains RENAME TO option_chains;

-- rename_table_is_extra: nothing extra: table public.option_chains
ALTER TABLE public.options_chains RENAME TO option_chains;

-- move_table: table public.recommendation_outcomes
CREATE SCHEMA elsewhere;
ALTER TABLE public.recommendation_outcomes SET SCHEMA elsewhere;

-- replace_table_by_view: table public.recommendation_outcomes => logged view
ALTER TABLE public.recommendation_outcomes RENAME TO hidden;
CREATE VIEW public.recommendation_outcomes AS SELECT * FROM public.hidden;

-- unlogged_table: table public.recommendation_outcomes => unlogged
ALTER TABLE public.recommendation_outcomes SET UNLOGGED;

-- table_owner: table public.tickers => owner: pg_monitor
ALTER TABLE public.tickers OWNER TO pg_monitor;

-- grant_to_public: table public.ohlcv => granted to PUBLIC: SELECT
GRANT SELECT ON public.ohlcv TO PUBLIC;

-- grant_on_column_to_public: table public.tickers => granted to PUBLIC: UPDATE
GRANT UPDATE (symbol) ON public.tickers TO PUBLIC;

-- row_security: table public.recommendations => row-level security: on
ALTER TABLE public.recommendations ENABLE ROW LEVEL SECURITY;

-- row_security_is_automatic: no row-level security => public.recommendations
ALTER TABLE public.recommendations ENABLE ROW LEVEL SECURITY;

-- forced_row_security: no row-level security => public.recommendations
ALTER TABLE public.recommendations FORCE ROW LEVEL SECURITY;

-- drop_ledger: table dbops.schema_migrations
DROP TABLE dbops.schema_migrations;

-- ledger_column: column dbops.schema_migrations.checksum
ALTER TABLE dbops.schema_migrations ALTER COLUMN checksum DROP NOT NULL;

-- table_beside_ledger: nothing extra: table dbops.notes
CREATE TABLE dbops.notes (note text);

-- create_for_public: schema public => CREATE
GRANT CREATE ON SCHEMA public TO PUBLIC;
