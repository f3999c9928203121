-- The roles that own databases: whether this role may act for each, and may become it; what they are themselves.
SELECT r.rolname, pg_catalog.pg_has_role(r.oid, 'USAGE'),
       pg_catalog.pg_has_role(
           r.oid,
           CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END),
       r.rolsuper, r.rolcreatedb
FROM pg_catalog.pg_roles AS r
WHERE r.oid IN (SELECT d.datdba FROM pg_catalog.pg_database AS d)
