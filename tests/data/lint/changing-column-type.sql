-- Another type rewrites the table while reads and writes are blocked, and clients may not understand it.

-- bad: a rewrite
ALTER TABLE public.recommendation_outcomes ALTER COLUMN days_held TYPE bigint;

-- bad: in the standard's words
ALTER TABLE public.tickers ALTER COLUMN symbol SET DATA TYPE text;

-- bad: with a conversion
ALTER TABLE public.recommendations ALTER COLUMN status TYPE text USING status::text;

-- good: a second column of the new type, which a job outside fills
ALTER TABLE public.recommendation_outcomes ADD COLUMN days_held_long bigint;

-- good: a table that this file creates
CREATE TABLE public.splits (ratio integer);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits ALTER COLUMN ratio TYPE numeric;

-- good: a column with that word in its name
ALTER TABLE public.tickers ADD COLUMN type_name text;
