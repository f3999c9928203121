-- Clients that were released before do not find the table any more.

-- bad: clients look for it where it was
ALTER TABLE public.recommendation_outcomes SET SCHEMA archive;

-- bad: a hypertable
ALTER TABLE public.ohlcv SET SCHEMA archive;

-- bad: IF EXISTS changes nothing about that
ALTER TABLE IF EXISTS public.recommendations SET SCHEMA archive;

-- good: a table that this file creates
CREATE TABLE public.splits (a integer);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits SET SCHEMA archive;

-- good: with a reason
-- lint: allow ban-set-schema because every client since release 1.4 names archive
ALTER TABLE public.recommendation_outcomes SET SCHEMA archive;

-- good: a schema for new tables
CREATE SCHEMA archive;
