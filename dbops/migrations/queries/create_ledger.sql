-- The ledger, in schema dbops, which exists.
CREATE TABLE dbops.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT session_user,
    duration_ms bigint,
    tool_version text NOT NULL,
    CONSTRAINT schema_migrations_pkey PRIMARY KEY (version),
    CONSTRAINT schema_migrations_version_check CHECK (version > 0),
    CONSTRAINT schema_migrations_checksum_check CHECK (checksum ~ '^[0-9a-f]{64}$'),
    CONSTRAINT schema_migrations_duration_ms_check CHECK (duration_ms >= 0)
);
COMMENT ON TABLE dbops.schema_migrations
    IS 'Which migrations this database has had; written by the migration runner only';
COMMENT ON COLUMN dbops.schema_migrations.checksum
    IS 'sha256 of the file without BOM and with LF line ends';
COMMENT ON COLUMN dbops.schema_migrations.applied_at
    IS 'When the file was applied, or begun where it has not finished';
COMMENT ON COLUMN dbops.schema_migrations.applied_by
    IS 'Role that connected; what the file creates may belong to another role';
COMMENT ON COLUMN dbops.schema_migrations.duration_ms
    IS 'How long the file took; NULL where it runs outside a transaction and has not finished';
COMMENT ON COLUMN dbops.schema_migrations.tool_version
    IS 'Version of the runner'
