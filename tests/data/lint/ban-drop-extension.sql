-- What uses the extension fails; for TimescaleDB that is every hypertable.

-- bad: with all hypertables
DROP EXTENSION timescaledb CASCADE;

-- bad: alone
DROP EXTENSION timescaledb;

-- bad: IF EXISTS changes nothing about that
DROP EXTENSION IF EXISTS timescaledb;

-- good: it is there
CREATE EXTENSION IF NOT EXISTS timescaledb WITH SCHEMA public;

-- good: with a reason
-- lint: allow ban-drop-extension because nothing has used it since release 1.4
DROP EXTENSION pgcrypto;

-- good: a comment about it
COMMENT ON EXTENSION timescaledb IS 'Never DROP EXTENSION this one';
