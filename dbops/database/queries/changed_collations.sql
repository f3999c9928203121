-- Collations by which the server sorts in another way than before: the database's own, and those that columns and
-- indexes of it name. Each with its versions and what to run, and the database's name.
WITH used AS (
    SELECT pg_catalog.format('the collation of database %I', d.datname) AS name, d.datcollversion AS version,
           pg_catalog.pg_database_collation_actual_version(d.oid) AS actual,
           pg_catalog.format('ALTER DATABASE %I REFRESH COLLATION VERSION', d.datname) AS remedy
    FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
    UNION ALL
    SELECT pg_catalog.format('collation %I.%I', n.nspname, c.collname), c.collversion,
           pg_catalog.pg_collation_actual_version(c.oid),
           pg_catalog.format('ALTER COLLATION %I.%I REFRESH VERSION', n.nspname, c.collname)
    FROM pg_catalog.pg_collation AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace
    WHERE c.oid IN (SELECT a.attcollation FROM pg_catalog.pg_attribute AS a WHERE a.attrelid >= 16384)
)
SELECT u.name, u.version, coalesce(u.actual, 'none'), u.remedy,
       pg_catalog.quote_ident(pg_catalog.current_database())
FROM used AS u WHERE u.version IS NOT NULL AND u.version IS DISTINCT FROM u.actual
