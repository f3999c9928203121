-- bad: quotes
CREATE TABLE public."Splits" (ticker_id uuid NOT NULL);
COMMENT ON TABLE public."Splits" IS 'One row per stock split';

-- bad: a word of SQL as a column
ALTER TABLE public.tickers ADD COLUMN "order" integer;

-- bad: capitals, which PostgreSQL folds away
ALTER TABLE public.tickers ADD COLUMN listedAt date;

-- bad: the name of a constraint
ALTER TABLE public.tickers ADD CONSTRAINT "tickers symbol" CHECK (symbol <> '') NOT VALID;

-- bad: a character that is no letter, digit or underscore
ALTER TABLE public.tickers ADD COLUMN price$ numeric;

-- good: snake_case
ALTER TABLE public.tickers ADD COLUMN listed_at date;

-- good: the name of a collation is given
ALTER TABLE public.tickers ADD COLUMN isin text COLLATE "C";

-- good: the name of a role is given
GRANT SELECT ON public.tickers TO "Reporting";

-- good: capitals in a value
CREATE TYPE public.side AS ENUM ('Buy', 'Sell');
