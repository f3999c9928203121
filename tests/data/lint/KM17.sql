-- bad: copies the table
VACUUM (FULL) public.tickers;

-- bad: copies the table in another order
CLUSTER public.tickers USING tickers_symbol_key;

-- bad: rows that writers wait for
SELECT t.id FROM public.tickers AS t FOR UPDATE;

-- good: keeps no other session waiting
-- migrate: no-transaction
VACUUM (ANALYZE) public.tickers;

-- good: only marks the index
ALTER TABLE public.tickers CLUSTER ON tickers_symbol_key;

-- bad: an advisory lock
SELECT pg_advisory_xact_lock(1);

-- bad: rows are locked by a query in parentheses
(SELECT t.id FROM public.tickers AS t FOR UPDATE);

-- bad: by a query of a whole table
TABLE public.tickers FOR SHARE;
