-- A timestamp without time zone does not say when something was: its meaning depends on who reads it.

-- bad: which midnight?
CREATE TABLE public.splits (announced_at timestamp);
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- bad: in the standard's words
CREATE TABLE public.splits (announced_at timestamp without time zone);
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- bad: an added column
ALTER TABLE public.tickers ADD COLUMN listed_at timestamp;

-- good: a moment
CREATE TABLE public.splits (announced_at timestamptz);
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- good: in the standard's words
CREATE TABLE public.splits (announced_at timestamp with time zone);
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- good: a day
ALTER TABLE public.tickers ADD COLUMN listed_on date;
