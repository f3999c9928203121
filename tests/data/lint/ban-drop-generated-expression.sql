-- Rows from then on have no value in the column unless the client gives one.

-- bad: who computes it from now on?
ALTER TABLE public.tickers ALTER COLUMN short_name DROP EXPRESSION;

-- bad: COLUMN can be left out
ALTER TABLE public.tickers ALTER short_name DROP EXPRESSION;

-- bad: IF EXISTS changes nothing about that
ALTER TABLE public.tickers ALTER COLUMN short_name DROP EXPRESSION IF EXISTS;

-- good: with a reason
-- lint: allow ban-drop-generated-expression because every client since release 1.4 writes it
ALTER TABLE public.tickers ALTER COLUMN short_name DROP EXPRESSION;

-- good: a table that this file creates
CREATE TABLE public.splits (a integer, b integer GENERATED ALWAYS AS (a + 1) STORED);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits ALTER COLUMN b DROP EXPRESSION;

-- good: a default
ALTER TABLE public.tickers ALTER COLUMN name SET DEFAULT 'unknown';
