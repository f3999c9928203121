-- Clients that were released before give the column a value, or rely on its having one.

-- bad: clients that give a value fail
ALTER TABLE public.tickers ALTER COLUMN number SET GENERATED ALWAYS;

-- bad: the same with its sequence
ALTER TABLE public.tickers ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY;

-- bad: clients that give none fail
ALTER TABLE public.tickers ALTER COLUMN number DROP IDENTITY;

-- good: a new table
CREATE TABLE public.splits (id bigint GENERATED ALWAYS AS IDENTITY);
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- good: a table that this file creates
CREATE TABLE public.splits (id bigint NOT NULL);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

-- good: with a reason
-- lint: allow ban-alter-identity because every client since release 1.4 gives the number
ALTER TABLE public.tickers ALTER COLUMN number DROP IDENTITY;
