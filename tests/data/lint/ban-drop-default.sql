-- Clients that were released before may rely on the default, and fail without it.

-- bad: clients that leave the column out fail
ALTER TABLE public.tickers ALTER COLUMN is_active DROP DEFAULT;

-- bad: COLUMN can be left out
ALTER TABLE public.tickers ALTER is_active DROP DEFAULT;

-- bad: on a hypertable
ALTER TABLE public.ohlcv ALTER COLUMN created_at DROP DEFAULT;

-- good: another default
ALTER TABLE public.tickers ALTER COLUMN is_active SET DEFAULT false;

-- good: with a reason
-- lint: allow ban-drop-default because every client since release 1.2 gives it
ALTER TABLE public.tickers ALTER COLUMN is_active DROP DEFAULT;

-- good: a table that this file creates
CREATE TABLE public.splits (ratio numeric DEFAULT 1);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits ALTER COLUMN ratio DROP DEFAULT;
