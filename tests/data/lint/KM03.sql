-- bad: a policy that deletes data by itself
SELECT add_retention_policy('public.ohlcv', interval '730 days');

-- bad: a job
SELECT public.add_job('public.f', interval '1 day');

-- bad: a trigger
CREATE TRIGGER tickers_touch AFTER INSERT ON public.tickers EXECUTE FUNCTION public.touch();

-- bad: a policy of row security
CREATE POLICY readers ON public.tickers;

-- good: structure that waits for an operator
SELECT public.set_chunk_time_interval('public.ohlcv', interval '30 days');

-- good: a function with a similar name
SELECT public.policy_names();

-- good: the interval of a hypertable's chunks
SELECT public.create_hypertable('public.t', 'date', chunk_time_interval => interval '30 days');

-- good: comments on what others run
COMMENT ON TABLE public.tickers IS 'add_job is not called here';
