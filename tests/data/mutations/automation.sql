-- add_trigger
-- drift: table public.tickers => +    trigger spy: CREATE TRIGGER spy BEFORE UPDATE ON public.tickers FOR EACH ROW EXECUTE
CREATE TRIGGER spy BEFORE UPDATE ON public.tickers
FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();

-- add_trigger_to_hypertable
-- drift: table public.ohlcv => +    trigger spy: CREATE TRIGGER spy BEFORE UPDATE ON public.ohlcv FOR EACH ROW EXECUTE FU
CREATE TRIGGER spy BEFORE UPDATE ON public.ohlcv
FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();

-- add_rule
-- drift: table public.tickers => +    rule quiet: CREATE RULE quiet AS ON DELETE TO public.tickers DO INSTEAD NOTHING;
CREATE RULE quiet AS ON DELETE TO public.tickers DO INSTEAD NOTHING;

-- add_event_trigger
-- drift: event trigger watch => +event trigger watch
CREATE FUNCTION public.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch ON ddl_command_start EXECUTE FUNCTION public.watch();

-- add_policy
-- drift: table public.tickers => +    policy mine: permissive for * to public
CREATE POLICY mine ON public.tickers;

-- add_publication
-- drift: publication everything => +publication everything
CREATE PUBLICATION everything FOR ALL TABLES;

-- add_subscription
-- drift: subscription elsewhere => +subscription elsewhere
CREATE SUBSCRIPTION elsewhere CONNECTION 'host=nowhere.invalid' PUBLICATION everything WITH (connect = false);

-- chunk_interval
-- verify: hypertable public.ohlcv => date (date), chunks of 7 days
SELECT public.set_chunk_time_interval('public.ohlcv', interval '7 days');

-- second_dimension
-- verify: hypertable public.ohlcv => ticker_id (uuid), 4 partitions
SELECT public.add_dimension('public.ohlcv', 'ticker_id', number_partitions => 4);

-- plain_table_in_place_of_hypertable
-- verify: hypertable public.ohlcv => not a hypertable
CREATE TABLE public.copy (LIKE public.ohlcv INCLUDING ALL);
DROP TABLE public.ohlcv;
ALTER TABLE public.copy RENAME TO ohlcv;

-- The Apache build refuses jobs, policies, compression and continuous aggregates, so from here on TimescaleDB's
-- catalog is written to as its functions would. From 2.25 bgw_job is a view of a table in another schema.

-- user_job
-- drift: job public.nightly => +job public.nightly
DO $$
BEGIN
    EXECUTE format(
        'INSERT INTO %s (id, application_name, schedule_interval, max_runtime, max_retries, retry_period, proc_schema,'
        ' proc_name) VALUES (1000, ''nightly'', ''1 day'', ''1 hour'', 1, ''1 hour'', ''public'', ''nightly'')',
        coalesce(to_regclass('_timescaledb_catalog.bgw_job'), '_timescaledb_config.bgw_job')
    );
END $$;

-- retention_policy
-- drift: job _timescaledb_functions.policy_retention on public.ohlcv => +job _timescaledb_functions.policy_retention on public.ohlcv
DO $$
BEGIN
    EXECUTE format(
        'INSERT INTO %s (id, application_name, schedule_interval, max_runtime, max_retries, retry_period, proc_schema,'
        ' proc_name, hypertable_id, config) SELECT 1001, ''retention'', ''1 day'', ''1 hour'', 1, ''1 hour'','
        ' ''_timescaledb_functions'', ''policy_retention'', id, ''{"drop_after": "730 days"}'''
        ' FROM _timescaledb_catalog.hypertable',
        coalesce(to_regclass('_timescaledb_catalog.bgw_job'), '_timescaledb_config.bgw_job')
    );
END $$;

-- columnstore
-- drift: table public.ohlcv => +    hypertable (compression enabled)
UPDATE _timescaledb_catalog.hypertable SET compression_state = 1, status = status | 4;

-- continuous_aggregate
-- drift: continuous aggregate public.weekly => +continuous aggregate public.weekly
CREATE VIEW public.weekly AS SELECT ticker_id FROM public.ohlcv;
CREATE VIEW _timescaledb_internal._partial_view_9 AS SELECT ticker_id FROM public.ohlcv;
CREATE VIEW _timescaledb_internal._direct_view_9 AS SELECT ticker_id FROM public.ohlcv;
CREATE TABLE _timescaledb_internal._materialized_hypertable_9 (time timestamptz NOT NULL);
SELECT public.create_hypertable('_timescaledb_internal._materialized_hypertable_9', 'time');
INSERT INTO _timescaledb_catalog.continuous_agg (
    mat_hypertable_id, raw_hypertable_id, user_view_schema, user_view_name, partial_view_schema, partial_view_name,
    direct_view_schema, direct_view_name
)
SELECT
    made.id, raw.id, 'public', 'weekly', '_timescaledb_internal', '_partial_view_9', '_timescaledb_internal',
    '_direct_view_9'
FROM _timescaledb_catalog.hypertable AS made, _timescaledb_catalog.hypertable AS raw
WHERE made.table_name = '_materialized_hypertable_9' AND raw.table_name = 'ohlcv';
