-- restoring
-- drift: database => +    setting timescaledb.restoring=on
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET timescaledb.restoring = on', current_database());
END $$;

-- restoring_for_one_role
-- drift: database => +    setting timescaledb.restoring=true of role ingestion
CREATE ROLE ingestion;
ALTER ROLE ingestion SET timescaledb.restoring = true;

-- replica_role
-- drift: database => +    setting session_replication_role=replica
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET session_replication_role = replica', current_database());
END $$;

-- trigger_by_function_of_extension
-- drift: table public.tickers => +    trigger quiet: CREATE TRIGGER quiet
CREATE TRIGGER quiet BEFORE INSERT ON public.tickers
FOR EACH ROW EXECUTE FUNCTION _timescaledb_functions.metadata_insert_trigger();

-- trigger_named_like_timescaledbs
-- drift: table public.tickers => +    trigger ts_insert_blocker
CREATE TRIGGER ts_insert_blocker BEFORE INSERT ON public.tickers
FOR EACH ROW EXECUTE FUNCTION _timescaledb_functions.metadata_insert_trigger();

-- check_on_chunk
-- drift: table public.ohlcv => +    chunks with CHECK constraints of their own: 1
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
DO $$ BEGIN
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT high CHECK (close > 0)', (SELECT public.show_chunks('public.ohlcv')));
END $$;

-- check_on_chunk_of_the_time_column
-- drift: table public.ohlcv => +    chunks with CHECK constraints of their own: 1
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
DO $$ BEGIN
    EXECUTE format(
        'ALTER TABLE %s ADD CONSTRAINT early CHECK (date < ''2026-01-03'')', (SELECT public.show_chunks('public.ohlcv'))
    );
END $$;

-- unique_index_on_chunk
-- drift: table public.ohlcv => +    chunks with index unique btree (date) of their own: 1
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
DO $$ BEGIN
    EXECUTE format('CREATE UNIQUE INDEX ON %s (date)', (SELECT public.show_chunks('public.ohlcv')));
END $$;

-- dropped_index_of_chunk
-- drift: table public.ohlcv => +    chunks without index btree (date): 1
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
DO $$ BEGIN
    EXECUTE 'DROP INDEX ' || (
        SELECT indexrelid::regclass FROM pg_catalog.pg_index
        WHERE indrelid = (SELECT public.show_chunks('public.ohlcv')) AND NOT indisunique
    );
END $$;

-- invalid_index_of_chunk
-- drift: table public.ohlcv => +    chunks without index primary btree (ticker_id, date): 1
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
UPDATE pg_catalog.pg_index SET indisvalid = false
WHERE indrelid = (SELECT public.show_chunks('public.ohlcv')) AND indisprimary;

-- dropped_foreign_key_of_chunk
-- drift: table public.ohlcv => +    chunks without foreign key (ticker_id) to public.tickers: 1
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
SET LOCAL timescaledb.restoring = on;
DO $$ BEGIN
    EXECUTE format(
        'ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname
    ) FROM pg_catalog.pg_constraint WHERE conrelid = (SELECT public.show_chunks('public.ohlcv')) AND contype = 'f';
END $$;

-- foreign_key_of_chunk_not_enforced
-- drift: table public.ohlcv => +    chunks without foreign key
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
UPDATE pg_catalog.pg_trigger SET tgenabled = 'D' WHERE tgrelid = (SELECT public.show_chunks('public.ohlcv'));

-- trigger_on_chunk
-- drift: table public.ohlcv => +    chunks with trigger quiet of their own: 1
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
DO $$ BEGIN
    EXECUTE format(
        'CREATE TRIGGER quiet BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
        (SELECT public.show_chunks('public.ohlcv'))
    );
END $$;

-- trigger_on_chunk_with_another_function
-- drift: table public.ohlcv => +    chunks with trigger quiet of their own: 1
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
CREATE FUNCTION public.lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER quiet BEFORE UPDATE ON public.ohlcv FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
UPDATE pg_catalog.pg_trigger SET tgfoid = 'public.lose'::regproc
WHERE tgrelid = (SELECT public.show_chunks('public.ohlcv')) AND tgname = 'quiet';

