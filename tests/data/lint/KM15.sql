-- bad: a setting of the server
ALTER SYSTEM SET work_mem = '16MB';

-- bad: other sessions
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity AS a;

-- bad: in a string that a block executes
DO $$ BEGIN EXECUTE 'GRANT CONNECT ON DATABASE kapman_dev TO reader'; END $$;

-- good: a right on a table
GRANT SELECT ON public.tickers TO reader;

-- good: in a comment
COMMENT ON TABLE public.tickers IS 'ALTER SYSTEM; COPY tickers TO PROGRAM';
