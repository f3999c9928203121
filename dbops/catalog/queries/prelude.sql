-- What every query of this directory starts with: which objects are the database's own, and how they are called.
-- Left out is what the script of an extension made, and what TimescaleDB's catalog knows (see known.sql).
WITH
builder AS (
    SELECT coalesce(
        (SELECT n.nspowner FROM pg_namespace AS n WHERE n.nspname = 'dbops'),
        (SELECT d.datdba FROM pg_database AS d WHERE d.datname = current_database())
    ) AS oid
),
-- The role that built the schema is called "owner", so that the text is the same under any name; a role of that name
-- is distinguished by quotes, which quote_ident would not give it.
role AS (
    SELECT
        r.oid,
        CASE WHEN r.oid = b.oid THEN 'owner' WHEN r.rolname = 'owner' THEN '"owner"' ELSE quote_ident(r.rolname) END
            AS name
    FROM pg_roles AS r CROSS JOIN builder AS b
    UNION ALL
    SELECT 0, 'public'
),
-- What an extension's script makes becomes a member in the very command that creates it. An object that became a member
-- in a later transaction or command, by ALTER EXTENSION ... ADD, is the database's own; so is a function or
-- view of TimescaleDB's that was replaced since. pg_upgrade adds every member in a command of its own, and an update of
-- TimescaleDB replaces all of its functions and views in one transaction. A row's cmin means nothing once xmax is set.
membership AS MATERIALIZED (
    SELECT
        d.classid, d.objid, d.refobjid AS extension, min(age(d.xmin)) AS age,
        bool_or(age(o.xmin) > age(d.xmin)) AS in_later_transaction,
        bool_or(
            o.xmin = d.xmin AND o.xmax = '0' AND d.xmax = '0' AND o.cmin::text::integer < d.cmin::text::integer
        ) AS in_later_command,
        bool_or(
            o.xmin = d.xmin AND o.xmax = '0' AND d.xmax = '0' AND o.cmin::text::integer > d.cmin::text::integer
        ) AS replaced_in_same_transaction,
        max(o.xmin::text) FILTER (WHERE age(o.xmin) < age(d.xmin)) AS replaced_by
    FROM pg_depend AS d
    LEFT JOIN pg_depend AS o ON o.classid = d.classid AND o.objid = d.objid AND o.deptype = 'n'
    WHERE d.deptype = 'e'
    GROUP BY d.classid, d.objid, d.refobjid
),
extension AS MATERIALIZED (
    SELECT
        e.oid, e.extname AS name,
        count(*) FILTER (WHERE m.in_later_command) * 2 > count(*) AS is_upgraded,
        CASE WHEN count(m.replaced_by) >= 10 THEN mode() WITHIN GROUP (ORDER BY m.replaced_by) END AS updated_by
    FROM pg_extension AS e JOIN membership AS m ON m.extension = e.oid
    GROUP BY e.oid, e.extname
),
member AS MATERIALIZED (
    SELECT m.classid, m.objid
    FROM membership AS m
    JOIN extension AS e ON e.oid = m.extension
    LEFT JOIN pg_namespace AS n ON m.classid = 'pg_namespace'::regclass AND n.oid = m.objid
    LEFT JOIN pg_proc AS p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
    LEFT JOIN pg_rewrite AS w ON m.classid = 'pg_class'::regclass AND w.ev_class = m.objid AND w.rulename = '_RETURN'
    WHERE m.in_later_transaction IS NOT TRUE
    AND (m.in_later_command IS NOT TRUE OR e.is_upgraded)
    AND (n.oid IS NULL OR age(n.xmin) <= m.age)
    AND (w.oid IS NULL OR e.name <> 'timescaledb' OR age(w.xmin) >= m.age OR w.xmin::text = e.updated_by)
    AND (
        p.oid IS NULL OR age(p.xmin) <= m.age AND (
            e.name <> 'timescaledb'
            OR m.replaced_in_same_transaction IS NOT TRUE AND (m.replaced_by IS NULL OR m.replaced_by = e.updated_by)
        )
    )
),
-- Schemas that objects of the database's own can be in. What was made since initdb has an oid from 16384 on.
space AS MATERIALIZED (
    SELECT
        n.oid, quote_ident(n.nspname) AS name,
        n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS (
            SELECT FROM member AS m WHERE m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
        ) AS is_own
    FROM pg_namespace AS n
    WHERE n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
),
relation AS MATERIALIZED (
    SELECT
        c.oid,
        c.relkind AS kind,
        s.name || '.' || quote_ident(c.relname) AS name,
        CASE c.relkind
            WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' WHEN 'S' THEN 'sequence '
            WHEN 'f' THEN 'foreign table ' ELSE 'table '
        END || s.name || '.' || quote_ident(c.relname) AS object
    FROM pg_class AS c
    JOIN space AS s ON s.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    AND c.oid >= 16384
    AND c.oid NOT IN (SELECT k.oid FROM known AS k)
    AND c.oid NOT IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_class'::regclass)
),
-- REINDEX CONCURRENTLY of another session leaves an index beside each for a while; it has locked both.
being_rebuilt AS MATERIALIZED (
    SELECT i.indexrelid AS oid
    FROM pg_index AS i
    JOIN pg_locks AS l ON l.relation = i.indexrelid AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted
    WHERE NOT i.indisvalid AND l.pid <> pg_backend_pid()
    AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
),
routine AS MATERIALIZED (
    SELECT
        p.oid,
        CASE p.prokind WHEN 'a' THEN 'aggregate ' WHEN 'p' THEN 'procedure ' ELSE 'function ' END
        || s.name || '.' || quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS object
    FROM pg_proc AS p
    JOIN space AS s ON s.oid = p.pronamespace
    WHERE p.oid >= 16384
    AND p.oid NOT IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_proc'::regclass)
),
type AS MATERIALIZED (
    SELECT
        t.oid,
        CASE t.typtype WHEN 'd' THEN 'domain ' ELSE 'type ' END || s.name || '.' || quote_ident(t.typname) AS object
    FROM pg_type AS t
    JOIN space AS s ON s.oid = t.typnamespace
    LEFT JOIN pg_class AS c ON c.oid = t.typrelid
    WHERE t.typtype IN ('b', 'c', 'd', 'e', 'r')
    AND t.oid >= 16384
    AND (c.oid IS NULL OR c.relkind = 'c')
    -- Not a join: without statistics, as in a new database, the planner would compare every type with each other.
    AND t.oid NOT IN (SELECT element.typarray FROM pg_type AS element)
    AND t.oid NOT IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_type'::regclass)
),
column_acl AS MATERIALIZED (
    SELECT a.attrelid AS relation, a.attnum AS number, a.attname AS name, a.attacl AS acl
    FROM pg_attribute AS a
    WHERE a.attacl IS NOT NULL AND a.attnum > 0 AND NOT a.attisdropped
)
