-- What hangs on a table or view: constraints, indexes, triggers, rules, policies, statistics.
-- From PostgreSQL 18 on, NOT NULL is a constraint too; here it is an attribute of the column on every version,
-- unless it is not valid.
WITH part AS (
    SELECT
        r.object, 3 AS section, 'pg_constraint' AS class, c.oid,
        'constraint ' || quote_ident(c.conname) AS name, pg_get_constraintdef(c.oid) AS definition
    FROM relation AS r JOIN pg_constraint AS c ON c.conrelid = r.oid
    WHERE (c.contype IN ('c', 'f', 'p', 'u', 'x') OR c.contype = 'n' AND NOT c.convalidated)
    AND c.confrelid NOT IN (SELECT k.oid FROM known AS k)
    UNION ALL
    SELECT
        r.object, 4, 'pg_class', x.oid, 'index ' || quote_ident(x.relname),
        pg_get_indexdef(x.oid)
        || CASE WHEN i.indisvalid AND i.indisready AND i.indislive THEN '' ELSE ' (invalid)' END
        || CASE WHEN i.indisclustered THEN ' (clustered)' ELSE '' END
        || CASE WHEN i.indisreplident THEN ' (replica identity)' ELSE '' END
        || coalesce(' tablespace ' || quote_ident(t.spcname), '')
        || coalesce((
            SELECT string_agg(format(' statistics %s on %s', a.attstattarget, a.attnum), '' ORDER BY a.attnum)
            FROM pg_attribute AS a WHERE a.attrelid = x.oid AND a.attstattarget >= 0
        ), '')
    FROM relation AS r
    JOIN pg_index AS i ON i.indrelid = r.oid
    JOIN pg_class AS x ON x.oid = i.indexrelid
    LEFT JOIN pg_tablespace AS t ON t.oid = x.reltablespace
    WHERE x.oid NOT IN (SELECT b.oid FROM being_rebuilt AS b)
    UNION ALL
    SELECT
        r.object, 5, 'pg_trigger', t.oid, 'trigger ' || quote_ident(t.tgname),
        pg_get_triggerdef(t.oid)
        || CASE WHEN t.tgenabled = 'O' THEN '' ELSE ' (enabled: ' || t.tgenabled::text || ')' END
    FROM relation AS r JOIN pg_trigger AS t ON t.tgrelid = r.oid AND NOT t.tgisinternal
    WHERE t.oid NOT IN (SELECT k.oid FROM known_trigger AS k)
    UNION ALL
    SELECT
        r.object, 6, 'pg_rewrite', w.oid, 'rule ' || quote_ident(w.rulename),
        regexp_replace(pg_get_ruledef(w.oid), '\s+', ' ', 'g')
        || CASE WHEN w.ev_enabled = 'O' THEN '' ELSE ' (enabled: ' || w.ev_enabled::text || ')' END
    FROM relation AS r JOIN pg_rewrite AS w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'
    UNION ALL
    SELECT
        r.object, 7, 'pg_policy', p.oid, 'policy ' || quote_ident(p.polname),
        CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END || ' for ' || p.polcmd::text || ' to '
        || (SELECT string_agg(o.name, ', ' ORDER BY o.name COLLATE "C") FROM role AS o WHERE o.oid = ANY (p.polroles))
        || coalesce(' using (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
        || coalesce(' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')
    FROM relation AS r JOIN pg_policy AS p ON p.polrelid = r.oid
    UNION ALL
    SELECT
        r.object, 8, 'pg_statistic_ext', s.oid,
        'statistics ' || quote_ident(s.stxname),
        pg_get_statisticsobjdef(s.oid) || coalesce(' target ' || nullif(s.stxstattarget, -1), '')
        || coalesce(' owned by ' || (SELECT o.name FROM role AS o WHERE o.oid = s.stxowner AND o.name <> 'owner'), '')
    FROM relation AS r JOIN pg_statistic_ext AS s ON s.stxrelid = r.oid
)
SELECT p.object, p.section, 0, p.name || ': ' || p.definition FROM part AS p
UNION ALL
SELECT p.object, p.section, 0, p.name || ' comment ' || to_json(d.description)
FROM part AS p
JOIN pg_description AS d ON d.classoid = ('pg_catalog.' || p.class)::regclass AND d.objoid = p.oid AND d.objsubid = 0
UNION ALL
-- A foreign key has triggers on both of its tables.
SELECT DISTINCT
    r.object, 5, 1,
    'constraint ' || quote_ident(c.conname) || ' is not enforced by its triggers'
    || CASE WHEN t.tgrelid = r.oid THEN '' ELSE ' on ' || t.tgrelid::regclass::text END
    || ' (enabled: ' || t.tgenabled::text || ')'
FROM relation AS r
JOIN pg_constraint AS c ON c.conrelid = r.oid
JOIN pg_trigger AS t ON t.tgconstraint = c.oid AND t.tgisinternal AND t.tgenabled <> 'O'
WHERE t.tgrelid NOT IN (SELECT k.oid FROM known AS k)
