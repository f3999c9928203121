-- The ledger of the connected database, as it is found: whether there is one, of what kind and with which columns, and
-- what the database has besides. A relation counts that is neither a member of an extension nor in a schema of one, as
-- TimescaleDB's chunks are.
SELECT
    EXISTS (SELECT FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'dbops') AS has_schema,
    EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.condeferrable) AS defers,
    (SELECT s.system_identifier::text FROM pg_catalog.pg_control_system() AS s) AS system_identifier,
    (SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) FROM pg_catalog.pg_attribute AS a
     WHERE a.attrelid = l.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
    l.relkind <> 'r' AS other_kind, l.relhasrules AS has_rules, l.relrowsecurity AS row_security,
    EXISTS (SELECT FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = l.oid) AS has_triggers,
    -- The owner of the database, if the session's role may act as it: to write, and to read what it may not read itself.
    (SELECT pg_catalog.pg_get_userbyid(d.datdba)::text FROM pg_catalog.pg_database AS d
     WHERE d.datname = pg_catalog.current_database() AND pg_catalog.pg_has_role(session_user, d.datdba,
         CASE WHEN pg_catalog.current_setting('server_version_num')::int4 >= 160000 THEN 'SET' ELSE 'MEMBER' END)
    ) AS owner,
    l.oid IS NULL OR (
        pg_catalog.has_schema_privilege('dbops', 'USAGE') AND pg_catalog.has_table_privilege(l.oid, 'SELECT')
    ) AS readable,
    l.oid IN (SELECT f.relation FROM ({untrusted_code}) AS f) AS calls,
    (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
     FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't' AND c.oid <> coalesce(l.oid, 0)
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.deptype = 'e' AND (
             (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid)
             OR (d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.objid = n.oid)))
     ORDER BY c.oid LIMIT 1) AS relation,
    pg_catalog.current_setting('server_version') AS postgresql,
    (SELECT e.extversion::text FROM pg_catalog.pg_extension AS e WHERE e.extname = 'timescaledb') AS timescaledb
FROM (SELECT 1) AS one LEFT JOIN (
    SELECT c.oid, c.relkind, c.relhasrules, c.relrowsecurity
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'dbops' AND c.relname = 'schema_migrations'
) AS l ON true
