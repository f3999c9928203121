-- What a role lacks to apply migrations, as what to GRANT; nothing for a superuser.
SELECT pg_catalog.array_agg(needed.what ORDER BY needed.number), (
    SELECT pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text FROM pg_catalog.pg_database AS d
    WHERE d.datname = pg_catalog.current_database())
FROM (
    SELECT 1, pg_catalog.format('CREATE ON DATABASE %%I', pg_catalog.current_database()),
           pg_catalog.has_database_privilege(%(role)s, pg_catalog.current_database(), 'CREATE')
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'dbops')
    UNION ALL
    SELECT 2, pg_catalog.format('USAGE, CREATE ON SCHEMA %%I', n.nspname),
           pg_catalog.has_schema_privilege(%(role)s, n.oid, 'USAGE')
           AND (n.nspname = 'dbops' AND l.oid IS NOT NULL OR pg_catalog.has_schema_privilege(%(role)s, n.oid, 'CREATE'))
    FROM pg_catalog.pg_namespace AS n
    LEFT JOIN pg_catalog.pg_class AS l ON l.relnamespace = n.oid AND l.relname = 'schema_migrations'
    WHERE n.nspname IN ('public', 'dbops')
    UNION ALL
    SELECT 3, 'SELECT, INSERT, UPDATE ON dbops.schema_migrations',
           pg_catalog.has_table_privilege(%(role)s, l.oid, 'SELECT')
           AND pg_catalog.has_table_privilege(%(role)s, l.oid, 'INSERT')
           AND pg_catalog.has_table_privilege(%(role)s, l.oid, 'UPDATE')
    FROM pg_catalog.pg_class AS l JOIN pg_catalog.pg_namespace AS n ON n.oid = l.relnamespace
    WHERE n.nspname = 'dbops' AND l.relname = 'schema_migrations'
) AS needed (number, what, there)
WHERE NOT needed.there
