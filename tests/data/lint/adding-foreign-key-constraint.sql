-- A new foreign key is checked for all rows while writes to both tables are blocked.

-- bad: reads the whole table
ALTER TABLE public.recommendations
ADD CONSTRAINT recommendations_id_fkey FOREIGN KEY (id) REFERENCES public.tickers (id);

-- bad: in the definition of a column
ALTER TABLE public.recommendations
ADD COLUMN parent_id uuid CONSTRAINT recommendations_parent_id_fkey REFERENCES public.recommendations (id);

-- bad: whatever it does on DELETE
ALTER TABLE public.recommendations
ADD CONSTRAINT recommendations_id_fkey FOREIGN KEY (id) REFERENCES public.tickers (id) ON DELETE CASCADE;

-- good: only rows from now on
ALTER TABLE public.recommendations
ADD CONSTRAINT recommendations_id_fkey FOREIGN KEY (id) REFERENCES public.tickers (id) NOT VALID;

-- good: a table that this file creates has no rows
CREATE TABLE public.splits (ticker_id uuid CONSTRAINT splits_ticker_id_fkey REFERENCES public.tickers (id));
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- good: the rows that were there, in a later file
ALTER TABLE public.recommendations VALIDATE CONSTRAINT recommendations_id_fkey;
