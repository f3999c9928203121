-- bad: a function that PostgreSQL has itself
CREATE EXTENSION pgcrypto;

-- bad: a quoted name
CREATE EXTENSION IF NOT EXISTS "uuid-ossp";

-- bad: another one with a schema
CREATE EXTENSION pg_trgm WITH SCHEMA public;

-- good: the one that the schema needs
CREATE EXTENSION IF NOT EXISTS timescaledb WITH SCHEMA public;

-- good: without options
CREATE EXTENSION timescaledb;

-- good: gen_random_uuid is built in
ALTER TABLE public.tickers ALTER COLUMN id SET DEFAULT gen_random_uuid();
