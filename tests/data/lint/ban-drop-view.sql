-- Clients that were released before and read the view fail.

-- bad: a client may still use it
DROP VIEW public.active_tickers;

-- bad: IF EXISTS changes nothing about that
DROP VIEW IF EXISTS public.active_tickers;

-- bad: with what depends on it
DROP VIEW public.active_tickers CASCADE;

-- good: with a reason
-- lint: allow ban-drop-view because release 1.4 stopped using it
DROP VIEW public.active_tickers;

-- good: a comment about it
COMMENT ON TABLE public.tickers IS 'Never DROP VIEW before a release without it';

-- good: the opposite
CREATE VIEW public.active_tickers AS SELECT t.id FROM public.tickers AS t;
