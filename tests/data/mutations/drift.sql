-- comment_of_table
-- drift: table public.tickers
COMMENT ON TABLE public.tickers IS 'something else';

-- comment_of_column
-- drift: table public.daily_snapshots
COMMENT ON COLUMN public.daily_snapshots.bc_score IS NULL;

-- comment_of_type
-- drift: type public.option_type
COMMENT ON TYPE public.option_type IS NULL;

-- storage_option
-- drift: table public.tickers
ALTER TABLE public.tickers SET (fillfactor = 50);

-- replica_identity
-- drift: table public.options_chains
ALTER TABLE public.options_chains REPLICA IDENTITY FULL;

-- grant_to_role
-- drift: table public.ohlcv
GRANT DELETE ON public.ohlcv TO pg_monitor;

-- storage_of_column
-- drift: table public.recommendations
ALTER TABLE public.recommendations ALTER COLUMN justification SET STORAGE EXTERNAL;
