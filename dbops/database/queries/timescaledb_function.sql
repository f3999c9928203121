-- The schema of one of TimescaleDB's functions. The owner of an extension can add functions to it: only a superuser's
-- count.
SELECT n.nspname FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner AND r.rolsuper
JOIN pg_catalog.pg_depend AS d ON d.objid = p.oid AND d.deptype = 'e'
     AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'timescaledb'
WHERE p.proname = %s
