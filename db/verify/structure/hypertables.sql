-- The hypertables of the baseline with all their dimensions. The interval is compared as such: how it prints
-- depends on a setting. Hypertables that no check file names: nothing_extra.sql.
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
                    THEN 'chunks of ' || (extract(EPOCH FROM time_interval) / 86400)::real || ' days'
                WHEN integer_interval IS NOT null THEN 'chunks of ' || integer_interval
                ELSE num_partitions || ' partitions'
            END
        ), '; ' ORDER BY dimension_number)
    FROM timescaledb_information.dimensions
    GROUP BY hypertable_schema, hypertable_name
)

SELECT
    'hypertable ' || expected.table_name AS check_name,
    coalesce(actual.dimensions = expected.dimensions, false) AS passed,
    expected.dimensions AS expected,
    coalesce(actual.dimensions, 'missing: not a hypertable') AS actual
FROM expected
LEFT JOIN actual ON expected.table_name = actual.table_name
ORDER BY check_name;
