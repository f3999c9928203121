-- Clients that were released before fail from the moment that a table has another name.

-- bad: clients still name it
ALTER TABLE public.tickers RENAME TO stocks;

-- bad: a hypertable
ALTER TABLE public.ohlcv RENAME TO bars;

-- bad: IF EXISTS changes nothing about that
ALTER TABLE IF EXISTS public.recommendations RENAME TO advice;

-- good: a view of the new name
CREATE VIEW public.stocks AS SELECT t.id, t.symbol FROM public.tickers AS t;

-- good: a table that this file creates
CREATE TABLE public.split (ratio numeric);
COMMENT ON TABLE public.split IS 'One row per stock split';
ALTER TABLE public.split RENAME TO splits;

-- good: a comment about it
COMMENT ON TABLE public.tickers IS 'ALTER TABLE public.tickers RENAME TO stocks, some day';
