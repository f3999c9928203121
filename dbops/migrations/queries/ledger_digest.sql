-- The sha256 of the ledger's rows: versions, names, checksums, and whether each file is finished.
SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(coalesce(pg_catalog.string_agg(
    pg_catalog.concat_ws(' ', version, name, checksum, duration_ms IS NOT NULL), '/' ORDER BY version
), ''), 'UTF8')), 'hex')
FROM dbops.schema_migrations