-- chunk_in_the_catalog_alone
-- drift: table public.ohlcv => +    chunks in the catalog alone: 1
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;
DO $$ BEGIN
    EXECUTE format('ALTER TABLE %s NO INHERIT public.ohlcv', (SELECT public.show_chunks('public.ohlcv')));
EXCEPTION WHEN OTHERS THEN
    DELETE FROM pg_catalog.pg_inherits WHERE inhparent = 'public.ohlcv'::regclass;
END $$;

-- table_named_like_a_chunk
-- drift: table _timescaledb_internal._hyper_1_77_chunk => +    inherits public.tickers
CREATE TABLE _timescaledb_internal._hyper_1_77_chunk () INHERITS (public.tickers);

-- table_named_like_a_chunk_of_the_hypertable
-- before: TimescaleDB 2.31
-- drift: table _timescaledb_internal._hyper_1_77_chunk => +    inherits public.ohlcv
CREATE TABLE _timescaledb_internal._hyper_1_77_chunk () INHERITS (public.ohlcv);

-- table_named_like_a_compressed_hypertable
-- drift: table _timescaledb_internal._compressed_hypertable_7 => +table
CREATE TABLE _timescaledb_internal._compressed_hypertable_7 (a integer);

-- disabled_event_trigger_of_timescaledb
-- drift: event trigger timescaledb_ddl_sql_drop => (enabled: D)
ALTER EVENT TRIGGER timescaledb_ddl_sql_drop DISABLE;

-- table_hidden_in_an_extension
-- drift: table public.hidden => +table public.hidden
CREATE TABLE public.hidden (a integer);
ALTER EXTENSION timescaledb ADD TABLE public.hidden;

-- view_hidden_in_plpgsql
-- drift: view public.hidden => +view public.hidden
CREATE VIEW public.hidden AS SELECT symbol FROM public.tickers;
ALTER EXTENSION plpgsql ADD VIEW public.hidden;

-- table_of_ours_hidden_in_an_extension
-- verify: nothing
-- drift: nothing
ALTER EXTENSION timescaledb ADD TABLE public.tickers;

-- hidden_table_of_ours_that_is_changed
-- drift: table public.tickers => +    column isin: text
ALTER EXTENSION timescaledb ADD TABLE public.tickers;
ALTER TABLE public.tickers ADD COLUMN isin text;

-- stale_row_in_place_of_the_hypertable
-- before: TimescaleDB 2.23
-- verify: hypertable public.ohlcv => without the trigger that keeps rows out of its own table
-- drift: table public.ohlcv => without the trigger that keeps rows out of a hypertable's own table
ALTER EVENT TRIGGER timescaledb_ddl_sql_drop DISABLE;
SET LOCAL timescaledb.restoring = on;
CREATE TABLE public.copy (LIKE public.ohlcv INCLUDING ALL);
ALTER TABLE public.copy ADD CONSTRAINT ohlcv_ticker_id_fkey
FOREIGN KEY (ticker_id) REFERENCES public.tickers (id) ON DELETE CASCADE;
DROP TABLE public.ohlcv;
ALTER TABLE public.copy RENAME TO ohlcv;
ALTER INDEX public.copy_pkey RENAME TO ohlcv_pkey;
ALTER INDEX public.copy_date_idx RENAME TO ohlcv_date_idx;
COMMENT ON TABLE public.ohlcv IS 'Base market data: one daily price bar per ticker; a hypertable on date';
SET LOCAL timescaledb.restoring = off;
ALTER EVENT TRIGGER timescaledb_ddl_sql_drop ENABLE;

-- trigger_of_the_hypertable_that_does_not_fire
-- before: TimescaleDB 2.23
-- verify: hypertable public.ohlcv => without the trigger that keeps rows out of its own table
-- drift: table public.ohlcv => +    without the trigger that keeps rows out of a hypertable's own table
UPDATE pg_catalog.pg_trigger SET tgenabled = 'D'
WHERE tgname = 'ts_insert_blocker' AND tgrelid = 'public.ohlcv'::regclass;

