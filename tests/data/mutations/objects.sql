-- alter_table_tickers_add_column
-- drift: table public.tickers => +    column cusip: text
ALTER TABLE tickers ADD COLUMN cusip text;

-- alter_table_tickers_drop_column
-- verify: column public.tickers.sector
-- verify: table public.tickers: order of columns => id, symbol, name, is_active, created_at
-- drift: table public.tickers => -    column sector: character varying(100)
ALTER TABLE tickers DROP COLUMN sector;

-- alter_table_tickers_alter_symbol
-- verify: column public.tickers.symbol => character varying(21) NOT NULL
-- drift: table public.tickers => varying(21) not null
ALTER TABLE tickers ALTER symbol TYPE varchar(21);

-- alter_table_tickers_alter_name
-- verify: column public.tickers.name => character varying(255) DEFAULT 'x'::character varying
-- drift: table public.tickers => default 'x'::character varying
ALTER TABLE tickers ALTER name SET DEFAULT 'x';

-- alter_table_tickers_alter_name_set
-- verify: column public.tickers.name => character varying(255) NOT NULL
-- drift: table public.tickers => varying(255) not null
ALTER TABLE tickers ALTER name SET NOT NULL;

-- alter_table_tickers_alter_name_type
-- verify: column public.tickers.name => text COLLATE C
-- drift: table public.tickers => text collate "C"
ALTER TABLE tickers ALTER name TYPE text COLLATE "C";

-- alter_table_tickers_alter_name_set_storage
-- drift: table public.tickers => storage e
ALTER TABLE tickers ALTER name SET STORAGE external;

-- alter_table_tickers_alter_name_set_n
-- drift: table public.tickers => options n_distinct=5
ALTER TABLE tickers ALTER name SET (n_distinct = 5);

-- alter_table_tickers_alter_name_set_statistics
-- drift: table public.tickers => statistics 7
ALTER TABLE tickers ALTER name SET STATISTICS 7;

-- alter_table_tickers_alter_name_set_statistics_0
-- drift: table public.tickers => statistics 0
ALTER TABLE tickers ALTER name SET STATISTICS 0;

-- create_index_i_on_tickers
-- drift: table public.tickers => statistics 9 on 1
CREATE INDEX i ON tickers (lower(name)); ALTER INDEX i ALTER COLUMN 1 SET STATISTICS 9;

-- alter_table_recommendations_set_toast
-- drift: table public.recommendations => +    toast options autovacuum_enabled=off
ALTER TABLE recommendations SET (toast.autovacuum_enabled = off);

-- alter_table_tickers_set_fillfactor
-- drift: table public.tickers => +    options fillfactor=70
ALTER TABLE tickers SET (fillfactor = 70);

-- alter_table_recommendation_outcomes_set
-- verify: table public.recommendation_outcomes => unlogged table, owner: the database's owner, granted to PUBLIC: nothing, row-level security: off
-- drift: table public.recommendation_outcomes => +    unlogged
ALTER TABLE recommendation_outcomes SET UNLOGGED;

-- alter_table_tickers_replica_identity
-- drift: table public.tickers => +    replica identity full
ALTER TABLE tickers REPLICA IDENTITY FULL;

-- alter_table_tickers_enable_row
-- verify: table public.tickers => logged table, owner: the database's owner, granted to PUBLIC: nothing, row-level security: on
-- drift: table public.tickers => +    row level security enabled
ALTER TABLE tickers ENABLE ROW LEVEL SECURITY;

-- alter_table_tickers_force_row
-- drift: table public.tickers => +    row level security forced
ALTER TABLE tickers FORCE ROW LEVEL SECURITY;

-- create_policy_p_on_tickers
-- drift: table public.tickers => policy p: permissive for * to public
CREATE POLICY p ON tickers USING (is_active);

-- comment_on_table_tickers_is
-- drift: table public.tickers => +    comment "a\nb"
COMMENT ON TABLE tickers IS E'a\nb';

-- comment_on_column_tickers_id
-- drift: table public.tickers => +    column id comment "b"
COMMENT ON COLUMN tickers.id IS 'b';

-- comment_on_constraint_tickers_pkey
-- drift: table public.tickers => tickers_pkey comment "b"
COMMENT ON CONSTRAINT tickers_pkey ON tickers IS 'b';

-- comment_on_index_ohlcv_date
-- drift: table public.ohlcv => index ohlcv_date_idx comment "b"
COMMENT ON INDEX ohlcv_date_idx IS 'b';

-- drop_table_recommendation_outcomes
-- verify: column public.recommendation_outcomes.actual_return_pct
-- verify: column public.recommendation_outcomes.days_held
-- drift: table public.recommendation_outcomes => -table public.recommendation_o
DROP TABLE recommendation_outcomes;

-- create_table_ghosts
-- drift: table public.ghosts => +table public.ghosts
CREATE TABLE ghosts ();

