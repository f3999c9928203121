-- REINDEX blocks writes to the table, and reads that would use the index.

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
