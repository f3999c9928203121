-- A primary key builds its index while reads and writes are blocked. Build the index before, CONCURRENTLY.

-- bad: builds the index
ALTER TABLE public.tickers ADD CONSTRAINT tickers_key PRIMARY KEY (symbol);

-- bad: with a column
ALTER TABLE public.tickers ADD COLUMN number bigserial CONSTRAINT tickers_key PRIMARY KEY;

-- bad: of two columns
ALTER TABLE public.recommendations ADD CONSTRAINT recommendations_key PRIMARY KEY (ticker_id, id);

-- good: uses an index that is there
ALTER TABLE public.tickers ADD CONSTRAINT tickers_key PRIMARY KEY USING INDEX tickers_symbol_idx;

-- good: a new table
CREATE TABLE public.splits (id uuid CONSTRAINT splits_pkey PRIMARY KEY);
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- good: a new table, later in the file
CREATE TABLE public.splits (id uuid NOT NULL);
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits ADD CONSTRAINT splits_pkey PRIMARY KEY (id);
