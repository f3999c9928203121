-- Become the role that the connecting role has been given with ALTER ROLE ... SET role, as PostgreSQL lets a session begin,
-- or else the connecting role. Nothing here is found by the search path, which may be the database owner's.
SELECT pg_catalog.set_config('role', coalesce((
    SELECT other.rolname
    FROM pg_catalog.pg_db_role_setting AS s
    JOIN pg_catalog.pg_roles AS me ON me.oid OPERATOR(pg_catalog.=) s.setrole
    CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS item (text)
    JOIN pg_catalog.pg_roles AS other
        ON item.text OPERATOR(pg_catalog.=) pg_catalog.concat('role=', other.rolname)
    WHERE me.rolname OPERATOR(pg_catalog.=) session_user
      AND (s.setdatabase OPERATOR(pg_catalog.=) 0 OR s.setdatabase OPERATOR(pg_catalog.=) (
          SELECT d.oid FROM pg_catalog.pg_database AS d
          WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()))
      AND pg_catalog.pg_has_role(session_user, other.oid, CASE
          WHEN pg_catalog.current_setting('server_version_num') OPERATOR(pg_catalog.>=) '160000' THEN 'SET'
          ELSE 'MEMBER' END)
    ORDER BY s.setdatabase DESC
    LIMIT 1
), 'none'), {})
