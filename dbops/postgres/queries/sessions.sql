-- The sessions of pg_stat_activity for which a condition holds, the oldest first.
SELECT a.pid, coalesce(a.usename, ''), a.application_name,
       coalesce(pg_catalog.host(a.client_addr), 'local'), coalesce(a.state, 'unknown'),
       pg_catalog.to_char(coalesce(a.state_change, a.backend_start), 'YYYY-MM-DD HH24:MI:SS "UTC"'),
       CASE WHEN (a.state = 'active' OR a.state LIKE 'idle in transaction%%') AND a.query !~* 'password' THEN
           pg_catalog.left(pg_catalog.regexp_replace(a.query, '\s+', ' ', 'g'), 60) ELSE '' END,
       me.rolsuper OR (NOT coalesce(r.rolsuper, TRUE) AND
           (pg_catalog.pg_has_role(a.usesysid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')))
FROM pg_catalog.pg_stat_activity AS a
JOIN pg_catalog.pg_roles AS me ON me.rolname = current_user
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
WHERE {condition}
ORDER BY a.backend_start, a.pid
