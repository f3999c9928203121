-- bad: what the trigger kept right is not
ALTER TABLE public.tickers DISABLE TRIGGER ALL;

-- bad: its rows appear in another table
ALTER TABLE public.tickers INHERIT public.recommendations;

-- bad: a policy
DROP POLICY readers ON public.tickers;

-- good: a table that the file creates
CREATE TABLE public.splits (ratio numeric);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits ENABLE ROW LEVEL SECURITY;

-- good: the right to read
GRANT SELECT ON public.tickers TO reader;

-- bad: no trigger and no foreign key is checked for the rest of the session
SET session_replication_role = replica;

-- bad: for the rest of the transaction
SET LOCAL session_replication_role TO 'replica';
