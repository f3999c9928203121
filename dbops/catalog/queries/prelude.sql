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
-- The script of an extension makes an object a member in the very command that creates it. What became a member
-- later, by ALTER EXTENSION ... ADD, is the database's own; of relations, also within one transaction.
member AS MATERIALIZED (
    SELECT d.classid, d.objid
    FROM pg_depend AS d
    WHERE d.deptype = 'e'
    AND NOT EXISTS (
        SELECT FROM pg_depend AS o
        WHERE o.classid = d.classid AND o.objid = d.objid AND o.deptype = 'n' AND age(o.xmin) > age(d.xmin)
    )
    AND NOT EXISTS (
        SELECT FROM pg_namespace AS n
        WHERE d.classid = 'pg_namespace'::regclass AND n.oid = d.objid AND age(n.xmin) > age(d.xmin)
    )
),
extension_space AS MATERIALIZED (
    SELECT m.objid AS oid FROM member AS m WHERE m.classid = 'pg_namespace'::regclass
),
space AS MATERIALIZED (
    SELECT n.oid, quote_ident(n.nspname) AS name
    FROM pg_namespace AS n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND n.oid NOT IN (SELECT e.oid FROM extension_space AS e)
),
relation AS MATERIALIZED (
    SELECT
        c.oid,
        c.relkind AS kind,
        quote_ident(s.nspname) || '.' || quote_ident(c.relname) AS name,
        CASE c.relkind
            WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' WHEN 'S' THEN 'sequence '
            WHEN 'f' THEN 'foreign table ' ELSE 'table '
        END || quote_ident(s.nspname) || '.' || quote_ident(c.relname) AS object
    FROM pg_class AS c
    JOIN pg_namespace AS s ON s.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    AND s.nspname !~ '^pg_' AND s.nspname <> 'information_schema'
    AND c.oid NOT IN (SELECT k.oid FROM known AS k)
    AND NOT EXISTS (
        SELECT FROM member AS m
        WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid
        AND (
            c.relnamespace IN (SELECT e.oid FROM extension_space AS e)
            OR NOT EXISTS (
                SELECT FROM pg_depend AS d
                JOIN pg_depend AS o ON o.classid = d.classid AND o.objid = d.objid AND o.xmin = d.xmin
                WHERE d.classid = m.classid AND d.objid = m.objid AND d.deptype = 'e' AND o.deptype = 'n'
                AND o.cmin::text::integer < d.cmin::text::integer
            )
        )
    )
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
    WHERE NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
),
type AS MATERIALIZED (
    SELECT
        t.oid,
        CASE t.typtype WHEN 'd' THEN 'domain ' ELSE 'type ' END || s.name || '.' || quote_ident(t.typname) AS object
    FROM pg_type AS t
    JOIN space AS s ON s.oid = t.typnamespace
    LEFT JOIN pg_class AS c ON c.oid = t.typrelid
    WHERE t.typtype IN ('b', 'c', 'd', 'e', 'r')
    AND (c.oid IS NULL OR c.relkind = 'c')
    -- Not a join: without statistics, as in a new database, the planner would compare every type with each other.
    AND t.oid NOT IN (SELECT element.typarray FROM pg_type AS element)
    AND NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid)
)
