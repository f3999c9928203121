-- What the role that migrations run as lacks, as what to GRANT, nothing for a superuser; that role, and the database's
-- owner. It is the one that was named, or the session's own.
WITH acting AS MATERIALIZED (
    SELECT pg_catalog.pg_get_userbyid(d.datdba) AS owner, coalesce(nullif(%(role)s::name, ''), session_user) AS role
    FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
)
SELECT pg_catalog.array_agg(needed.what ORDER BY needed.number),
       (SELECT a.role::pg_catalog.text FROM acting AS a), (SELECT a.owner::pg_catalog.text FROM acting AS a)
FROM acting, LATERAL (
    SELECT 1, pg_catalog.format('CREATE ON DATABASE %%I', pg_catalog.current_database()),
           pg_catalog.has_database_privilege(acting.role, pg_catalog.current_database(), 'CREATE')
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'dbops')
    UNION ALL
    SELECT 2, pg_catalog.format('USAGE, CREATE ON SCHEMA %%I', n.nspname),
           pg_catalog.has_schema_privilege(acting.role, n.oid, 'USAGE')
           AND (n.nspname = 'dbops' AND l.oid IS NOT NULL OR pg_catalog.has_schema_privilege(acting.role, n.oid, 'CREATE'))
    FROM pg_catalog.pg_namespace AS n
    LEFT JOIN pg_catalog.pg_class AS l ON l.relnamespace = n.oid AND l.relname = 'schema_migrations'
    WHERE n.nspname IN ('public', 'dbops')
    UNION ALL
    SELECT 3, 'SELECT, INSERT, UPDATE ON dbops.schema_migrations',
           pg_catalog.has_table_privilege(acting.role, l.oid, 'SELECT')
           AND pg_catalog.has_table_privilege(acting.role, l.oid, 'INSERT')
           AND pg_catalog.has_table_privilege(acting.role, l.oid, 'UPDATE')
    FROM pg_catalog.pg_class AS l JOIN pg_catalog.pg_namespace AS n ON n.oid = l.relnamespace
    WHERE n.nspname = 'dbops' AND l.relname = 'schema_migrations'
) AS needed (number, what, there)
WHERE NOT needed.there
