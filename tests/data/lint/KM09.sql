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
