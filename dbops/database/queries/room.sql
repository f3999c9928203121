-- How many more sessions there may be: as the login role may have, and as the server has.
SELECT CASE WHEN r.rolconnlimit >= 0 AND NOT r.rolsuper THEN r.rolconnlimit - (
           SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.usesysid = r.oid) END,
       pg_catalog.current_setting('max_connections')::int
       - CASE WHEN r.rolsuper THEN 0 ELSE
             pg_catalog.current_setting('superuser_reserved_connections')::int
             + coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0) END
       - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a
          WHERE a.datid IS NOT NULL AND coalesce(a.backend_type, 'client backend') = 'client backend')
FROM pg_catalog.pg_roles AS r WHERE r.rolname = session_user
