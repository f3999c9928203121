-- Which of the queries about TimescaleDB may give anything: those of a catalog that is empty take longer to plan than
-- to run.
SELECT v.query
FROM (
    VALUES
    ('timescaledb', NULL), ('diagram_dimensions', NULL), ('aggregates', 'continuous_agg'), ('chunks', 'chunk')
) AS v (query, catalog)
JOIN pg_extension AS e ON e.extname = 'timescaledb'
WHERE NOT EXISTS (
    SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = '_timescaledb_catalog' AND c.relname = v.catalog AND pg_relation_size(c.oid) = 0
)
