-- Clients that were released before fail from the moment that a column has another name.

-- bad: clients still name it
ALTER TABLE public.tickers RENAME COLUMN sector TO industry;

-- bad: COLUMN can be left out
ALTER TABLE public.tickers RENAME sector TO industry;

-- bad: on a hypertable
ALTER TABLE public.ohlcv RENAME COLUMN volume TO shares;

-- good: a second column, until no client uses the first
ALTER TABLE public.tickers ADD COLUMN industry varchar(100);

-- good: a comment about it
COMMENT ON TABLE public.tickers IS 'ALTER TABLE public.tickers RENAME TO stocks, some day';

-- good: a table that this file creates
CREATE TABLE public.splits (ratio numeric);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits RENAME COLUMN ratio TO factor;
