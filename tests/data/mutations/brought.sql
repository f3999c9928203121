-- create_on_schema_of_timescaledb
-- drift: schema _timescaledb_internal => +    grant CREATE to public
GRANT CREATE ON SCHEMA _timescaledb_internal TO PUBLIC;

-- usage_of_schema_of_timescaledb_revoked
-- drift: schema timescaledb_information => +    revoke USAGE from public
REVOKE USAGE ON SCHEMA timescaledb_information FROM PUBLIC;

-- select_on_system_catalog
-- drift: table pg_catalog.pg_authid => +    grant SELECT to public
GRANT SELECT ON pg_catalog.pg_authid TO PUBLIC;

-- select_on_column_of_system_catalog
-- drift: table pg_catalog.pg_authid => +    grant SELECT to public (column rolpassword)
GRANT SELECT (rolpassword) ON pg_catalog.pg_authid TO PUBLIC;

-- select_on_column_of_system_catalog_revoked
-- drift: table pg_catalog.pg_subscription => +    revoke SELECT from public (column subname)
REVOKE SELECT (subname) ON pg_catalog.pg_subscription FROM PUBLIC;

-- execute_on_function_of_postgresql
-- drift: function pg_catalog.pg_read_file(pg_catalog.text) => +    grant EXECUTE to public
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO PUBLIC;

-- usage_on_language
-- drift: language plpgsql => +    revoke USAGE from public
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;

-- update_on_view_of_the_standard
-- drift: view information_schema.tables => +    grant UPDATE to public
GRANT UPDATE ON information_schema.tables TO PUBLIC;

-- execute_on_function_of_timescaledb
-- drift: function public.hypertable_size(pg_catalog.regclass) => +    revoke EXECUTE from public
REVOKE EXECUTE ON FUNCTION public.hypertable_size(regclass) FROM PUBLIC;

-- grant_on_catalog_of_timescaledb
-- drift: table _timescaledb_catalog.chunk => +    grant DELETE to pg_monitor
GRANT DELETE ON _timescaledb_catalog.chunk TO pg_monitor;

-- role_of_a_hosting_provider_on_system_catalog
-- verify: nothing
-- drift: nothing
GRANT SELECT ON pg_catalog.pg_authid TO pg_monitor;

-- member_function_replaced
-- drift: function public.hypertable_size(hypertable regclass) => +    | AS $function$SELECT 0::bigint$function$
CREATE OR REPLACE FUNCTION public.hypertable_size(hypertable regclass) RETURNS bigint LANGUAGE sql
AS 'SELECT 0::bigint';

-- function_in_schema_of_timescaledb_replaced
-- drift: function _timescaledb_functions.restart_background_workers() => +    | AS $function$SELECT true$function$
CREATE OR REPLACE FUNCTION _timescaledb_functions.restart_background_workers() RETURNS boolean LANGUAGE sql
AS 'SELECT true';

-- view_of_timescaledb_replaced
-- drift: view timescaledb_information.chunks => WHERE false
DO $$ BEGIN
    EXECUTE 'CREATE OR REPLACE VIEW timescaledb_information.chunks AS SELECT * FROM ('
        || rtrim(pg_catalog.pg_get_viewdef('timescaledb_information.chunks'), ';') || ') AS c WHERE false';
END $$;

-- function_added_to_the_extension
-- drift: function public.f() => +function public.f()
CREATE FUNCTION public.f() RETURNS integer LANGUAGE sql AS 'SELECT 1';
ALTER EXTENSION timescaledb ADD FUNCTION public.f();

-- function_in_schema_of_timescaledb_added_to_the_extension
-- drift: function _timescaledb_functions.f() => +function _timescaledb_functions.f()
CREATE FUNCTION _timescaledb_functions.f() RETURNS integer LANGUAGE sql AS 'SELECT 1';
ALTER EXTENSION timescaledb ADD FUNCTION _timescaledb_functions.f();

-- function_in_schema_of_timescaledb
-- drift: function _timescaledb_functions.f() => +function _timescaledb_functions.f()
CREATE FUNCTION _timescaledb_functions.f() RETURNS integer LANGUAGE sql AS 'SELECT 1';

-- function_in_schema_of_postgresql
-- drift: function pg_catalog.f() => +function pg_catalog.f()
CREATE FUNCTION pg_catalog.f() RETURNS integer LANGUAGE sql AS 'SELECT 1';

-- table_added_to_the_extension
-- drift: table _timescaledb_catalog.notes => +table _timescaledb_catalog.notes
CREATE TABLE _timescaledb_catalog.notes (note text);
ALTER EXTENSION timescaledb ADD TABLE _timescaledb_catalog.notes;

-- type_added_to_the_extension
-- drift: type public.mood => +type public.mood
CREATE TYPE public.mood AS ENUM ('good');
ALTER EXTENSION timescaledb ADD TYPE public.mood;

