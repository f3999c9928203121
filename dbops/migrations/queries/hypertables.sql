-- The hypertables of the connected database, with the column of their first dimension and the category of its type.
SELECT c.oid::int8, d.column_name::text, t.typcategory::text
FROM _timescaledb_catalog.hypertable AS h
JOIN pg_catalog.pg_namespace AS n ON n.nspname = h.schema_name
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = h.table_name
JOIN LATERAL (
    SELECT d.column_name FROM _timescaledb_catalog.dimension AS d
    WHERE d.hypertable_id = h.id AND d.interval_length IS NOT NULL ORDER BY d.id LIMIT 1
) AS d ON true
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = d.column_name
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE n.nspname NOT LIKE '\_timescaledb\_%'
ORDER BY c.oid
