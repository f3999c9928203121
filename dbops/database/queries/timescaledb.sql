-- TimescaleDB's version on the server, whether this role may create it (a superuser may; for others the extension must be
-- trusted, which takes the server some milliseconds to find out), and whether the server loads it. Of a setting that only
-- stands in a file or was made by hand, the server knows no type: the library defines this one.
SELECT e.default_version,
       r.rolsuper OR EXISTS (
           SELECT FROM pg_catalog.pg_available_extension_versions() AS v
           WHERE NOT r.rolsuper AND v.name = e.name AND v.version = e.default_version AND v.trusted),
       EXISTS (SELECT FROM pg_catalog.pg_settings AS s
               WHERE s.name = 'timescaledb.max_background_workers' AND s.vartype = 'integer')
FROM pg_catalog.pg_available_extensions() AS e CROSS JOIN pg_catalog.pg_roles AS r
WHERE e.name = 'timescaledb' AND r.rolname = current_user
