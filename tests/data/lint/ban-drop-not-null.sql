-- Clients that were released before may not expect null.

-- bad: clients read a null that never was there
ALTER TABLE public.tickers ALTER COLUMN symbol DROP NOT NULL;

-- bad: COLUMN can be left out
ALTER TABLE public.tickers ALTER symbol DROP NOT NULL;

-- bad: on a hypertable
ALTER TABLE public.ohlcv ALTER COLUMN created_at DROP NOT NULL;

-- good: with a reason
-- lint: allow ban-drop-not-null because every client since release 1.2 handles a missing symbol
ALTER TABLE public.tickers ALTER COLUMN symbol DROP NOT NULL;

-- good: a new column that may be null
ALTER TABLE public.tickers ADD COLUMN isin text;

-- good: a table that this file creates
CREATE TABLE public.splits (ratio numeric NOT NULL);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits ALTER COLUMN ratio DROP NOT NULL;
