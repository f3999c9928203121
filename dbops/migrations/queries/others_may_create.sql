-- The superuser that the session is, or may become, if roles without superuser rights own something in the connected
-- database, or may create something in it: then code of theirs may be in it, at any time.
SELECT r.rolname FROM pg_catalog.pg_roles AS r
WHERE r.rolsuper AND pg_catalog.pg_has_role(session_user, r.oid, CASE
    WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
AND EXISTS (
    WITH trusted AS MATERIALIZED (
        SELECT r.oid FROM pg_catalog.pg_roles AS r
        LEFT JOIN pg_catalog.pg_database AS d
            ON d.datname = pg_catalog.current_database() AND r.rolname = 'pg_database_owner'
        LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = d.datdba
        WHERE r.rolsuper OR r.rolname = session_user OR coalesce(o.rolsuper, false)
    )
    SELECT FROM (
        SELECT d.datdba, d.datacl, ARRAY['CREATE'] FROM pg_catalog.pg_database AS d
        WHERE d.datname = pg_catalog.current_database()
        UNION ALL
        SELECT n.nspowner, n.nspacl, ARRAY['CREATE'] FROM pg_catalog.pg_namespace AS n
        WHERE n.nspname NOT LIKE 'pg\_temp\_%' AND n.nspname NOT LIKE 'pg\_toast\_temp\_%'
        UNION ALL
        SELECT c.relowner, c.relacl, ARRAY['TRIGGER'] FROM pg_catalog.pg_class AS c
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
        UNION ALL
        SELECT p.proowner, NULL, NULL FROM pg_catalog.pg_proc AS p
        UNION ALL
        SELECT o.oprowner, NULL, NULL FROM pg_catalog.pg_operator AS o
    ) AS object (owner, acl, privileges)
    WHERE object.owner NOT IN (SELECT t.oid FROM trusted AS t)
       OR EXISTS (
           SELECT FROM pg_catalog.aclexplode(object.acl) AS a
           WHERE a.privilege_type = ANY (object.privileges) AND a.grantee NOT IN (SELECT t.oid FROM trusted AS t)
       )
)
ORDER BY r.rolname <> session_user, r.rolname LIMIT 1
