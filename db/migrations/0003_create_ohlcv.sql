-- Why:   the daily price bars: about 15,000 tickers times 730 trading days, so about 11 million rows.
--        Chunks of 30 days halve the cost of reading one ticker's history against the server's default
--        of 7 days, and cost ingestion nothing; the interval is written out, since a server can change
--        its default.
-- Needs: 0001 (create_hypertable). The table must be empty, which it is.
-- Locks: none

CREATE TABLE public.ohlcv (
    ticker_id uuid NOT NULL,
    date date NOT NULL,
    open numeric,
    high numeric,
    low numeric,
    close numeric,
    volume bigint,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- This also makes the index ohlcv_date_idx (date DESC).
SELECT public.create_hypertable('public.ohlcv', 'date', chunk_time_interval => interval '30 days');

COMMENT ON TABLE public.ohlcv IS 'Base market data: one daily price bar per ticker; a hypertable on date';
COMMENT ON COLUMN public.ohlcv.date IS 'Trading day, in the calendar of the US exchanges';
COMMENT ON COLUMN public.ohlcv.open IS 'First price of the day, in US dollars';
COMMENT ON COLUMN public.ohlcv.high IS 'Highest price of the day, in US dollars';
COMMENT ON COLUMN public.ohlcv.low IS 'Lowest price of the day, in US dollars';
COMMENT ON COLUMN public.ohlcv.close IS 'Last price of the day, in US dollars';
COMMENT ON COLUMN public.ohlcv.volume IS 'Shares traded that day';
COMMENT ON COLUMN public.ohlcv.created_at IS 'When the row was first written; an upsert leaves it';
