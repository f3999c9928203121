-- Statements that reach beyond their database, one text a line, under the name of the kind.
-- DATABASE
ALTER DATABASE kapman_dev SET statement_timeout = '30s';
alter database "kapman_dev" owner to x;
COMMENT ON DATABASE kapman_dev IS 'touched';
GRANT CONNECT ON DATABASE kapman_dev TO reader;
REVOKE ALL ON DATABASE a, b FROM PUBLIC;
SECURITY LABEL FOR dummy ON DATABASE x IS 'a';
REINDEX DATABASE kapman_dev;
REINDEX (VERBOSE) DATABASE kapman_dev;
UPDATE pg_catalog.pg_database SET datallowconn = false;
DELETE FROM pg_db_role_setting;
WITH a AS (UPDATE pg_database SET datconnlimit = 1 RETURNING 1) SELECT 1;
CREATE SCHEMA s GRANT CONNECT ON DATABASE x TO y;
DO $$ BEGIN EXECUTE 'ALTER DATABASE kapman_dev SET work_mem = 1'; END $$;
DO $$ BEGIN EXECUTE 'ALTER ' || 'DATA' || 'BASE x SET a = 1'; END $$;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET a = 1', 'kapman_dev'); END $$;
DO $$ DECLARE d text := 'other'; BEGIN EXECUTE format('ALTER DATABASE %I SET a = 1', d); END $$;
DO $$ DECLARE r record; BEGIN FOR r IN SELECT datname FROM pg_database WHERE datname <> current_database() LOOP EXECUTE format('ALTER DATABASE %I SET a = 1', r.datname); END LOOP; END $$;
DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I, other TO x', current_database()); END $$;
DO $$ BEGIN EXECUTE replace('ALTER DATABASE X SET a = 1', 'X', current_database()); END $$;
-- WHOLE_DATABASE
CREATE DATABASE x;
DROP DATABASE IF EXISTS x;
ALTER DATABASE a RENAME TO b;
-- SERVER
GRANT SET ON PARAMETER work_mem TO reader;
GRANT CREATE ON TABLESPACE fast TO reader;
ALTER SYSTEM SET work_mem = '1GB';
ALTER SYSTEM RESET ALL;
CREATE TABLESPACE fast LOCATION '/x';
ALTER TABLESPACE fast OWNER TO x;
DROP TABLESPACE fast;
COMMENT ON TABLESPACE fast IS 'x';
SELECT "pg_reload_conf"();
CHECKPOINT;
DO $$ BEGIN ALTER SYSTEM SET work_mem = '1GB'; END $$;
DO 'BEGIN EXECUTE ''ALTER SYSTEM SET a = 1''; END';
DO $x$ BEGIN EXECUTE $q$DO $$ BEGIN ALTER SYSTEM SET a = 1; END $$ $q$; END $x$;
DO $$ BEGIN EXECUTE concat('ALTER SYSTEM SET a = ', 1); END $$;
CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ALTER SYSTEM SET a = 1'; END $$; SELECT f();
CREATE OR REPLACE PROCEDURE public.f() LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_reload_conf(); END $$; DO $$ BEGIN CALL public.f(); END $$;
CREATE FUNCTION g() RETURNS boolean BEGIN ATOMIC SELECT pg_reload_conf(); END; SELECT g();
-- ROLE
GRANT reader TO writer;
REVOKE ADMIN OPTION FOR reader FROM writer;
SECURITY LABEL ON ROLE x IS 'a';
CREATE ROLE app LOGIN;
CREATE USER app;
ALTER USER app SET work_mem = '1GB';
ALTER ROLE app IN DATABASE kapman_dev SET work_mem = '1GB';
ALTER ROLE ALL RESET ALL;
DROP GROUP g;
COMMENT ON ROLE app IS 'x';
REASSIGN OWNED BY a TO b;
DROP OWNED BY a;
DO $$ BEGIN IF true THEN CREATE ROLE a; END IF; END $$;
DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'a') THEN CREATE ROLE a; END IF; END $$;
DO $$ DECLARE s text; BEGIN s := 'DROP ROLE x'; EXECUTE s; END $$;
DO $$ DECLARE s text; BEGIN FOREACH s IN ARRAY ARRAY['DROP ROLE x', 'SELECT 1'] LOOP EXECUTE s; END LOOP; END $$;
DO $$ BEGIN EXECUTE format('ALTER ROLE %I SET a = 1', current_user); END $$;
DO $$ BEGIN EXECUTE (SELECT 'DROP ROLE x'); END $$;
-- SESSIONS
SELECT pg_terminate_backend(pid) FROM pg_stat_activity;
SELECT pg_catalog.pg_cancel_backend(1);
DO $$ BEGIN PERFORM pg_terminate_backend(1); END $$;
-- REMOTE
SELECT dblink_exec('dbname=other', 'DROP TABLE x');
SELECT * FROM public.dblink('dbname=x', 'select 1') AS t(a int);
CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p;
CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw;
IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c;
-- FILES
COPY public.t TO PROGRAM 'cat';
COPY public.t (a, b) FROM '/etc/passwd';
COPY (SELECT 1) TO E'/tmp/x';
LOAD 'auto_explain';
SELECT lo_import('/etc/passwd');
SELECT pg_read_file('x');
-- UPGRADE
ALTER EXTENSION timescaledb UPDATE;
ALTER EXTENSION "timescaledb" UPDATE TO '2.20';
-- LIMITS
SET lock_timeout = 0;
SET LOCAL lock_timeout = '1h';
set session "lock_timeout" to default;
SET statement_timeout = 0;
RESET lock_timeout;
RESET ALL;
DISCARD ALL;
SELECT set_config('lock_timeout', '0', false);
SELECT pg_catalog.set_config('Lock_Timeout', '0', true);
UPDATE pg_settings SET setting = '0' WHERE name = 'lock_timeout';
DO $$ BEGIN SET LOCAL lock_timeout = 0; END $$;
DO $$ BEGIN PERFORM set_config('lock_timeout', '0', true); END $$;
DO $$ BEGIN EXECUTE 'SET lock_timeout = 0'; END $$;
CREATE FUNCTION f() RETURNS void LANGUAGE sql SET lock_timeout = 0 AS ''; SELECT f();
