-- A plain DROP INDEX waits for all transactions that use the table, and later ones wait behind it.

-- bad: blocks reads and writes while it waits
DROP INDEX public.options_chains_ticker_id_idx;

-- bad: IF EXISTS changes nothing about that
DROP INDEX IF EXISTS public.options_chains_ticker_id_idx;

-- bad: several at once
DROP INDEX public.options_chains_ticker_id_idx, public.daily_snapshots_ticker_id_idx;

-- good: waits without blocking
-- migrate: no-transaction
DROP INDEX CONCURRENTLY public.options_chains_ticker_id_idx;

-- good: the index goes with its constraint
ALTER TABLE public.tickers DROP CONSTRAINT tickers_symbol_key;

-- good: a comment about it
COMMENT ON INDEX public.tickers_symbol_key IS 'Never DROP INDEX this one';
