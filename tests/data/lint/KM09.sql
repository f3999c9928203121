-- bad: code
DO $$ BEGIN DELETE FROM public.tickers; END $$;

-- bad: with its language
DO LANGUAGE plpgsql $$ BEGIN PERFORM 1; END $$;

-- bad: a statement that needs no code
DO 'BEGIN ALTER TABLE public.tickers ADD COLUMN isin text; END';

-- good: the statement itself
ALTER TABLE public.tickers ADD COLUMN isin text;

-- good: the word in another place
CREATE VIEW public.v AS SELECT 'DO' AS word;

-- good: in a comment
COMMENT ON TABLE public.tickers IS 'DO $$ BEGIN END $$';

-- bad: a prepared statement
PREPARE fill AS UPDATE public.tickers SET sector = 'Unknown';

-- bad: runs one
EXECUTE fill;

-- bad: a cursor
DECLARE rows_of CURSOR FOR SELECT t.id FROM public.tickers AS t FOR UPDATE;

-- bad: ANALYZE runs what is explained
EXPLAIN ANALYZE CREATE TABLE public.copied AS SELECT t.id FROM public.tickers AS t;

-- good: the right to execute
GRANT EXECUTE ON FUNCTION public.touch() TO reader;
