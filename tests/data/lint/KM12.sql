-- bad: the runner would open a transaction
CREATE INDEX CONCURRENTLY tickers_sector_idx ON public.tickers (sector);

-- bad: so it would here
CREATE INDEX ohlcv_volume_idx ON public.ohlcv (volume) WITH (timescaledb.transaction_per_chunk);

-- bad: a drop
DROP INDEX CONCURRENTLY public.tickers_sector_idx;

-- bad: REINDEX
REINDEX (CONCURRENTLY) INDEX public.tickers_sector_idx;

-- good: the header says so
-- migrate: no-transaction
CREATE INDEX CONCURRENTLY tickers_sector_idx ON public.tickers (sector);

-- good: chunk by chunk
-- migrate: no-transaction
CREATE INDEX ohlcv_volume_idx ON public.ohlcv (volume) WITH (timescaledb.transaction_per_chunk);

-- good: the word in a comment
COMMENT ON INDEX public.tickers_symbol_key IS 'Rebuild it CONCURRENTLY';

-- good: an index of a table that this file creates
CREATE TABLE public.notes (note text);
COMMENT ON TABLE public.notes IS 'Test';
CREATE INDEX notes_note_idx ON public.notes (note);
