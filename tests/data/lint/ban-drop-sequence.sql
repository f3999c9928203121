-- Clients that were released before and draw numbers from the sequence fail.

-- bad: a client may still use it
DROP SEQUENCE public.order_numbers;

-- bad: IF EXISTS changes nothing about that
DROP SEQUENCE IF EXISTS public.order_numbers;

-- bad: with what depends on it
DROP SEQUENCE public.order_numbers CASCADE;

-- good: with a reason
-- lint: allow ban-drop-sequence because release 1.4 stopped using it
DROP SEQUENCE public.order_numbers;

-- good: a comment about it
COMMENT ON TABLE public.tickers IS 'Never DROP SEQUENCE before a release without it';

-- good: the opposite
CREATE SEQUENCE public.order_numbers;
