-- ALTER TABLE of a hypertable reaches every chunk. What reads or rewrites the rows does so for all of them, under a lock
-- that blocks all reads and writes. Additions to the catalog alone take an instant and are not found.

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

-- good: a table that is no hypertable (squawk sees to it)
ALTER TABLE public.tickers ALTER COLUMN symbol TYPE text;

-- good: a default for new rows
ALTER TABLE public.ohlcv ALTER COLUMN volume SET DEFAULT 0;
