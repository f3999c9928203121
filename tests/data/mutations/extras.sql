-- add_table: nothing extra: table public.stowaway
CREATE TABLE public.stowaway (id integer);

-- add_partitioned_table: nothing extra: table public.stowaway
CREATE TABLE public.stowaway (id integer) PARTITION BY RANGE (id);

-- add_table_in_schema_of_timescaledb: nothing extra: table _timescaledb_internal.stowaway
CREATE TABLE _timescaledb_internal.stowaway (id integer);

-- add_unlogged_table: nothing extra: table public.staging
CREATE UNLOGGED TABLE public.staging (id integer);

-- add_view: nothing extra: view public.active_tickers
CREATE VIEW public.active_tickers AS SELECT symbol FROM public.tickers WHERE is_active;

-- add_materialized_view: nothing extra: materialized view public.counts
CREATE MATERIALIZED VIEW public.counts AS SELECT count(*) AS tickers FROM public.tickers;

-- add_sequence: nothing extra: sequence public.numbers
CREATE SEQUENCE public.numbers;

-- add_function: nothing extra: function public.f(integer)
CREATE FUNCTION public.f(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1';

-- add_overload_of_a_member: nothing extra: function public.time_bucket(integer)
CREATE FUNCTION public.time_bucket(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1';

-- add_procedure: nothing extra: procedure public.p()
CREATE PROCEDURE public.p() LANGUAGE sql AS 'SELECT 1';

-- add_aggregate: nothing extra: aggregate public.total(integer)
CREATE AGGREGATE public.total(integer) (SFUNC = int4pl, STYPE = integer);

-- add_operator: nothing extra: operator public.@@@(integer,integer)
CREATE OPERATOR public.@@@ (FUNCTION = int4pl, LEFTARG = integer, RIGHTARG = integer);

-- add_cast: nothing extra: cast (public.option_type AS integer)
CREATE CAST (public.option_type AS integer) WITH INOUT;

-- add_collation: nothing extra: collation public.plain
CREATE COLLATION public.plain FROM "C";

-- add_statistics: nothing extra: statistics object public.bars
CREATE STATISTICS public.bars ON open, close FROM public.ohlcv;

-- add_schema: nothing extra: schema elsewhere
CREATE SCHEMA elsewhere;

-- add_extension: nothing extra: extension pg_trgm
CREATE EXTENSION pg_trgm;

-- drop_extension: extension timescaledb
DROP EXTENSION timescaledb CASCADE;

-- drop_plpgsql: extension plpgsql
DROP EXTENSION plpgsql CASCADE;

-- add_foreign_data_wrapper: nothing extra: foreign-data wrapper elsewhere
CREATE FOREIGN DATA WRAPPER elsewhere;

-- add_foreign_server: nothing extra: server elsewhere
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;

-- add_foreign_table: nothing extra: foreign table public.far
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;
CREATE FOREIGN TABLE public.far (id integer) SERVER elsewhere;

-- add_hypertable: nothing extra: hypertable public.stowaway
CREATE TABLE public.stowaway (time timestamptz NOT NULL);
SELECT public.create_hypertable('public.stowaway', 'time');

-- hypertable_of_another_table: nothing extra: hypertable public.daily_snapshots
ALTER TABLE public.recommendations DROP CONSTRAINT recommendations_snapshot_time_ticker_id_fkey;
SELECT public.create_hypertable('public.daily_snapshots', 'time');
