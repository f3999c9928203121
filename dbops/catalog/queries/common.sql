-- That an object is there; its owner, if that is not the builder; its comment; and how its privileges differ
-- from what PostgreSQL grants by itself.
WITH object AS (
    SELECT
        'schema ' || s.name AS object, 'pg_namespace' AS class,
        n.oid, n.nspowner AS owner, n.nspacl AS acl, 'n' AS kind
    FROM pg_namespace AS n JOIN space AS s ON s.oid = n.oid AND s.is_own
    UNION ALL
    SELECT r.object, 'pg_class', c.oid, c.relowner, c.relacl, CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END
    FROM pg_class AS c JOIN relation AS r ON r.oid = c.oid
    UNION ALL
    SELECT r.object, 'pg_proc', p.oid, p.proowner, p.proacl, 'f'
    FROM pg_proc AS p JOIN routine AS r ON r.oid = p.oid
    UNION ALL
    SELECT y.object, 'pg_type', t.oid, t.typowner, t.typacl, 'T'
    FROM pg_type AS t JOIN type AS y ON y.oid = t.oid
    UNION ALL
    SELECT 'publication ' || quote_ident(p.pubname), 'pg_publication', p.oid, p.pubowner, NULL, NULL
    FROM pg_publication AS p
    UNION ALL
    SELECT 'event trigger ' || quote_ident(e.evtname), 'pg_event_trigger', e.oid, e.evtowner, NULL, NULL
    FROM pg_event_trigger AS e
    WHERE NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_event_trigger'::regclass AND m.objid = e.oid)
    UNION ALL
    SELECT
        'foreign-data wrapper ' || quote_ident(f.fdwname), 'pg_foreign_data_wrapper',
        f.oid, f.fdwowner, f.fdwacl, 'F'
    FROM pg_foreign_data_wrapper AS f
    WHERE NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_foreign_data_wrapper'::regclass AND m.objid = f.oid)
    UNION ALL
    SELECT 'server ' || quote_ident(f.srvname), 'pg_foreign_server', f.oid, f.srvowner, f.srvacl, 'S'
    FROM pg_foreign_server AS f
    WHERE NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_foreign_server'::regclass AND m.objid = f.oid)
),
held AS (
    SELECT o.object, a.grantee, a.privilege_type, a.is_grantable
    FROM object AS o CROSS JOIN LATERAL aclexplode(o.acl) AS a
),
usual AS (
    SELECT o.object, a.grantee, a.privilege_type, a.is_grantable
    FROM object AS o CROSS JOIN LATERAL aclexplode(acldefault(o.kind::"char", o.owner)) AS a
    WHERE o.acl IS NOT NULL
)
SELECT o.object, 0, 0, NULL FROM object AS o
UNION ALL
SELECT o.object, 0, 0, 'owned by ' || r.name
FROM object AS o JOIN role AS r ON r.oid = o.owner
WHERE r.name <> 'owner'
UNION ALL
-- The runner keeps the database's environment in the comment of its own schema.
SELECT o.object, 0, 1, 'comment ' || to_json(d.description)
FROM object AS o
JOIN pg_description AS d ON d.classoid = ('pg_catalog.' || o.class)::regclass AND d.objoid = o.oid AND d.objsubid = 0
WHERE o.object <> 'schema dbops'
UNION ALL
SELECT
    g.object, 9, 0,
    'grant ' || g.privilege_type || ' to ' || r.name || CASE WHEN g.is_grantable THEN ' with grant option' ELSE '' END
FROM (SELECT * FROM held EXCEPT SELECT * FROM usual) AS g JOIN role AS r ON r.oid = g.grantee
UNION ALL
SELECT g.object, 9, 0, 'revoke ' || g.privilege_type || ' from ' || r.name
FROM (
    SELECT u.object, u.grantee, u.privilege_type FROM usual AS u
    EXCEPT
    SELECT h.object, h.grantee, h.privilege_type FROM held AS h
) AS g
JOIN role AS r ON r.oid = g.grantee
UNION ALL
SELECT
    r.object, 9, 1,
    'grant ' || x.privilege_type || ' (' || quote_ident(a.name) || ') to ' || g.name
    || CASE WHEN x.is_grantable THEN ' with grant option' ELSE '' END
FROM relation AS r
JOIN column_acl AS a ON a.relation = r.oid
CROSS JOIN LATERAL aclexplode(a.acl) AS x
JOIN role AS g ON g.oid = x.grantee
UNION ALL
SELECT
    'default privileges', 9, 0,
    'for ' || o.name || coalesce(' in schema ' || s.name, '') || ' on ' || d.defaclobjtype::text
    || ': ' || x.privilege_type || ' to ' || g.name
    || CASE WHEN x.is_grantable THEN ' with grant option' ELSE '' END
FROM pg_default_acl AS d
LEFT JOIN space AS s ON s.oid = d.defaclnamespace
JOIN role AS o ON o.oid = d.defaclrole
CROSS JOIN LATERAL aclexplode(d.defaclacl) AS x
JOIN role AS g ON g.oid = x.grantee
