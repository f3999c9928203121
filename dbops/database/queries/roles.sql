-- Roles that own databases, and those that this role is a member of: whether this role may act for each, whether it may
-- give a database to it, and whether the session may become it; what they are themselves. A superuser may do all of
-- that, and is a member of all: for it the owners are enough. A superuser's session that acts as a plain role stays that.
WITH me AS (
    SELECT r.oid, r.rolsuper, login.oid AS login, login.rolsuper AS login_rolsuper,
           CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END AS become
    FROM pg_catalog.pg_roles AS r CROSS JOIN pg_catalog.pg_roles AS login
    WHERE r.rolname = current_user AND login.rolname = session_user
)
SELECT r.rolname, pg_catalog.pg_has_role(r.oid, 'USAGE'), pg_catalog.pg_has_role(r.oid, me.become),
       pg_catalog.pg_has_role(me.login, r.oid, me.become) AND NOT me.login_rolsuper,
       r.rolsuper, r.rolcreatedb, r.rolinherit OR r.rolsuper OR me.become = 'SET'
FROM pg_catalog.pg_roles AS r CROSS JOIN me
WHERE r.oid IN (SELECT d.datdba FROM pg_catalog.pg_database AS d)
   OR (NOT me.login_rolsuper
       AND (pg_catalog.pg_has_role(me.oid, r.oid, 'MEMBER') OR pg_catalog.pg_has_role(me.login, r.oid, 'MEMBER')))
