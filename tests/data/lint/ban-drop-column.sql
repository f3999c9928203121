-- Clients that were released before fail, and what was in the column is gone. A waiver says why it is not needed.

-- bad: a client may still read it
ALTER TABLE public.tickers DROP COLUMN sector;

-- bad: IF EXISTS changes nothing about that
ALTER TABLE public.tickers DROP COLUMN IF EXISTS sector;

-- bad: on a hypertable
ALTER TABLE public.ohlcv DROP COLUMN volume;

-- good: with a reason
-- lint: allow ban-drop-column because release 1.4 stopped reading it
ALTER TABLE public.tickers DROP COLUMN sector;

-- good: a constraint loses nothing
ALTER TABLE public.tickers DROP CONSTRAINT tickers_symbol_key;

-- good: an added column
ALTER TABLE public.tickers ADD COLUMN drop_date date;
