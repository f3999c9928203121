-- bad: fills a column
UPDATE public.tickers SET sector = 'Unknown';

-- bad: writes rows
INSERT INTO public.tickers (symbol) VALUES ('AAPL');

-- bad: deletes in a WITH clause
WITH gone AS (DELETE FROM public.tickers RETURNING id) SELECT gone.id FROM gone;

-- bad: makes a table of a query
CREATE TABLE public.notes AS SELECT id FROM public.tickers;
COMMENT ON TABLE public.notes IS 'Copies';

-- good: a default fills the column for old rows and new ones, and rewrites nothing
ALTER TABLE public.tickers ADD COLUMN venue text NOT NULL DEFAULT 'unknown';

-- good: the right to update is no update
GRANT UPDATE ON public.tickers TO ingestion;

-- good: what a foreign key does on DELETE
ALTER TABLE public.recommendations
ADD CONSTRAINT recommendations_parent_fkey
FOREIGN KEY (id) REFERENCES public.recommendations (id) ON DELETE CASCADE NOT VALID;

-- good: a name that contains the word
COMMENT ON COLUMN public.tickers.created_at IS 'Set by INSERT, kept by UPDATE';

-- bad: large objects are rows
SELECT pg_catalog.lo_create(0);

-- bad: stays when the transaction is rolled back
SELECT setval('public.numbers', 5);

-- good: a sequence that is restarted with the transaction
ALTER SEQUENCE public.numbers RESTART WITH 5;

-- bad: deletes in a query in parentheses
(WITH gone AS (DELETE FROM public.tickers RETURNING id) SELECT gone.id FROM gone);
