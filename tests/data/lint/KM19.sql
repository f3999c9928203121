-- bad: a generated column
ALTER TABLE public.tickers
ADD COLUMN is_tech boolean GENERATED ALWAYS AS (sector IN ('Tech', 'Software')) STORED;

-- bad: a table of the file's own
CREATE TABLE public.splits (
    ticker_id uuid NOT NULL,
    kind varchar(8) NOT NULL,
    CONSTRAINT splits_kind_check CHECK (kind NOT IN ('none', 'other'))
);
COMMENT ON TABLE public.splits IS 'Splits';

-- bad: an index
CREATE INDEX tickers_tech_idx ON public.tickers (symbol) WHERE sector IN ('Tech', 'Software');

-- bad: a function that gives the type of its argument
CREATE VIEW public.tech AS
SELECT t.id FROM public.tickers AS t WHERE coalesce(t.sector, '') IN ('Tech', 'Software');

-- bad: an array of varchar
CREATE VIEW public.tech AS
SELECT t.id FROM public.tickers AS t WHERE t.sector = any(ARRAY['Tech', 'Software']::varchar []);

-- bad: a range in front of another condition
CREATE VIEW public.climaxes AS
SELECT s.time FROM public.daily_snapshots AS s WHERE s.bc_score BETWEEN 20 AND 28 AND s.spring_score > 0;

-- good: a range behind another condition
CREATE VIEW public.climaxes AS
SELECT s.time FROM public.daily_snapshots AS s WHERE s.spring_score > 0 AND s.bc_score BETWEEN 20 AND 28;

-- good: a range alone
CREATE VIEW public.climaxes AS
SELECT s.time FROM public.daily_snapshots AS s WHERE s.bc_score BETWEEN 20 AND 28;

-- good: a list on another type
CREATE VIEW public.calls AS
SELECT c.time FROM public.options_chains AS c WHERE c.option_type IN ('C', 'P');

-- good: a text is not a condition
COMMENT ON COLUMN public.tickers.sector IS 'sector IN (''a'', ''b''), or bc_score BETWEEN 1 AND 2 AND 3';

-- good: a function that gives text
CREATE VIEW public.tech AS
SELECT t.id FROM public.tickers AS t WHERE lower(t.sector) IN ('tech', 'software');
