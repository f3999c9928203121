-- bad: only for the transaction
SET LOCAL statement_timeout = '1h';

-- bad: by a function
SELECT set_config('lock_timeout', '0', true);

-- bad: all settings
RESET ALL;

-- good: a setting that no header is for
SET LOCAL work_mem = '16MB';

-- good: a setting of the database, for sessions to come
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET lock_timeout = %L', current_database(), '5s'); END $$;
