-- TimescaleDB is there, in schema public and new enough; plpgsql is always there. Any other is not in schema.txt.
WITH expected (name, minimum, schema) AS (
    VALUES
    ('plpgsql', '{1,0}', 'pg_catalog'),
    ('timescaledb', '{2,10}', 'public')
),

actual (name, version, schema) AS (
    SELECT
        extension.extname,
        extension.extversion,
        namespace.nspname
    FROM pg_catalog.pg_extension AS extension
    INNER JOIN pg_catalog.pg_namespace AS namespace ON extension.extnamespace = namespace.oid
)

SELECT
    'extension ' || expected.name AS check_name,
    coalesce(
        string_to_array(substring(actual.version FROM '^[0-9.]+'), '.')::integer[] >= expected.minimum::integer[]
        AND actual.schema = expected.schema,
        false
    ) AS passed,
    'version ' || translate(expected.minimum, ',{}', '.') || ' or newer in schema ' || expected.schema AS expected,
    coalesce('version ' || actual.version || ' in schema ' || actual.schema, 'missing') AS actual
FROM expected
LEFT JOIN actual ON expected.name = actual.name
ORDER BY expected.name;
