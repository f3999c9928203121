-- A new constraint is checked for all rows while writes are blocked. NOT VALID checks only what is written from now on;
-- VALIDATE CONSTRAINT in a later file, and so in a later transaction, reads the old rows while others write.

-- bad: reads the whole table
ALTER TABLE public.tickers ADD CONSTRAINT tickers_symbol_check CHECK (symbol <> '');

-- bad: a foreign key
ALTER TABLE public.recommendations
ADD CONSTRAINT recommendations_id_fkey FOREIGN KEY (id) REFERENCES public.tickers (id);

-- bad: both in one transaction, which holds the strong lock during the scan
ALTER TABLE public.tickers ADD CONSTRAINT tickers_symbol_check CHECK (symbol <> '') NOT VALID;
ALTER TABLE public.tickers VALIDATE CONSTRAINT tickers_symbol_check;

-- good: only rows from now on
ALTER TABLE public.tickers ADD CONSTRAINT tickers_symbol_check CHECK (symbol <> '') NOT VALID;

-- good: the old rows, in a later file
ALTER TABLE public.tickers VALIDATE CONSTRAINT tickers_symbol_check;

-- good: a table that this file creates has no rows
CREATE TABLE public.splits (ratio numeric);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits ADD CONSTRAINT splits_ratio_check CHECK (ratio > 0);

-- good: a column that was added in the same statement
ALTER TABLE public.tickers ADD COLUMN isin text;
