-- Clients that were released before and call the function fail.

-- bad: a client may still use it
DROP FUNCTION public.next_day(date);

-- bad: IF EXISTS changes nothing about that
DROP FUNCTION IF EXISTS public.next_day(date);

-- bad: with what depends on it
DROP FUNCTION public.next_day(date) CASCADE;

-- good: with a reason
-- lint: allow ban-drop-function because release 1.4 stopped using it
DROP FUNCTION public.next_day(date);

-- good: a comment about it
COMMENT ON TABLE public.tickers IS 'Never DROP FUNCTION before a release without it';

-- good: the opposite
CREATE FUNCTION public.next_day(day date) RETURNS date LANGUAGE sql AS 'SELECT day + 1';
