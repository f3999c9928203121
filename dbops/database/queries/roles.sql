-- Roles that own databases, and those that this role is a member of: whether this role may act for each, and may become
-- it; what they are themselves. A superuser may do all of that, and is a member of all: for it the owners are enough.
SELECT r.rolname, pg_catalog.pg_has_role(r.oid, 'USAGE'), pg_catalog.pg_has_role(r.oid, p.name),
       r.rolsuper, r.rolcreatedb, r.rolinherit OR p.name = 'SET'
FROM pg_catalog.pg_roles AS r
CROSS JOIN (SELECT CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET'
                        ELSE 'MEMBER' END AS name) AS p
WHERE r.oid IN (SELECT d.datdba FROM pg_catalog.pg_database AS d)
   OR (pg_catalog.pg_has_role(r.oid, 'MEMBER')
       AND NOT (SELECT m.rolsuper FROM pg_catalog.pg_roles AS m WHERE m.rolname = current_user))
