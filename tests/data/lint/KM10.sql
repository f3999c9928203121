-- bad: blocks writes to all chunks
CREATE INDEX ohlcv_volume_idx ON public.ohlcv (volume);

-- bad: refused by TimescaleDB
-- migrate: no-transaction
CREATE INDEX CONCURRENTLY ohlcv_volume_idx ON public.ohlcv (volume);

-- bad: refused, too
ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_key UNIQUE USING INDEX ohlcv_key_idx;

-- bad: a chunk
CREATE INDEX chunk_idx ON _timescaledb_internal._hyper_1_1_chunk (volume);

-- bad: a table that IF NOT EXISTS does not make
CREATE TABLE IF NOT EXISTS public.tickers (id uuid);
COMMENT ON TABLE public.tickers IS 'x';
CREATE INDEX tickers_sector_idx ON public.tickers (sector);

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

-- bad: builds the index
ALTER TABLE public.tickers ADD CONSTRAINT tickers_key PRIMARY KEY (symbol);

-- bad: with a column
ALTER TABLE public.tickers ADD COLUMN number bigserial CONSTRAINT tickers_key PRIMARY KEY;

-- bad: of two columns
ALTER TABLE public.recommendations ADD CONSTRAINT recommendations_key PRIMARY KEY (ticker_id, id);

-- good: uses an index that is there
ALTER TABLE public.tickers ADD CONSTRAINT tickers_key PRIMARY KEY USING INDEX tickers_symbol_idx;

-- good: a new table
CREATE TABLE public.splits (id uuid CONSTRAINT splits_pkey PRIMARY KEY);
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- good: a new table, later in the file
CREATE TABLE public.splits (id uuid NOT NULL);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits ADD CONSTRAINT splits_pkey PRIMARY KEY (id);

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

-- good: a hypertable has another form
-- migrate: no-transaction
CREATE INDEX ohlcv_volume_idx ON public.ohlcv (volume) WITH (timescaledb.transaction_per_chunk);

-- bad: blocks
REINDEX INDEX public.tickers_symbol_key;

-- bad: all indexes of a table
REINDEX TABLE public.tickers;

-- bad: all indexes of a schema
-- migrate: no-transaction
REINDEX SCHEMA public;

-- good: builds a second index and swaps them
-- migrate: no-transaction
REINDEX INDEX CONCURRENTLY public.tickers_symbol_key;

-- good: the same for a table
-- migrate: no-transaction
REINDEX TABLE CONCURRENTLY public.tickers;

-- good: the option in parentheses
-- migrate: no-transaction
REINDEX (CONCURRENTLY) TABLE public.tickers;
