-- Objects of a database that neither PostgreSQL nor an extension made, by kind, and what of them says who built it.
WITH member AS (
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d
    WHERE d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
), own AS (
    SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
      AND n.nspname NOT LIKE 'pg\_temp\_%%' AND n.nspname NOT LIKE 'pg\_toast\_temp\_%%'
      AND NOT EXISTS (SELECT FROM member AS m
                      WHERE m.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND m.objid = n.oid)
), thing AS (
    SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
                          WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind,
           'pg_catalog.pg_class'::pg_catalog.regclass AS class, c.oid, o.nspname, c.relname AS name
    FROM pg_catalog.pg_class AS c JOIN own AS o ON o.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'function', 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, o.nspname, p.proname
    FROM pg_catalog.pg_proc AS p JOIN own AS o ON o.oid = p.pronamespace
    UNION ALL
    SELECT 'type', 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, o.nspname, t.typname
    FROM pg_catalog.pg_type AS t JOIN own AS o ON o.oid = t.typnamespace
    WHERE t.typrelid = 0 AND t.typelem = 0
    UNION ALL
    SELECT 'schema', 'pg_catalog.pg_namespace'::pg_catalog.regclass, o.oid, o.nspname, o.nspname
    FROM own AS o WHERE o.nspname <> 'public'
    UNION ALL
    SELECT 'extension', NULL, NULL, '', e.extname
    FROM pg_catalog.pg_extension AS e WHERE e.extname NOT IN ('plpgsql', 'timescaledb')
    UNION ALL
    SELECT 'publication', NULL, NULL, '', p.pubname FROM pg_catalog.pg_publication AS p
    UNION ALL
    SELECT 'event trigger', 'pg_catalog.pg_event_trigger'::pg_catalog.regclass, t.oid, '', t.evtname
    FROM pg_catalog.pg_event_trigger AS t
)
SELECT t.kind, pg_catalog.count(*),
       pg_catalog.array_agg(t.name::text) FILTER (WHERE t.kind = 'table'
           AND t.name = ANY (%s))
FROM thing AS t
WHERE NOT EXISTS (SELECT FROM member AS m WHERE m.classid = t.class AND m.objid = t.oid)
GROUP BY t.kind ORDER BY t.kind = 'table' DESC, t.kind
