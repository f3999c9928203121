-- The hypertables of the baseline with all their dimensions, and without adaptive chunking or tablespaces. A table
-- that took the place of a hypertable without TimescaleDB's knowledge lacks its trigger.
WITH expected (table_name, dimensions) AS (
    VALUES
    ('public.ohlcv', 'date (date), chunks of 30 days')
),

actual (table_name, dimensions) AS (
    SELECT
        hypertable_schema || '.' || hypertable_name,
        string_agg(concat(
            column_name, ' (', column_type, '), ',
            CASE
                WHEN time_interval IS NOT null
                    THEN 'chunks of ' || trim_scale(extract(EPOCH FROM time_interval) / 86400) || ' days'
                WHEN integer_interval IS NOT null THEN 'chunks of ' || integer_interval
                ELSE num_partitions || ' partitions'
            END
        ), '; ' ORDER BY dimension_number)
    FROM timescaledb_information.dimensions
    GROUP BY hypertable_schema, hypertable_name
),

-- The catalog names the table of a hypertable, and the rest is by its name; chunk_target_size is not in every version.
addition (table_name, said) AS (
    SELECT
        hypertable.schema_name || '.' || hypertable.table_name,
        concat(
            CASE WHEN (to_jsonb(hypertable) ->> 'chunk_target_size')::bigint > 0 THEN ', adaptive chunking' END,
            (
                SELECT ', tablespaces: ' || string_agg(tablespace.tablespace_name, ', ')
                FROM _timescaledb_catalog.tablespace AS tablespace
                WHERE tablespace.hypertable_id = hypertable.id
            ),
            CASE
                WHEN EXISTS (
                    SELECT
                    FROM pg_catalog.pg_extension AS extension
                    WHERE
                        extension.extname = 'timescaledb'
                        AND string_to_array(substring(extension.extversion FROM '^[0-9]+[.][0-9]+'), '.')::integer[]
                        < '{2,23}'
                ) AND NOT EXISTS (
                    SELECT
                    FROM pg_catalog.pg_trigger AS trigger_of
                    INNER JOIN pg_catalog.pg_class AS relation ON trigger_of.tgrelid = relation.oid
                    INNER JOIN pg_catalog.pg_namespace AS namespace ON relation.relnamespace = namespace.oid
                    WHERE
                        trigger_of.tgname = 'ts_insert_blocker'
                        AND trigger_of.tgenabled = 'O'
                        AND relation.relname = hypertable.table_name
                        AND namespace.nspname = hypertable.schema_name
                ) THEN ', without the trigger that keeps rows out of its own table'
            END
        )
    FROM _timescaledb_catalog.hypertable AS hypertable
)

SELECT
    'hypertable ' || expected.table_name AS check_name,
    coalesce(actual.dimensions || addition.said = expected.dimensions, false) AS passed,
    expected.dimensions AS expected,
    coalesce(actual.dimensions || addition.said, 'missing: not a hypertable') AS actual
FROM expected
LEFT JOIN actual ON expected.table_name = actual.table_name
LEFT JOIN addition ON expected.table_name = addition.table_name
ORDER BY check_name;
