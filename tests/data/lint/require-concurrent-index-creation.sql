-- A plain CREATE INDEX blocks writes to the table until the index is built. CONCURRENTLY takes longer and does not block;
-- it needs a file of its own. For a hypertable see KM10.

-- bad: blocks writes
CREATE INDEX tickers_sector_idx ON public.tickers (sector);

-- bad: UNIQUE does too
CREATE UNIQUE INDEX tickers_name_key ON public.tickers (name);

-- bad: outside a transaction as well
-- migrate: no-transaction
CREATE INDEX tickers_sector_idx ON public.tickers (sector);

-- good: blocks no writes
-- migrate: no-transaction
CREATE INDEX CONCURRENTLY tickers_sector_idx ON public.tickers (sector);

-- good: a table that this file creates is not in use
CREATE TABLE public.splits (ticker_id uuid NOT NULL);
COMMENT ON TABLE public.splits IS 'One row per stock split';
CREATE INDEX splits_ticker_id_idx ON public.splits (ticker_id);

-- good: a hypertable has a rule of its own
-- migrate: no-transaction
CREATE INDEX ohlcv_volume_idx ON public.ohlcv (volume) WITH (timescaledb.transaction_per_chunk);
