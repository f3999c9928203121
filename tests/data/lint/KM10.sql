-- An index on a hypertable is built chunk by chunk, each in a transaction of its own, so that writers wait for one chunk
-- at a time. CONCURRENTLY is refused by TimescaleDB (0A000), and a plain build blocks writes to all chunks until it ends.
-- UNIQUE has neither form: create such an index with its table, or plan a pause of the writers.

-- bad: blocks writes to all chunks
CREATE INDEX ohlcv_volume_idx ON public.ohlcv (volume);

-- bad: refused by TimescaleDB
-- migrate: no-transaction
CREATE INDEX CONCURRENTLY ohlcv_volume_idx ON public.ohlcv (volume);

-- bad: UNIQUE has neither form
-- migrate: no-transaction
CREATE UNIQUE INDEX ohlcv_volume_key ON public.ohlcv (ticker_id, date, volume) WITH (timescaledb.transaction_per_chunk);

-- bad: a constraint builds the same index
ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_volume_key UNIQUE (ticker_id, date, volume);

-- bad: switched off
CREATE INDEX ohlcv_volume_idx ON public.ohlcv (volume) WITH (timescaledb.transaction_per_chunk = false);

-- bad: refused as well
-- migrate: no-transaction
REINDEX TABLE CONCURRENTLY public.ohlcv;

-- good: chunk by chunk, outside a transaction
-- migrate: no-transaction
CREATE INDEX ohlcv_volume_idx ON public.ohlcv (volume) WITH (timescaledb.transaction_per_chunk);

-- good: a plain table has CONCURRENTLY
-- migrate: no-transaction
CREATE INDEX CONCURRENTLY tickers_sector_idx ON public.tickers (sector);

-- good: a hypertable that this file makes is empty
CREATE TABLE public.ticks (time timestamptz NOT NULL, price numeric);
COMMENT ON TABLE public.ticks IS 'Single trades';
SELECT public.create_hypertable('public.ticks', 'time', chunk_time_interval => interval '1 day');
CREATE INDEX ticks_price_idx ON public.ticks (price);

-- good: the same name in another schema
CREATE INDEX ohlcv_volume_idx ON archive.ohlcv (volume);
