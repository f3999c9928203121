-- Indexes that are not valid, and whether each is the one of this name on this table. Without those that another session
-- is building: it holds this lock on their table meanwhile, which every role may see, while pg_stat_progress_create_index
-- hides other roles' builds. The cast cuts a name to 63 bytes, as CREATE INDEX does; a table without a schema is in
-- public, as for migrations.
SELECT i.indexrelid::int8, n.nspname::text, c.relname::text, coalesce(
    c.relname = (pg_catalog.parse_ident(%(name)s))[1]::pg_catalog.name AND i.indrelid = pg_catalog.to_regclass(
        CASE WHEN pg_catalog.cardinality(pg_catalog.parse_ident(%(table)s)) = 1 THEN 'public.' ELSE '' END || %(table)s
    ), false)
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_locks AS l WHERE l.locktype = 'relation' AND l.relation = i.indrelid AND l.granted
    AND l.mode = 'ShareUpdateExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid()
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
)
ORDER BY 2, 3
