-- bad: a scan of all chunks
ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_volume_check CHECK (volume >= 0);

-- bad: a rewrite of all chunks
ALTER TABLE public.ohlcv ALTER COLUMN volume TYPE numeric;

-- bad: a scan of all chunks
ALTER TABLE public.ohlcv ALTER COLUMN volume SET NOT NULL;

-- bad: a default that differs from row to row
ALTER TABLE public.ohlcv ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid();

-- bad: a foreign key
ALTER TABLE ohlcv
ADD CONSTRAINT ohlcv_source_fkey FOREIGN KEY (ticker_id) REFERENCES public.tickers (id);

-- bad: a column with a constraint
ALTER TABLE public.ohlcv ADD COLUMN trades integer CONSTRAINT ohlcv_trades_check CHECK (trades >= 0);

-- bad: a computed column
ALTER TABLE IF EXISTS public.ohlcv ADD COLUMN spread numeric GENERATED ALWAYS AS (high - low) STORED;

-- bad: the lock of the first statement lasts to the end of the second
ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_close_check CHECK (close >= 0) NOT VALID;
ALTER TABLE public.ohlcv VALIDATE CONSTRAINT ohlcv_close_check;

-- good: only rows that are written from now on
ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_volume_check CHECK (volume >= 0) NOT VALID;

-- good: the scan of the rows that were there, while others read and write
ALTER TABLE public.ohlcv VALIDATE CONSTRAINT ohlcv_volume_check;

-- good: a constant default is kept in the catalog
ALTER TABLE public.ohlcv ADD COLUMN source text NOT NULL DEFAULT 'unknown';

-- good: one time for all rows
ALTER TABLE public.ohlcv ADD COLUMN loaded_at timestamptz DEFAULT now();

-- bad: a plain table
ALTER TABLE public.tickers ALTER COLUMN symbol TYPE varchar(10);

-- good: a type that holds all values as they are stored
ALTER TABLE public.tickers ALTER COLUMN symbol TYPE text;

-- good: a default for new rows
ALTER TABLE public.ohlcv ALTER COLUMN volume SET DEFAULT 0;

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

-- bad: reads the whole table
ALTER TABLE public.recommendations
ADD CONSTRAINT recommendations_id_fkey FOREIGN KEY (id) REFERENCES public.tickers (id);

-- good: in the definition of a column that is null in all rows
ALTER TABLE public.recommendations
ADD COLUMN parent_id uuid CONSTRAINT recommendations_parent_id_fkey REFERENCES public.recommendations (id);

-- bad: whatever it does on DELETE
ALTER TABLE public.recommendations
ADD CONSTRAINT recommendations_id_fkey FOREIGN KEY (id) REFERENCES public.tickers (id) ON DELETE CASCADE;

-- good: only rows from now on
ALTER TABLE public.recommendations
ADD CONSTRAINT recommendations_id_fkey FOREIGN KEY (id) REFERENCES public.tickers (id) NOT VALID;

-- good: a table that this file creates has no rows
CREATE TABLE public.splits (ticker_id uuid CONSTRAINT splits_ticker_id_fkey REFERENCES public.tickers (id));
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- good: the rows that were there, in a later file
ALTER TABLE public.recommendations VALIDATE CONSTRAINT recommendations_id_fkey;

-- bad: reads the whole table
ALTER TABLE public.tickers ALTER COLUMN sector SET NOT NULL;

-- bad: COLUMN can be left out
ALTER TABLE public.tickers ALTER sector SET NOT NULL;

-- bad: one of several actions
ALTER TABLE public.recommendations
ALTER COLUMN confidence DROP DEFAULT,
ALTER COLUMN confidence SET NOT NULL;

-- good: a condition for rows from now on
ALTER TABLE public.tickers ADD CONSTRAINT tickers_sector_check CHECK (sector IS NOT NULL) NOT VALID;

-- good: a table that this file creates
CREATE TABLE public.splits (ratio numeric);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits ALTER COLUMN ratio SET NOT NULL;

-- good: a default
ALTER TABLE public.tickers ALTER COLUMN sector SET DEFAULT 'unknown';

-- bad: a rewrite
ALTER TABLE public.recommendation_outcomes ALTER COLUMN days_held TYPE bigint;

-- bad: in the standard's words
ALTER TABLE public.tickers ALTER COLUMN symbol SET DATA TYPE bytea USING convert_to(symbol, 'UTF8');

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

-- bad: reads the whole table
ALTER TABLE public.tickers ADD CONSTRAINT tickers_symbol_check CHECK (symbol <> '');

-- bad: a foreign key
ALTER TABLE public.recommendations
ADD CONSTRAINT recommendations_id_fkey FOREIGN KEY (id) REFERENCES public.tickers (id);

-- bad: both in one transaction, which holds the strong lock during the scan
ALTER TABLE public.tickers ADD CONSTRAINT tickers_symbol_check CHECK (symbol <> '') NOT VALID;
ALTER TABLE public.tickers VALIDATE CONSTRAINT tickers_symbol_check;

-- good: only rows from now on
ALTER TABLE public.tickers ADD CONSTRAINT tickers_symbol_check CHECK (symbol <> '') NOT VALID;

-- good: the old rows, in a later file
ALTER TABLE public.tickers VALIDATE CONSTRAINT tickers_symbol_check;

-- good: a table that this file creates has no rows
CREATE TABLE public.splits (ratio numeric);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits ADD CONSTRAINT splits_ratio_check CHECK (ratio > 0);

-- good: a column that was added in the same statement
ALTER TABLE public.tickers ADD COLUMN isin text;