-- create_index_i_on_tickers_lower
-- drift: table public.tickers => +    index i: CREATE INDEX i ON public.tickers
CREATE INDEX i ON tickers (lower(name));

-- alter_index_ohlcv_date_idx
-- verify: index public.ohlcv_date_idx
-- drift: table public.ohlcv => -    index ohlcv_date_idx
ALTER INDEX ohlcv_date_idx RENAME TO other;

-- cluster_tickers_using_tickers_pkey
-- drift: table public.tickers => (clustered)
CLUSTER tickers USING tickers_pkey;

-- alter_table_tickers_add_constraint
-- drift: table public.tickers => NOT VALID
ALTER TABLE tickers ADD CONSTRAINT c CHECK (symbol <> '') NOT VALID;

-- alter_table_tickers_rename_constraint
-- verify: constraint public.tickers.tickers_pkey
-- verify: index public.tickers_pkey
-- drift: table public.tickers => +    constraint pk: PRIMARY
ALTER TABLE tickers RENAME CONSTRAINT tickers_pkey TO pk;

-- alter_table_options_chains_disable
-- verify: constraint public.options_chains.options_chains_ticker_id_fkey => FOREIGN KEY (ticker_id) REFERENCES tickers(id) ON DELETE CASCADE, its triggers disabled
-- drift: table public.options_chains => is not enforced by its triggers
ALTER TABLE options_chains DISABLE TRIGGER ALL;

-- alter_table_tickers_disable_trigger
-- verify: constraint public.daily_snapshots.daily_snapshots_ticker_id_fkey => FOREIGN KEY (ticker_id) REFERENCES tickers(id) ON DELETE CASCADE, its triggers disabled
-- verify: constraint public.ohlcv.ohlcv_ticker_id_fkey => FOREIGN KEY (ticker_id) REFERENCES tickers(id) ON DELETE CASCADE, its triggers disabled
-- drift: table public.options_chains => is not enforced by its triggers on public.tickers
ALTER TABLE tickers DISABLE TRIGGER ALL;

-- create_role_owner_alter_table
-- verify: table public.tickers => logged table, owner: owner, granted to PUBLIC: nothing, row-level security: off
-- drift: table public.tickers => +    owned by "owner"
CREATE ROLE owner; ALTER TABLE tickers OWNER TO owner;

-- create_rule_r_as_on
-- drift: table public.tickers => rule r: CREATE RULE r
CREATE RULE r AS ON DELETE TO tickers DO INSTEAD NOTHING;

-- create_statistics_st_on_symbol
-- drift: table public.tickers => statistics st: CREATE STATISTICS
CREATE STATISTICS st ON symbol, name FROM tickers;

-- create_trigger_t_before_update
-- drift: table public.tickers => trigger t: CREATE TRIGGER t
CREATE TRIGGER t BEFORE UPDATE ON tickers FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();

-- grant_select_on_tickers_to
-- drift: table public.tickers => +    grant SELECT to pg_monitor
GRANT SELECT ON tickers TO pg_monitor;

-- grant_update_name_on_tickers
-- verify: table public.tickers => logged table, owner: the database's owner, granted to PUBLIC: UPDATE, row-level security: off
-- drift: table public.tickers => +    grant UPDATE (name) to public
GRANT UPDATE (name) ON tickers TO PUBLIC;

-- revoke_delete_on_tickers_from
-- verify: table public.tickers => logged table, owner: the database's owner, granted to PUBLIC: nothing, row-level security: off, revoked from the owner: DELETE
-- drift: table public.tickers => +    revoke DELETE from owner
REVOKE DELETE ON tickers FROM CURRENT_USER;

-- alter_table_tickers_owner_to
-- verify: table public.tickers => logged table, owner: pg_monitor, granted to PUBLIC: nothing, row-level security: off
-- drift: table public.tickers => +    owned by pg_monitor
ALTER TABLE tickers OWNER TO pg_monitor;

-- alter_type_option_type_add
-- verify: type public.option_type => owner: the database's owner, labels: {C,X,P}
-- drift: type public.option_type => +    labels 'C', 'X', 'P'
ALTER TYPE option_type ADD VALUE 'X' BEFORE 'P';

-- alter_type_option_type_rename
-- verify: type public.option_type => owner: the database's owner, labels: {C,Q}
-- drift: type public.option_type => +    labels 'C', 'Q'
ALTER TYPE option_type RENAME VALUE 'P' TO 'Q';

-- revoke_usage_on_type_option
-- drift: type public.option_type => +    revoke USAGE from public
REVOKE USAGE ON TYPE option_type FROM PUBLIC;

-- create_domain_d_as_integer
-- drift: domain public.d => CHECK ((VALUE > 0))
CREATE DOMAIN d AS integer CHECK (VALUE > 0);

-- create_type_pair_as_a
-- drift: type public.pair => +    attribute b: text
CREATE TYPE pair AS (a integer, b text);

-- create_type_r_as_range
-- drift: type public.r => +    range of date
CREATE TYPE r AS RANGE (subtype = date);

