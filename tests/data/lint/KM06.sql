-- bad: a transaction of its own
BEGIN;
ALTER TABLE public.tickers ADD COLUMN isin text;
COMMIT;

-- bad: the same in the standard's words
START TRANSACTION;

-- bad: a rollback
ROLLBACK;

-- bad: END is COMMIT
END;

-- good: the statement alone
ALTER TABLE public.tickers ADD COLUMN isin text;

-- good: a table of that name
CREATE TABLE public.transaction_costs (cost numeric);
COMMENT ON TABLE public.transaction_costs IS 'Costs per trade';

-- good: the end of a CASE
CREATE VIEW public.v AS SELECT CASE WHEN t.is_active THEN 1 ELSE 0 END AS one FROM public.tickers AS t;
