-- Clients that were released before and name the domain fail.

-- bad: a client may still use it
DROP DOMAIN public.price;

-- bad: IF EXISTS changes nothing about that
DROP DOMAIN IF EXISTS public.price;

-- bad: with what depends on it
DROP DOMAIN public.price CASCADE;

-- good: with a reason
-- lint: allow ban-drop-domain because release 1.4 stopped using it
DROP DOMAIN public.price;

-- good: a comment about it
COMMENT ON TABLE public.tickers IS 'Never DROP DOMAIN before a release without it';

-- good: the opposite
CREATE DOMAIN public.price AS numeric;
