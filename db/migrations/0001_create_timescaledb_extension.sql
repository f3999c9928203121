-- Why:   ohlcv is a hypertable, and create_hypertable comes with this extension. It is the only one:
--        gen_random_uuid() is built into PostgreSQL.
-- Needs: TimescaleDB 2.10 or newer, installed on the server and named in shared_preload_libraries;
--        the right to create a trusted extension (CREATE on the database).
-- Locks: none

CREATE EXTENSION IF NOT EXISTS timescaledb WITH SCHEMA public;
