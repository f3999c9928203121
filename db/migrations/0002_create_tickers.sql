-- Why:   the universe that everything else refers to: about 15,000 US stocks.
-- Needs: the right to create in schema public.
-- Locks: none

CREATE TABLE public.tickers (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    symbol varchar(20) NOT NULL,
    name varchar(255),
    sector varchar(100),
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE public.tickers IS 'Reference: one row per US stock that KapMan knows';
COMMENT ON COLUMN public.tickers.id IS 'Surrogate key, so that a change of symbol leaves the history in place';
COMMENT ON COLUMN public.tickers.symbol IS 'Exchange symbol such as AAPL or BRK.B; ingestion upserts by it';
COMMENT ON COLUMN public.tickers.name IS 'Name of the company';
COMMENT ON COLUMN public.tickers.sector IS 'Industry sector, as the data provider names it';
COMMENT ON COLUMN public.tickers.is_active IS 'Whether the stock still trades; rows of delisted ones stay';
