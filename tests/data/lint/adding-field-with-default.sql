-- A default that differs from row to row rewrites the table while reads and writes are blocked. A constant one, or now(),
-- is kept in the catalog.

-- bad: another value in each row
ALTER TABLE public.tickers ADD COLUMN key uuid DEFAULT gen_random_uuid();

-- bad: the time of each row
ALTER TABLE public.tickers ADD COLUMN seen_at timestamptz DEFAULT clock_timestamp();

-- bad: a computed column
ALTER TABLE public.tickers ADD COLUMN short_name text GENERATED ALWAYS AS (lower(symbol)) STORED;

-- good: a constant
ALTER TABLE public.tickers ADD COLUMN venue text DEFAULT 'unknown';

-- good: for rows from now on
ALTER TABLE public.tickers ALTER COLUMN name SET DEFAULT gen_random_uuid()::text;

-- good: the time of the migration
ALTER TABLE public.tickers ADD COLUMN seen_at timestamptz DEFAULT now();
