-- A new column that is NOT NULL and has no default fails on a table with rows, and afterwards every client that does not
-- know the column fails.

-- bad: what would be in the old rows?
ALTER TABLE public.tickers ADD COLUMN isin text NOT NULL;

-- bad: on a hypertable
ALTER TABLE public.ohlcv ADD COLUMN trades bigint NOT NULL;

-- bad: NULL is no default
ALTER TABLE public.tickers ADD COLUMN isin text NOT NULL CONSTRAINT tickers_isin_check CHECK (isin <> '');

-- good: a constant default, which the catalog keeps for the old rows
ALTER TABLE public.tickers ADD COLUMN isin text NOT NULL DEFAULT 'unknown';

-- good: nullable
ALTER TABLE public.tickers ADD COLUMN isin text;

-- good: a new table
CREATE TABLE public.splits (ratio numeric NOT NULL);
COMMENT ON TABLE public.splits IS 'One row per stock split';