-- member_function_taken_out
-- drift: function _timescaledb_functions.restart_background_workers() => +function _timescaledb_functions.restart_background_workers()
ALTER EXTENSION timescaledb DROP FUNCTION _timescaledb_functions.restart_background_workers();

-- trigger_on_catalog_of_timescaledb
-- drift: table _timescaledb_catalog.hypertable => +    trigger spy: CREATE TRIGGER spy
CREATE TRIGGER spy BEFORE UPDATE ON _timescaledb_catalog.hypertable
FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();

-- trigger_of_timescaledb_disabled
-- drift: table _timescaledb_catalog.metadata => (enabled: D)
ALTER TABLE _timescaledb_catalog.metadata DISABLE TRIGGER metadata_insert_trigger;

-- trigger_of_timescaledb_dropped
-- drift: extension timescaledb => +    without trigger metadata_insert_trigger
DROP TRIGGER metadata_insert_trigger ON _timescaledb_catalog.metadata;

-- rule_on_catalog_of_timescaledb
-- drift: table _timescaledb_catalog.metadata => +    rule quiet: CREATE RULE quiet
CREATE RULE quiet AS ON DELETE TO _timescaledb_catalog.metadata DO INSTEAD NOTHING;

-- event_trigger_of_timescaledb_dropped
-- drift: extension timescaledb => +    without event trigger timescaledb_ddl_sql_drop
ALTER EXTENSION timescaledb DROP EVENT TRIGGER timescaledb_ddl_sql_drop;
DROP EVENT TRIGGER timescaledb_ddl_sql_drop;

-- event_trigger_row_of_timescaledb_deleted
-- drift: extension timescaledb => +    without event trigger timescaledb_ddl_command_end
DELETE FROM pg_catalog.pg_event_trigger WHERE evtname = 'timescaledb_ddl_command_end';

-- job_of_timescaledb_runs_something_else
-- drift: job 3 of TimescaleDB => +    runs public.nightly
CREATE PROCEDURE public.nightly(id integer, config jsonb) LANGUAGE sql AS '';
UPDATE _timescaledb_config.bgw_job SET proc_schema = 'public', proc_name = 'nightly' WHERE id = 3;

-- job_of_timescaledb_runs_another_function_of_its_own
-- drift: job 3 of TimescaleDB => +    runs _timescaledb_functions.policy_retention
UPDATE _timescaledb_config.bgw_job SET proc_name = 'policy_retention' WHERE id = 3;

-- job_of_timescaledb_on_a_hypertable
-- drift: job 3 of TimescaleDB => +    runs _timescaledb_functions.policy_job_stat_history_retention
UPDATE _timescaledb_config.bgw_job
SET hypertable_id = (SELECT hypertable.id FROM _timescaledb_catalog.hypertable WHERE hypertable.table_name = 'ohlcv')
WHERE id = 3;

-- index_that_is_not_live
-- verify: index public.tickers_symbol_key => invalid
-- drift: table public.tickers => (invalid)
UPDATE pg_catalog.pg_index SET indislive = false WHERE indexrelid = 'public.tickers_symbol_key'::regclass;

-- index_of_chunk_that_is_not_live
-- drift: table public.ohlcv => +    chunks without index btree (date): 1
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
UPDATE pg_catalog.pg_index SET indislive = false
WHERE indrelid = (SELECT public.show_chunks('public.ohlcv')) AND NOT indisunique;

-- empty_chunk_left_behind
-- verify: chunks of hypertables => 1 chunks
-- drift: nothing
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
DELETE FROM public.ohlcv;
DELETE FROM public.tickers;

-- grant_on_chunk
-- drift: table public.ohlcv => +    chunks with privileges of their own: 1
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
DO $$ BEGIN
    EXECUTE format('GRANT SELECT ON %s TO PUBLIC', (SELECT public.show_chunks('public.ohlcv')));
END $$;

-- grant_on_column_of_chunk
-- drift: table public.ohlcv => +    chunks with privileges of their own: 1
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
DO $$ BEGIN
    EXECUTE format('GRANT SELECT (close) ON %s TO PUBLIC', (SELECT public.show_chunks('public.ohlcv')));
END $$;

-- owner_of_chunk
-- drift: table public.ohlcv => +    chunks with an owner of their own: 1
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
UPDATE pg_catalog.pg_class SET relowner = 'pg_monitor'::regrole
WHERE oid = (SELECT public.show_chunks('public.ohlcv'));

-- child_of_another_table_with_the_name_of_a_chunk
-- drift: table _timescaledb_internal.known_chunk => +table _timescaledb_internal.known_chunk
CREATE TABLE public.parent (LIKE public.ohlcv);
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
DO $$ BEGIN
    EXECUTE format('ALTER TABLE %s RENAME TO known_chunk', (SELECT public.show_chunks('public.ohlcv')));
END $$;
UPDATE pg_catalog.pg_inherits SET inhparent = 'public.parent'::regclass
WHERE inhrelid = '_timescaledb_internal.known_chunk'::regclass;
