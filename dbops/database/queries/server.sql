-- The server, and what the session's role may do.
SELECT pg_catalog.current_setting('server_version'), session_user, r.rolname, r.rolsuper, r.rolcreatedb,
       pg_catalog.pg_is_in_recovery(), pg_catalog.pg_backend_pid()
FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user
