-- A unique constraint builds its index while reads and writes are blocked.

-- bad: builds the index
ALTER TABLE public.tickers ADD CONSTRAINT tickers_name_key UNIQUE (name);

-- bad: of two columns
ALTER TABLE public.recommendations ADD CONSTRAINT recommendations_key UNIQUE (ticker_id, snapshot_time);

-- bad: one of several actions
ALTER TABLE public.tickers ADD COLUMN isin text, ADD CONSTRAINT tickers_isin_key UNIQUE (name, sector);

-- good: uses an index that an earlier file has built CONCURRENTLY
ALTER TABLE public.tickers ADD CONSTRAINT tickers_name_key UNIQUE USING INDEX tickers_name_idx;

-- good: a new table
CREATE TABLE public.splits (ticker_id uuid CONSTRAINT splits_ticker_id_key UNIQUE);
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- good: the index itself
-- migrate: no-transaction
CREATE UNIQUE INDEX CONCURRENTLY tickers_name_idx ON public.tickers (name);
