-- ledger_emptied
-- verify: table dbops.schema_migrations: rows => 0 applied
-- drift: nothing
DELETE FROM dbops.schema_migrations;

-- ledger_row_deleted
-- verify: table dbops.schema_migrations: rows => 5 applied, 0 unfinished, 1 missing
-- drift: nothing
DELETE FROM dbops.schema_migrations WHERE version = 3;

-- ledger_row_unfinished
-- verify: table dbops.schema_migrations: rows => 6 applied, 1 unfinished
-- drift: nothing
UPDATE dbops.schema_migrations SET duration_ms = NULL WHERE version = 6;

-- label_dropped
-- verify: schema dbops: label => missing
-- drift: nothing
COMMENT ON SCHEMA dbops IS NULL;

-- label_overwritten
-- verify: schema dbops: label => the runner of migrations
-- drift: nothing
COMMENT ON SCHEMA dbops IS 'the runner of migrations';

-- label_of_no_environment
-- verify: schema dbops: label => staging
-- drift: nothing
COMMENT ON SCHEMA dbops IS '{"environment": "staging", "system_identifier": "7312345678901234567"}';

-- large_object
-- verify: large objects => 1 large objects
-- drift: nothing
SELECT lo_create(0);
