-- DETACH PARTITION waits for all transactions that use the table, and later ones wait behind it.

-- bad: blocks reads and writes while it waits
ALTER TABLE public.recommendations DETACH PARTITION recommendations_2025;

-- bad: IF EXISTS changes nothing about that
ALTER TABLE IF EXISTS public.recommendations DETACH PARTITION recommendations_2025;

-- bad: another table
ALTER TABLE public.options_chains DETACH PARTITION options_chains_2025;

-- good: waits without blocking
-- migrate: no-transaction
ALTER TABLE public.recommendations DETACH PARTITION recommendations_2025 CONCURRENTLY;

-- good: a hypertable's chunks are not detached but dropped, by an operator
COMMENT ON TABLE public.ohlcv IS 'Old chunks: drop_chunks, not DETACH PARTITION';

-- good: with a reason
-- lint: allow require-concurrent-partition-detach because no client uses the table since release 1.4
ALTER TABLE public.recommendations DETACH PARTITION recommendations_2025;
