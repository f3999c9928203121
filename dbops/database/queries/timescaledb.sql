-- TimescaleDB's version on the server, whether it is trusted, and whether the server loads it. Of a setting that only
-- stands in a file or was made by hand, the server knows no type: the library defines this one.
SELECT v.version, v.trusted,
       EXISTS (SELECT FROM pg_catalog.pg_settings AS s
               WHERE s.name = 'timescaledb.max_background_workers' AND s.vartype = 'integer')
FROM pg_catalog.pg_available_extensions AS e
JOIN pg_catalog.pg_available_extension_versions AS v ON v.name = e.name AND v.version = e.default_version
WHERE e.name = 'timescaledb'
