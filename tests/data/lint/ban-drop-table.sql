-- Clients that were released before fail, and the rows are gone. A waiver says why they are not needed.

-- bad: a client may still read it
DROP TABLE public.recommendation_outcomes;

-- bad: IF EXISTS changes nothing about that
DROP TABLE IF EXISTS public.recommendation_outcomes;

-- bad: a hypertable
DROP TABLE public.ohlcv CASCADE;

-- good: with a reason
-- lint: allow ban-drop-table because release 1.4 stopped writing it and an export is kept
DROP TABLE public.recommendation_outcomes;

-- good: a table that this file creates
CREATE TABLE public.scratch (ratio numeric);
COMMENT ON TABLE public.scratch IS 'For this file only';
DROP TABLE public.scratch;

-- good: a comment about it
COMMENT ON TABLE public.tickers IS 'Never DROP TABLE this one';
