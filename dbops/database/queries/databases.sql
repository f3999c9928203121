-- Databases by their names, or by a pattern of LIKE, with all that DROP DATABASE loses.
SELECT d.oid::pg_catalog.int8, d.datname, d.datconnlimit, d.datistemplate, d.datallowconn,
       pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding), d.datlocprovider::text,
       d.datcollate, d.datctype,
       coalesce(pg_catalog.to_jsonb(d) ->> 'datlocale', pg_catalog.to_jsonb(d) ->> 'daticulocale'),
       pg_catalog.to_jsonb(d) ->> 'daticurules', t.spcname,
       CASE WHEN d.datacl IS NOT NULL THEN (
           SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(
               pg_catalog.pg_get_userbyid(a.grantor),
               CASE a.grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END,
               a.privilege_type, a.is_grantable) ORDER BY a.n), '[]')
           FROM pg_catalog.aclexplode(d.datacl) WITH ORDINALITY
               AS a (grantor, grantee, privilege_type, is_grantable, n)) END,
       pg_catalog.shobj_description(d.oid, 'pg_database'),
       (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
            s.role, pg_catalog.split_part(s.item, '=', 1),
            pg_catalog.substr(s.item, pg_catalog.strpos(s.item, '=') + 1)) ORDER BY s.role, s.n)
        FROM (SELECT CASE r.setrole WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(r.setrole)::text END AS role,
                     c.item, c.n
              FROM pg_catalog.pg_db_role_setting AS r, pg_catalog.unnest(r.setconfig) WITH ORDINALITY AS c (item, n)
              WHERE r.setdatabase = d.oid) AS s),
       (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(l.provider, l.label) ORDER BY l.provider)
        FROM pg_catalog.pg_shseclabel AS l
        WHERE l.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND l.objoid = d.oid),
       CASE WHEN d.datconnlimit <> -2 AND (pg_catalog.has_database_privilege(d.oid, 'CONNECT')
                 OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')) THEN pg_catalog.pg_database_size(d.oid) END
FROM pg_catalog.pg_database AS d JOIN pg_catalog.pg_tablespace AS t ON t.oid = d.dattablespace
WHERE d.datname = ANY (%s) OR d.datname LIKE %s
ORDER BY d.datname
