-- add_table
-- drift: table public.stowaway => +table public.stowaway
CREATE TABLE public.stowaway (id integer);

-- add_partitioned_table
-- drift: table public.stowaway => +table public.stowaway
CREATE TABLE public.stowaway (id integer) PARTITION BY RANGE (id);

-- add_table_in_schema_of_timescaledb
-- drift: table _timescaledb_internal.stowaway => +table _timescaledb_internal.stowaway
CREATE TABLE _timescaledb_internal.stowaway (id integer);

-- add_unlogged_table
-- drift: table public.staging => +table public.staging
CREATE UNLOGGED TABLE public.staging (id integer);

-- add_view
-- drift: view public.active_tickers => +view public.active_tickers
CREATE VIEW public.active_tickers AS SELECT symbol FROM public.tickers WHERE is_active;

-- add_materialized_view
-- drift: materialized view public.counts => +materialized view public.counts
CREATE MATERIALIZED VIEW public.counts AS SELECT count(*) AS tickers FROM public.tickers;

-- add_sequence
-- drift: sequence public.numbers => +sequence public.numbers
CREATE SEQUENCE public.numbers;

-- add_function
-- drift: function public.f(integer) => +function public.f(integer)
CREATE FUNCTION public.f(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1';

-- add_overload_of_a_member
-- drift: function public.time_bucket(integer) => +function public.time_bucket(integer)
CREATE FUNCTION public.time_bucket(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1';

-- add_procedure
-- drift: procedure public.p() => +procedure public.p()
CREATE PROCEDURE public.p() LANGUAGE sql AS 'SELECT 1';

-- add_aggregate
-- drift: aggregate public.total(integer) => +aggregate public.total(integer)
CREATE AGGREGATE public.total(integer) (SFUNC = int4pl, STYPE = integer);

-- add_operator
-- drift: operator public.@@@(integer,integer) => +operator public.@@@(integer,integer)
CREATE OPERATOR public.@@@ (FUNCTION = int4pl, LEFTARG = integer, RIGHTARG = integer);

-- add_cast
-- drift: cast (public.option_type AS integer) => +cast (public.option_type AS integer)
CREATE CAST (public.option_type AS integer) WITH INOUT;

-- add_collation
-- drift: collation public.plain => +collation public.plain
CREATE COLLATION public.plain FROM "C";

-- add_statistics
-- drift: table public.ohlcv => +    statistics bars: CREATE STATISTICS public.bars ON open, close FROM public.ohlcv
CREATE STATISTICS public.bars ON open, close FROM public.ohlcv;

-- add_schema
-- drift: schema elsewhere => +schema elsewhere
CREATE SCHEMA elsewhere;

-- add_extension
-- drift: extension pg_trgm => +extension pg_trgm
CREATE EXTENSION pg_trgm;

-- drop_extension
-- verify: extension timescaledb
DROP EXTENSION timescaledb CASCADE;

-- drop_plpgsql
-- verify: extension plpgsql
DROP EXTENSION plpgsql CASCADE;

-- add_foreign_data_wrapper
-- drift: foreign-data wrapper elsewhere => +foreign-data wrapper elsewhere
CREATE FOREIGN DATA WRAPPER elsewhere;

-- add_foreign_server
-- drift: server elsewhere => +server elsewhere
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;

-- add_foreign_table
-- drift: foreign table public.far => +foreign table public.far
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;
CREATE FOREIGN TABLE public.far (id integer) SERVER elsewhere;

-- add_hypertable
-- drift: table public.stowaway => +table public.stowaway
CREATE TABLE public.stowaway (time timestamptz NOT NULL);
SELECT public.create_hypertable('public.stowaway', 'time');

-- hypertable_of_another_table
-- drift: table public.daily_snapshots => +    hypertable
ALTER TABLE public.recommendations DROP CONSTRAINT recommendations_snapshot_time_ticker_id_fkey;
SELECT public.create_hypertable('public.daily_snapshots', 'time');

-- collation_says_how_it_sorts
-- drift: collation public.german => +    provider i, locale de, not deterministic
CREATE COLLATION public.german (provider = icu, locale = 'de', deterministic = false);

-- collation_of_the_c_library
-- drift: collation public.plain => +    provider c, collate C, ctype POSIX
CREATE COLLATION public.plain (lc_collate = 'C', lc_ctype = 'POSIX');

-- target_of_statistics
-- drift: table public.tickers => FROM public.tickers target 77
CREATE STATISTICS public.tickers_stats ON symbol, name FROM public.tickers;
ALTER STATISTICS public.tickers_stats SET STATISTICS 77;

-- owner_of_statistics
-- drift: table public.tickers => FROM public.tickers owned by pg_monitor
CREATE STATISTICS public.tickers_stats ON symbol, name FROM public.tickers;
ALTER STATISTICS public.tickers_stats OWNER TO pg_monitor;

-- options_of_a_wrapper
-- drift: foreign-data wrapper elsewhere => +    options {debug=true}
CREATE FOREIGN DATA WRAPPER elsewhere OPTIONS (debug 'true');

-- version_of_a_foreign_server
-- drift: server far => +    of elsewhere type 'database' version '2'
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER far TYPE 'database' VERSION '2' FOREIGN DATA WRAPPER elsewhere;
