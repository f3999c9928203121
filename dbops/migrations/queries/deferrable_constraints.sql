-- The constraints that can be deferred, all of them and those that begin so, as SET CONSTRAINTS takes them.
SELECT pg_catalog.string_agg(d.name, ', ' ORDER BY d.name),
       pg_catalog.string_agg(d.name, ', ' ORDER BY d.name) FILTER (WHERE d.deferred)
FROM (
    SELECT pg_catalog.format('%I.%I', n.nspname, c.conname), pg_catalog.bool_or(c.condeferred)
    FROM pg_catalog.pg_constraint AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.connamespace
    WHERE c.condeferrable AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
      AND NOT pg_catalog.pg_is_other_temp_schema(n.oid)
    GROUP BY 1
) AS d (name, deferred)
