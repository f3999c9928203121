-- SET NOT NULL reads the whole table while reads and writes are blocked, unless a validated CHECK constraint proves that
-- there is no null. The earlier files are searched for one: docs/live-changes.md shows the sequence.

-- bad: reads the whole table
ALTER TABLE public.tickers ALTER COLUMN sector SET NOT NULL;

-- bad: COLUMN can be left out
ALTER TABLE public.tickers ALTER sector SET NOT NULL;

-- bad: one of several actions
ALTER TABLE public.recommendations
ALTER COLUMN confidence DROP DEFAULT,
ALTER COLUMN confidence SET NOT NULL;

-- good: a condition for rows from now on
ALTER TABLE public.tickers ADD CONSTRAINT tickers_sector_check CHECK (sector IS NOT NULL) NOT VALID;

-- good: a table that this file creates
CREATE TABLE public.splits (ratio numeric);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits ALTER COLUMN ratio SET NOT NULL;

-- good: a default
ALTER TABLE public.tickers ALTER COLUMN sector SET DEFAULT 'unknown';
