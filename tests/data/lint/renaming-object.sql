-- Clients that were released before and name the object fail. ON CONFLICT ON CONSTRAINT names constraints too.

-- bad: a view
ALTER VIEW public.active_tickers RENAME TO listed_tickers;

-- bad: a value of an enumerated type
ALTER TYPE public.outcome_status RENAME VALUE 'WIN' TO 'WON';

-- bad: a constraint
ALTER TABLE public.tickers RENAME CONSTRAINT tickers_symbol_key TO tickers_symbol_unique;

-- good: a second one of the new name, until no client uses the first
CREATE VIEW public.listed_tickers AS SELECT t.id FROM public.tickers AS t;

-- good: with a reason
-- lint: allow renaming-object because no client names this index
ALTER INDEX public.options_chains_ticker_id_idx RENAME TO options_chains_ticker_idx;

-- good: a table that this file creates
CREATE TABLE public.splits (a integer CONSTRAINT splits_a_check CHECK (a > 0));
COMMENT ON TABLE public.splits IS 'One row per stock split';
ALTER TABLE public.splits RENAME CONSTRAINT splits_a_check TO splits_a_positive;