-- create_view_v_as_select
-- drift: view public.v => FROM public.tickers;
CREATE VIEW v AS SELECT id
FROM tickers;

-- create_materialized_view_m_as
-- drift: materialized view public.m => +    |  SELECT 1 AS a;
CREATE MATERIALIZED VIEW m AS SELECT 1 AS a;

-- create_table_timescaledb_internal_materialized
-- drift: view public.v => FROM _timescaledb_internal._materialized_hypertable_;
CREATE TABLE _timescaledb_internal._materialized_hypertable_7 (a integer); CREATE VIEW v AS SELECT a FROM _timescaledb_internal._materialized_hypertable_7;

-- create_sequence_s_increment_2
-- drift: sequence public.s => increment 2
CREATE SEQUENCE s INCREMENT 2;

-- create_function_f_a_integer
-- drift: function public.f(a integer) => +    | RETURN a
CREATE FUNCTION f(a integer) RETURNS integer RETURN a;

-- create_procedure_p_language_sql
-- drift: procedure public.p() => PROCEDURE
CREATE PROCEDURE p() LANGUAGE sql AS '';

-- create_aggregate_a_integer_sfunc
-- drift: aggregate public.a(integer) => int4pl
CREATE AGGREGATE a(integer) (sfunc = int4pl, stype = integer);

-- create_schema_extra
-- drift: schema extra => +schema extra
CREATE SCHEMA extra;

-- alter_schema_public_owner_to
-- drift: schema public => -    owned by pg_database_owner
ALTER SCHEMA public OWNER TO CURRENT_USER;

-- grant_create_on_schema_public
-- verify: schema public => owner: the database's owner, granted to PUBLIC other than USAGE: CREATE
-- drift: schema public => +    grant CREATE to public
GRANT CREATE ON SCHEMA public TO PUBLIC;

-- create_extension_pg_trgm
-- drift: extension pg_trgm => +extension pg_trgm
CREATE EXTENSION pg_trgm;

-- create_publication_pub_for_table
-- drift: publication pub => columns id where
CREATE PUBLICATION pub FOR TABLE tickers (id) WHERE (is_active);

-- create_publication_pub_for_all
-- drift: publication pub => all tables
CREATE PUBLICATION pub FOR ALL TABLES;

-- create_function_e_returns_event
-- drift: event trigger et => on sql_drop execute public.e()
CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER et ON sql_drop EXECUTE FUNCTION e();

-- alter_default_privileges_grant_select
-- drift: default privileges => on r: SELECT to public
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;

-- create_foreign_data_wrapper_w
-- drift: foreign-data wrapper w => +foreign-data wrapper w
CREATE FOREIGN DATA WRAPPER w;

-- create_foreign_data_wrapper_w_create
-- drift: server s => +    of w
CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;

-- create_collation_german_provider_icu
-- drift: collation public.german => +collation public.german
CREATE COLLATION german (provider = icu, locale = 'de');

-- create_cast_integer_as_option
-- drift: cast (integer AS public.option_type) => +    as assignment with inout
CREATE CAST (integer AS option_type) WITH INOUT AS ASSIGNMENT;

-- create_text_search_configuration_c
-- drift: text search configuration public.c => +text search
CREATE TEXT SEARCH CONFIGURATION c (COPY = simple);

-- select_set_chunk_time_interval
-- verify: hypertable public.ohlcv => date (date), chunks of 7 days
-- drift: table public.ohlcv => chunk interval 7 days
SELECT set_chunk_time_interval('ohlcv', INTERVAL '7 days');

-- select_add_dimension_ohlcv_ticker
-- verify: hypertable public.ohlcv => date (date), chunks of 30 days; ticker_id (uuid), 2 partitions
-- drift: table public.ohlcv => +    dimension 2: space on ticker_id uuid partitions 2
SELECT add_dimension('ohlcv', 'ticker_id', number_partitions => 2);

-- select_set_adaptive_chunking_ohlcv
-- before: TimescaleDB 2.28
-- verify: hypertable public.ohlcv => date (date), chunks of 30 days, adaptive chunking
-- drift: table public.ohlcv => +    chunk sizing _timescaledb_functions.calculate_chunk_interval to 1073741824 bytes
SELECT set_adaptive_chunking('ohlcv', '1GB');

-- select_attach_tablespace_pg_default
-- verify: hypertable public.ohlcv => date (date), chunks of 30 days, tablespaces: pg_default
-- drift: table public.ohlcv => +    chunks in tablespace pg_default
SELECT attach_tablespace('pg_default', 'ohlcv');

-- select_create_hypertable_options_chains
-- drift: table public.options_chains => +    hypertable
SELECT create_hypertable('options_chains', 'time');

-- alter_table_dbops_schema_migrations
-- drift: table dbops.schema_migrations => +    column note
ALTER TABLE dbops.schema_migrations ADD COLUMN note text;