-- owner_of_public
-- verify: schema public => owner: pg_monitor
-- drift: schema public => +    owned by pg_monitor
ALTER SCHEMA public OWNER TO pg_monitor;

-- owner_of_dbops
-- verify: schema dbops => owner: pg_monitor
-- drift: schema public => -    owned by pg_database_owner
ALTER SCHEMA dbops OWNER TO pg_monitor;
ALTER SCHEMA public OWNER TO CURRENT_USER;

-- rights_of_the_owner
-- verify: table public.ohlcv => revoked from the owner: DELETE, INSERT
-- drift: table public.ohlcv => +    revoke INSERT from owner
REVOKE INSERT, DELETE ON public.ohlcv FROM CURRENT_USER;

-- default_privileges
-- drift: default privileges => in schema public on r: SELECT to pg_monitor
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO pg_monitor;

-- adaptive_chunking
-- before: TimescaleDB 2.28
-- verify: hypertable public.ohlcv => adaptive chunking
-- drift: table public.ohlcv => +    chunk sizing
SELECT public.set_adaptive_chunking('public.ohlcv', '1GB');

-- tablespace_of_hypertable
-- verify: hypertable public.ohlcv => tablespaces: pg_default
-- drift: table public.ohlcv => +    chunks in tablespace pg_default
SELECT public.attach_tablespace('pg_default', 'public.ohlcv');

-- tablespace_of_table
-- verify: table public.tickers => in a tablespace of its own
-- drift: table public.tickers => +    tablespace pg_global
UPDATE pg_catalog.pg_class SET reltablespace = 1664 WHERE oid = 'public.tickers'::regclass;

-- tablespace_of_index
-- verify: index public.tickers_pkey => in a tablespace of its own
-- drift: table public.tickers => tablespace pg_global
UPDATE pg_catalog.pg_class SET reltablespace = 1664 WHERE oid = 'public.tickers_pkey'::regclass;

-- chunk_interval_off_by_a_microsecond
-- verify: hypertable public.ohlcv => chunks of 30.00000000001
-- drift: table public.ohlcv => chunk interval 30 days 00:00:00.000001
UPDATE _timescaledb_catalog.dimension SET interval_length = interval_length + 1;

-- text_search_configuration
-- drift: text search configuration public.plain => +text search configuration public.plain
CREATE TEXT SEARCH CONFIGURATION public.plain (COPY = simple);

-- text_search_dictionary
-- drift: text search dictionary public.plain => +text search dictionary
CREATE TEXT SEARCH DICTIONARY public.plain (TEMPLATE = simple);

-- text_search_parser
-- drift: text search parser public.plain => +text search parser
CREATE TEXT SEARCH PARSER public.plain (
    START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype
);

-- text_search_template
-- drift: text search template public.plain => +text search template
CREATE TEXT SEARCH TEMPLATE public.plain (LEXIZE = dsimple_lexize);

-- conversion
-- drift: conversion public.plain => +conversion
CREATE CONVERSION public.plain FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1;

-- operator_family
-- drift: operator family public.plain USING btree => +operator family
CREATE OPERATOR FAMILY public.plain USING btree;

-- operator_class_of_hash
-- drift: operator class public.plain USING hash => +operator class
CREATE OPERATOR CLASS public.plain FOR TYPE integer USING hash AS OPERATOR 1 =, FUNCTION 1 hashint4(integer);

-- access_method
-- drift: access method plain => +access method plain
CREATE ACCESS METHOD plain TYPE INDEX HANDLER bthandler;

-- language
-- drift: language plain => +language plain
CREATE LANGUAGE plain HANDLER plpgsql_call_handler;

-- cast_on_a_temporary_type
-- verify: nothing
-- drift: nothing
CREATE TYPE pg_temp.mood AS ENUM ('good');
CREATE CAST (pg_temp.mood AS integer) WITH INOUT;

-- replica_role_of_a_loader_on_the_whole_server
-- verify: nothing
-- drift: nothing
CREATE ROLE loader;
ALTER ROLE loader SET session_replication_role = replica;
