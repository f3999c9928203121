-- What roles without superuser rights have in the connected database that could run in a migration: functions, operators,
-- casts, domains, triggers, rules and policies of theirs, and expressions that call more than what is known to do no
-- harm. An expression can do anything: pg_catalog.set_config is RESET ROLE, and query_to_xml runs a query. Harmless are
-- functions of PostgreSQL itself and of TimescaleDB that are not volatile, and a few that are.
WITH trusted AS MATERIALIZED (
    SELECT r.oid FROM pg_catalog.pg_roles AS r
    LEFT JOIN pg_catalog.pg_database AS d
        ON d.datname = pg_catalog.current_database() AND r.rolname = 'pg_database_owner'
    LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = d.datdba
    WHERE r.rolsuper OR r.rolname = session_user OR coalesce(o.rolsuper, false)
),
own AS MATERIALIZED (
    SELECT d.objid FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'timescaledb'
    WHERE d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
      AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
),
harmless AS MATERIALIZED (
    SELECT p.oid FROM pg_catalog.pg_proc AS p
    WHERE (p.oid < 16384 AND (p.provolatile <> 'v' OR p.proname IN (
              'nextval', 'clock_timestamp', 'timeofday', 'random', 'gen_random_uuid', 'uuidv4', 'uuidv7')))
       OR (p.provolatile <> 'v' AND p.proowner IN (SELECT t.oid FROM trusted AS t)
           AND p.oid IN (SELECT o.objid FROM own AS o))
),
theirs AS MATERIALIZED (
    SELECT c.oid, c.relkind, c.relowner AS owner, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
           c.relowner NOT IN (SELECT t.oid FROM trusted AS t) AS owned
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relowner NOT IN (SELECT t.oid FROM trusted AS t)
       OR EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) AS a
                  WHERE a.privilege_type = 'TRIGGER' AND a.grantee NOT IN (SELECT t.oid FROM trusted AS t))
),
expressions (owner, what, tree) AS (
    SELECT r.owner, 'a constraint of ' || r.name, k.conbin::text
    FROM theirs AS r JOIN pg_catalog.pg_constraint AS k ON k.conrelid = r.oid WHERE r.owned
    UNION ALL
    SELECT r.owner, 'a default or generated column of ' || r.name, d.adbin::text
    FROM theirs AS r JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = r.oid WHERE r.owned
    UNION ALL
    SELECT r.owner, 'an index of ' || r.name, pg_catalog.concat(i.indexprs::text, i.indpred::text)
    FROM theirs AS r JOIN pg_catalog.pg_index AS i ON i.indrelid = r.oid WHERE r.owned
    UNION ALL
    SELECT r.owner, 'statistics of ' || r.name, s.stxexprs::text
    FROM theirs AS r JOIN pg_catalog.pg_statistic_ext AS s ON s.stxrelid = r.oid WHERE r.owned
    UNION ALL
    SELECT r.owner, 'the partition key of ' || r.name, p.partexprs::text
    FROM theirs AS r JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = r.oid WHERE r.owned
    UNION ALL
    SELECT r.owner, 'the query of ' || r.name, w.ev_action::text
    FROM theirs AS r JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = r.oid AND w.ev_type = '1' WHERE r.owned
),
found (owner, what) AS (
    SELECT p.proowner, 'function ' || p.oid::pg_catalog.regprocedure::text
    FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
    WHERE p.proowner NOT IN (SELECT t.oid FROM trusted AS t)
      AND (p.prokind = 'a' OR l.lanname NOT IN ('internal', 'c'))
    UNION ALL
    SELECT o.oprowner, 'operator ' || o.oid::pg_catalog.regoperator::text
    FROM pg_catalog.pg_operator AS o WHERE o.oprowner NOT IN (SELECT t.oid FROM trusted AS t)
    UNION ALL
    SELECT y.typowner, 'domain ' || y.oid::pg_catalog.regtype::text
    FROM pg_catalog.pg_type AS y WHERE y.typtype = 'd' AND y.typowner NOT IN (SELECT t.oid FROM trusted AS t)
    UNION ALL
    SELECT y.typowner, pg_catalog.format('cast from %s to %s', k.castsource::pg_catalog.regtype,
                                         k.casttarget::pg_catalog.regtype)
    FROM pg_catalog.pg_cast AS k
    JOIN pg_catalog.pg_type AS y ON y.oid IN (k.castsource, k.casttarget)
    WHERE y.typowner NOT IN (SELECT t.oid FROM trusted AS t) AND NOT EXISTS (
        -- The constructor of a multirange, which the server makes.
        SELECT FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
        WHERE p.oid = k.castfunc AND l.lanname = 'internal' AND p.proowner = y.typowner)
    UNION ALL
    SELECT r.owner, pg_catalog.format('trigger %I on %s', g.tgname, r.name)
    FROM theirs AS r JOIN pg_catalog.pg_trigger AS g ON g.tgrelid = r.oid
    WHERE NOT g.tgisinternal AND NOT (
        g.tgqual IS NULL AND g.tgfoid IN (SELECT o.objid FROM own AS o)
        AND EXISTS (SELECT FROM pg_catalog.pg_proc AS p
                    WHERE p.oid = g.tgfoid AND p.proowner IN (SELECT t.oid FROM trusted AS t)))
    UNION ALL
    SELECT r.owner, pg_catalog.format('rule %I on %s', w.rulename, r.name)
    FROM theirs AS r JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = r.oid WHERE r.owned AND w.ev_type <> '1'
    UNION ALL
    SELECT r.owner, pg_catalog.format('policy %I on %s', p.polname, r.name)
    FROM theirs AS r JOIN pg_catalog.pg_policy AS p ON p.polrelid = r.oid WHERE r.owned
    UNION ALL
    SELECT e.evtowner, pg_catalog.format('event trigger %I', e.evtname)
    FROM pg_catalog.pg_event_trigger AS e WHERE e.evtowner NOT IN (SELECT t.oid FROM trusted AS t)
    UNION ALL
    SELECT x.owner, x.what FROM expressions AS x
    WHERE EXISTS (
        SELECT FROM pg_catalog.regexp_matches(x.tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') AS m (called)
        WHERE m.called[1]::pg_catalog.oid NOT IN (SELECT h.oid FROM harmless AS h)
    )
)
SELECT DISTINCT pg_catalog.pg_get_userbyid(f.owner)::pg_catalog.text, f.what,
       (SELECT pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text FROM pg_catalog.pg_database AS d
        WHERE d.datname = pg_catalog.current_database()) AS database_owner,
       (SELECT r.rolsuper FROM pg_catalog.pg_database AS d JOIN pg_catalog.pg_roles AS r ON r.oid = d.datdba
        WHERE d.datname = pg_catalog.current_database()) AS database_owner_trusted
FROM found AS f
ORDER BY 1, 2
