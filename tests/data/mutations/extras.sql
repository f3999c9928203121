-- add_table
-- verify: nothing extra: table public.stowaway
CREATE TABLE public.stowaway (id integer);

-- add_partitioned_table
-- verify: nothing extra: table public.stowaway
CREATE TABLE public.stowaway (id integer) PARTITION BY RANGE (id);

-- add_table_in_schema_of_timescaledb
-- verify: nothing extra: table _timescaledb_internal.stowaway
CREATE TABLE _timescaledb_internal.stowaway (id integer);

-- add_unlogged_table
-- verify: nothing extra: table public.staging
CREATE UNLOGGED TABLE public.staging (id integer);

-- add_view
-- verify: nothing extra: view public.active_tickers
CREATE VIEW public.active_tickers AS SELECT symbol FROM public.tickers WHERE is_active;

-- add_materialized_view
-- verify: nothing extra: materialized view public.counts
CREATE MATERIALIZED VIEW public.counts AS SELECT count(*) AS tickers FROM public.tickers;

-- add_sequence
-- verify: nothing extra: sequence public.numbers
CREATE SEQUENCE public.numbers;

-- add_function
-- verify: nothing extra: function public.f(integer)
CREATE FUNCTION public.f(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1';

-- add_overload_of_a_member
-- verify: nothing extra: function public.time_bucket(integer)
CREATE FUNCTION public.time_bucket(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1';

-- add_procedure
-- verify: nothing extra: procedure public.p()
CREATE PROCEDURE public.p() LANGUAGE sql AS 'SELECT 1';

-- add_aggregate
-- verify: nothing extra: aggregate public.total(integer)
CREATE AGGREGATE public.total(integer) (SFUNC = int4pl, STYPE = integer);

-- add_operator
-- verify: nothing extra: operator public.@@@(integer,integer)
CREATE OPERATOR public.@@@ (FUNCTION = int4pl, LEFTARG = integer, RIGHTARG = integer);

-- add_cast
-- verify: nothing extra: cast (public.option_type AS integer)
CREATE CAST (public.option_type AS integer) WITH INOUT;

-- add_collation
-- verify: nothing extra: collation public.plain
CREATE COLLATION public.plain FROM "C";

-- add_statistics
-- verify: nothing extra: statistics object public.bars
CREATE STATISTICS public.bars ON open, close FROM public.ohlcv;

-- add_schema
-- verify: nothing extra: schema elsewhere
CREATE SCHEMA elsewhere;

-- add_extension
-- verify: nothing extra: extension pg_trgm
CREATE EXTENSION pg_trgm;

-- drop_extension
-- verify: extension timescaledb
DROP EXTENSION timescaledb CASCADE;

-- drop_plpgsql
-- verify: extension plpgsql
DROP EXTENSION plpgsql CASCADE;

-- add_foreign_data_wrapper
-- verify: nothing extra: foreign-data wrapper elsewhere
CREATE FOREIGN DATA WRAPPER elsewhere;

-- add_foreign_server
-- verify: nothing extra: server elsewhere
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;

-- add_foreign_table
-- verify: nothing extra: foreign table public.far
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;
CREATE FOREIGN TABLE public.far (id integer) SERVER elsewhere;

-- add_hypertable
-- verify: nothing extra: hypertable public.stowaway
CREATE TABLE public.stowaway (time timestamptz NOT NULL);
SELECT public.create_hypertable('public.stowaway', 'time');

-- hypertable_of_another_table
-- verify: nothing extra: hypertable public.daily_snapshots
ALTER TABLE public.recommendations DROP CONSTRAINT recommendations_snapshot_time_ticker_id_fkey;
SELECT public.create_hypertable('public.daily_snapshots', 'time');
