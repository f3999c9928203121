-- Every index of the baseline and of the ledger, those behind keys included, in PostgreSQL's own words:
-- uniqueness, method, columns, order, operator classes, predicate. Of these, create_hypertable made
-- ohlcv_date_idx.
WITH expected (table_name, index_name, definition) AS (
    VALUES
    ('dbops.schema_migrations', 'schema_migrations_pkey', 'UNIQUE btree (version)'),
    ('public.daily_snapshots', 'daily_snapshots_pkey', 'UNIQUE btree ("time", ticker_id)'),
    ('public.daily_snapshots', 'daily_snapshots_ticker_id_idx', 'btree (ticker_id)'),
    ('public.ohlcv', 'ohlcv_date_idx', 'btree (date DESC)'),
    ('public.ohlcv', 'ohlcv_pkey', 'UNIQUE btree (ticker_id, date)'),
    (
        'public.options_chains', 'options_chains_pkey',
        'UNIQUE btree ("time", ticker_id, expiration_date, strike_price, option_type)'
    ),
    ('public.options_chains', 'options_chains_ticker_id_idx', 'btree (ticker_id)'),
    ('public.recommendation_outcomes', 'recommendation_outcomes_pkey', 'UNIQUE btree (id)'),
    ('public.recommendation_outcomes', 'recommendation_outcomes_recommendation_id_idx', 'btree (recommendation_id)'),
    ('public.recommendations', 'recommendations_pkey', 'UNIQUE btree (id)'),
    ('public.recommendations', 'recommendations_ticker_id_snapshot_time_idx', 'btree (ticker_id, snapshot_time)'),
    ('public.tickers', 'tickers_pkey', 'UNIQUE btree (id)'),
    ('public.tickers', 'tickers_symbol_key', 'UNIQUE btree (symbol)')
),

-- The definition of an index opens its table: that must not wait behind another session's exclusive lock.
locked (relation) AS MATERIALIZED (
    SELECT lock.relation
    FROM pg_catalog.pg_locks AS lock
    INNER JOIN pg_catalog.pg_database AS database ON lock.database = database.oid
    WHERE
        database.datname = current_database()
        AND lock.mode = 'AccessExclusiveLock'
        AND lock.pid IS DISTINCT FROM pg_backend_pid()
),

actual (table_name, index_name, definition) AS (
    SELECT
        namespace.nspname || '.' || relation.relname AS table_name,
        index_relation.relname AS index_name,
        CASE
            WHEN relation.oid IN (SELECT locked.relation FROM locked)
                THEN 'could not see: another session has locked the table'
            ELSE
                CASE WHEN index_of.indisunique THEN 'UNIQUE ' ELSE '' END
                || substring(pg_get_indexdef(index_of.indexrelid) FROM ' USING (.*)$')
                || CASE
                    WHEN index_of.indisvalid AND index_of.indisready AND index_of.indislive THEN ''
                    ELSE ', invalid'
                END
                || CASE WHEN index_of.indimmediate THEN '' ELSE ', deferrable' END
                || CASE WHEN index_relation.reltablespace = 0 THEN '' ELSE ', in a tablespace of its own' END
        END
    FROM pg_catalog.pg_index AS index_of
    INNER JOIN pg_catalog.pg_class AS relation ON index_of.indrelid = relation.oid
    INNER JOIN pg_catalog.pg_class AS index_relation ON index_of.indexrelid = index_relation.oid
    INNER JOIN pg_catalog.pg_namespace AS namespace ON relation.relnamespace = namespace.oid
    WHERE namespace.nspname IN ('dbops', 'public')
)

SELECT
    'index ' || split_part(expected.table_name, '.', 1) || '.' || expected.index_name AS check_name,
    coalesce(actual.definition = expected.definition, false) AS passed,
    'on ' || expected.table_name || ': ' || expected.definition AS expected,
    coalesce('on ' || actual.table_name || ': ' || actual.definition, 'missing') AS actual
FROM expected
LEFT JOIN actual
    ON expected.table_name = actual.table_name AND expected.index_name = actual.index_name
ORDER BY check_name;
