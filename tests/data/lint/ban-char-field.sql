-- char(n) pads with blanks, which some comparisons ignore and others do not.

-- bad: padded
CREATE TABLE public.splits (currency char(3));
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- bad: in the standard's words
CREATE TABLE public.splits (currency character(3));
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- bad: an added column
ALTER TABLE public.tickers ADD COLUMN currency char(3);

-- good: as long as it is
CREATE TABLE public.splits (currency varchar(3));
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- good: text
ALTER TABLE public.tickers ADD COLUMN currency text;

-- good: a column of that name
ALTER TABLE public.tickers ADD COLUMN char_code text;
