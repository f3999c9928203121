-- Relations of which a query would run code that belongs to neither a superuser nor the role that connected: views, and
-- tables with a function in an index, a statistics object, a constraint or a rule, which the planner evaluates. A
-- hypertable's chunks count as a part of it. Functions of an extension are no exception: the owner of the
-- extension can add some to it. Nor is a role that the session has become: SET ROLE NONE undoes that.
WITH RECURSIVE trusted AS MATERIALIZED (
    SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolsuper OR r.rolname = session_user
),
code AS MATERIALIZED (
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass AS class, p.oid, p.oid::pg_catalog.regprocedure::text AS name
    FROM pg_catalog.pg_proc AS p WHERE p.proowner NOT IN (SELECT t.oid FROM trusted AS t)
    UNION ALL
    SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, o.oid, o.oid::pg_catalog.regoperator::text
    FROM pg_catalog.pg_operator AS o WHERE o.oprowner NOT IN (SELECT t.oid FROM trusted AS t)
    UNION ALL
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, d.oid, d.oid::pg_catalog.regtype::text
    FROM pg_catalog.pg_type AS d WHERE d.typtype = 'd' AND d.typowner NOT IN (SELECT t.oid FROM trusted AS t)
),
family AS (
    SELECT c.oid AS root, c.oid
    FROM pg_catalog.pg_class AS c
    WHERE c.relkind IN ('r', 'p', 'm') AND c.oid >= 16384
    UNION
    SELECT f.root, i.inhrelid FROM family AS f JOIN pg_catalog.pg_inherits AS i ON i.inhparent = f.oid
),
part AS (
    SELECT f.root, 'pg_catalog.pg_class'::pg_catalog.regclass AS class, f.oid FROM family AS f
    UNION ALL
    SELECT f.root, 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid
    FROM family AS f JOIN pg_catalog.pg_index AS i ON i.indrelid = f.oid
    UNION ALL
    SELECT f.root, c.tableoid, c.oid FROM family AS f JOIN pg_catalog.pg_constraint AS c ON c.conrelid = f.oid
    UNION ALL
    SELECT f.root, s.tableoid, s.oid FROM family AS f JOIN pg_catalog.pg_statistic_ext AS s ON s.stxrelid = f.oid
    UNION ALL
    SELECT f.root, w.tableoid, w.oid FROM family AS f JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = f.oid
),
found AS (
    SELECT p.root AS oid, pg_catalog.min('the function, operator or domain ' || k.name) AS reason
    FROM part AS p
    JOIN pg_catalog.pg_depend AS d ON d.classid = p.class AND d.objid = p.oid
    JOIN code AS k ON k.class = d.refclassid AND k.oid = d.refobjid
    GROUP BY p.root
    UNION ALL
    SELECT coalesce(f.root, c.oid), 'what a view or foreign table is made of'
    FROM pg_catalog.pg_class AS c LEFT JOIN family AS f ON f.oid = c.oid
    WHERE c.relkind IN ('v', 'f') AND c.relowner NOT IN (SELECT t.oid FROM trusted AS t)
)
SELECT f.oid AS relation, n.nspname || '.' || c.relname AS name, f.reason
FROM found AS f
JOIN pg_catalog.pg_class AS c ON c.oid = f.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
