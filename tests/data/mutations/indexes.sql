-- drop_index
-- verify: index public.options_chains_ticker_id_idx
DROP INDEX public.options_chains_ticker_id_idx;

-- drop_index_of_foreign_key
-- verify: foreign key public.options_chains.options_chains_ticker_id_fkey: index
DROP INDEX public.options_chains_ticker_id_idx;

-- drop_index_of_two_foreign_keys
-- verify: foreign key public.recommendations.recommendations_ticker_id_fkey: index
DROP INDEX public.recommendations_ticker_id_snapshot_time_idx;

-- drop_index_of_hypertable
-- verify: index public.ohlcv_date_idx
DROP INDEX public.ohlcv_date_idx;

-- add_index
-- drift: table public.tickers => +    index tickers_sector_idx: CREATE INDEX tickers_sector_idx ON public.tickers USING btr
CREATE INDEX tickers_sector_idx ON public.tickers (sector);

-- add_index_to_hypertable
-- drift: table public.ohlcv => +    index ohlcv_close_idx: CREATE INDEX ohlcv_close_idx ON public.ohlcv USING btree (clos
CREATE INDEX ohlcv_close_idx ON public.ohlcv (close);

-- rename_index
-- verify: index public.daily_snapshots_ticker_id_idx
ALTER INDEX public.daily_snapshots_ticker_id_idx RENAME TO by_ticker;

-- unique_to_plain
-- verify: index public.tickers_symbol_key => btree (symbol)
ALTER TABLE public.tickers DROP CONSTRAINT tickers_symbol_key;
CREATE INDEX tickers_symbol_key ON public.tickers (symbol);

-- plain_to_unique
-- verify: index public.options_chains_ticker_id_idx => UNIQUE
DROP INDEX public.options_chains_ticker_id_idx;
CREATE UNIQUE INDEX options_chains_ticker_id_idx ON public.options_chains (ticker_id);

-- other_column
-- verify: index public.options_chains_ticker_id_idx => btree (strike_price)
DROP INDEX public.options_chains_ticker_id_idx;
CREATE INDEX options_chains_ticker_id_idx ON public.options_chains (strike_price);

-- other_order
-- verify: index public.ohlcv_date_idx => on public.ohlcv: btree (date)
DROP INDEX public.ohlcv_date_idx;
CREATE INDEX ohlcv_date_idx ON public.ohlcv (date);

-- partial
-- verify: foreign key public.daily_snapshots.daily_snapshots_ticker_id_fkey: index
DROP INDEX public.daily_snapshots_ticker_id_idx;
CREATE INDEX daily_snapshots_ticker_id_idx ON public.daily_snapshots (ticker_id) WHERE bc_score > 0;

-- other_method
-- verify: index public.daily_snapshots_ticker_id_idx => hash (ticker_id)
DROP INDEX public.daily_snapshots_ticker_id_idx;
CREATE INDEX daily_snapshots_ticker_id_idx ON public.daily_snapshots USING hash (ticker_id);

-- included_column
-- verify: index public.daily_snapshots_ticker_id_idx => INCLUDE
DROP INDEX public.daily_snapshots_ticker_id_idx;
CREATE INDEX daily_snapshots_ticker_id_idx ON public.daily_snapshots (ticker_id) INCLUDE (bc_score);

-- operator_class
-- verify: index public.tickers_symbol_key => varchar_pattern_ops
ALTER TABLE public.tickers DROP CONSTRAINT tickers_symbol_key;
CREATE UNIQUE INDEX tickers_symbol_key ON public.tickers (symbol varchar_pattern_ops);

-- invalid
-- verify: index public.options_chains_ticker_id_idx => invalid
UPDATE pg_catalog.pg_index SET indisvalid = false
WHERE indexrelid = 'public.options_chains_ticker_id_idx'::regclass;

-- invalid_serves_no_foreign_key
-- verify: foreign key public.options_chains.options_chains_ticker_id_fkey: index
UPDATE pg_catalog.pg_index SET indisvalid = false
WHERE indexrelid = 'public.options_chains_ticker_id_idx'::regclass;
