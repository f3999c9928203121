-- Clients that were released before and name the type, in a cast or a parameter, fail.

-- bad: a client may still use it
DROP TYPE public.outcome_status;

-- bad: IF EXISTS changes nothing about that
DROP TYPE IF EXISTS public.outcome_status;

-- bad: with what depends on it
DROP TYPE public.outcome_status CASCADE;

-- good: with a reason
-- lint: allow ban-drop-type because release 1.4 stopped using it
DROP TYPE public.outcome_status;

-- good: a comment about it
COMMENT ON TABLE public.tickers IS 'Never DROP TYPE before a release without it';

-- good: the opposite
CREATE TYPE public.side AS ENUM ('buy', 'sell');
