-- What was changed in what PostgreSQL and the scripts of extensions brought: privileges, triggers, rules.
-- PUBLIC's privileges alone count on PostgreSQL's own catalogs: hosting providers grant roles of theirs more.
WITH brought AS (
    SELECT
        c.tableoid AS class, c.oid, 0 AS number, c.relowner AS owner, c.relacl AS acl,
        CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END AS kind,
        c.relnamespace = 'information_schema'::regnamespace AS is_standard
    FROM pg_class AS c
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND (
        c.oid < 16384 OR c.oid IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_class'::regclass)
    )
    UNION ALL
    SELECT c.tableoid, c.oid, s.number, c.relowner, a.acl, 'c', false
    FROM (
        SELECT a.relation, a.number FROM column_acl AS a
        UNION
        SELECT s.objoid, s.objsubid FROM pg_init_privs AS s WHERE s.objsubid > 0
    ) AS s
    JOIN pg_class AS c ON c.oid = s.relation
    LEFT JOIN column_acl AS a ON a.relation = s.relation AND a.number = s.number
    UNION ALL
    SELECT p.tableoid, p.oid, 0, p.proowner, p.proacl, 'f', false FROM pg_proc AS p
    UNION ALL
    SELECT t.tableoid, t.oid, 0, t.typowner, t.typacl, 'T', false FROM pg_type AS t WHERE t.typacl IS NOT NULL
    UNION ALL
    SELECT l.tableoid, l.oid, 0, l.lanowner, l.lanacl, 'l', false FROM pg_language AS l
    UNION ALL
    SELECT n.tableoid, n.oid, 0, n.nspowner, n.nspacl, 'n', n.nspname = 'information_schema'
    FROM pg_namespace AS n WHERE n.nspname <> 'public'
),
changed AS MATERIALIZED (
    SELECT b.*, s.initprivs AS initial
    FROM brought AS b
    LEFT JOIN pg_init_privs AS s ON s.classoid = b.class AND s.objoid = b.oid AND s.objsubid = b.number
    WHERE b.acl IS DISTINCT FROM s.initprivs
),
version AS (
    SELECT c.*, v.is_now, coalesce(v.privileges, acldefault(c.kind::"char", c.owner)) AS privileges
    FROM changed AS c CROSS JOIN LATERAL (VALUES (true, c.acl), (false, c.initial)) AS v (is_now, privileges)
    WHERE c.oid < 16384 OR (c.class, c.oid) IN (SELECT m.classid, m.objid FROM member AS m)
),
held AS (
    SELECT v.is_now, v.class, v.oid, v.number, a.grantee, a.privilege_type
    FROM version AS v CROSS JOIN LATERAL aclexplode(v.privileges) AS a
    WHERE a.grantee <> v.owner
    AND (a.grantee = 0 OR v.oid >= 16384)
    -- The SQL standard's views are granted to PUBLIC without a record of it.
    AND NOT (v.is_standard AND a.grantee = 0 AND a.privilege_type IN ('SELECT', 'USAGE'))
),
difference AS (
    SELECT
        h.class, h.oid, h.number, h.grantee, h.privilege_type,
        CASE WHEN bool_or(h.is_now) THEN 'grant %s to %s' ELSE 'revoke %s from %s' END AS said
    FROM held AS h
    GROUP BY h.class, h.oid, h.number, h.grantee, h.privilege_type
    HAVING count(DISTINCT h.is_now) = 1
)
SELECT
    i.type || ' ' || i.identity, 9, 0,
    format(d.said, d.privilege_type, r.name)
    || coalesce((
        SELECT ' (column ' || quote_ident(a.attname) || ')'
        FROM pg_attribute AS a WHERE d.number > 0 AND a.attrelid = d.oid AND a.attnum = d.number
    ), '')
FROM difference AS d
JOIN role AS r ON r.oid = d.grantee
CROSS JOIN LATERAL pg_identify_object(d.class, d.oid, 0) AS i
UNION ALL
-- An extension's own triggers call its own functions.
SELECT
    i.type || ' ' || i.identity, 5, 0,
    'trigger ' || quote_ident(t.tgname) || ': ' || pg_get_triggerdef(t.oid)
    || CASE WHEN t.tgenabled = 'O' THEN '' ELSE ' (enabled: ' || t.tgenabled::text || ')' END
FROM pg_trigger AS t
CROSS JOIN LATERAL pg_identify_object('pg_class'::regclass, t.tgrelid, 0) AS i
WHERE NOT t.tgisinternal
AND (t.tgrelid < 16384 OR t.tgrelid IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_class'::regclass))
AND (t.tgenabled <> 'O' OR t.tgfoid NOT IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_proc'::regclass))
UNION ALL
SELECT
    i.type || ' ' || i.identity, 6, 0,
    'rule ' || quote_ident(w.rulename) || ': ' || regexp_replace(pg_get_ruledef(w.oid), '\s+', ' ', 'g')
FROM pg_rewrite AS w
CROSS JOIN LATERAL pg_identify_object('pg_class'::regclass, w.ev_class, 0) AS i
WHERE w.rulename <> '_RETURN' AND w.oid >= 16384
AND (w.ev_class < 16384 OR w.ev_class IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_class'::regclass))
