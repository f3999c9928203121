-- bad: no comment
CREATE TABLE public.splits (ticker_id uuid NOT NULL, date date NOT NULL, ratio numeric NOT NULL);

-- bad: only a column has one
CREATE TABLE public.splits (ticker_id uuid NOT NULL);
COMMENT ON COLUMN public.splits.ticker_id IS 'The stock';

-- bad: the comment is empty
CREATE TABLE public.splits (ticker_id uuid NOT NULL);
COMMENT ON TABLE public.splits IS '';

-- bad: the comment is about another table
CREATE TABLE public.splits (ticker_id uuid NOT NULL);
COMMENT ON TABLE public.tickers IS 'Stocks';

-- good: what one row is
CREATE TABLE public.splits (ticker_id uuid NOT NULL, date date NOT NULL, ratio numeric NOT NULL);
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- good: with IF NOT EXISTS
CREATE TABLE IF NOT EXISTS public.splits (ticker_id uuid NOT NULL);
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- good: a table that an earlier file created
ALTER TABLE public.tickers ADD COLUMN isin text;

-- good: a temporary table
CREATE TEMPORARY TABLE pg_temp.scratch (a integer);
