-- TimescaleDB in the connected database: its version, its owner, whether this role may act for that one, and whether the
-- server can update it to a version.
SELECT e.extversion, pg_catalog.pg_get_userbyid(e.extowner), pg_catalog.pg_has_role(e.extowner, 'USAGE'),
       EXISTS (SELECT FROM pg_catalog.pg_extension_update_paths('timescaledb') AS p
               WHERE p.source = e.extversion AND p.target = %s AND p.path IS NOT NULL)
FROM pg_catalog.pg_extension AS e WHERE e.extname = 'timescaledb'
