-- A new value of an enumerated type goes to the end unless its place is written, and the place decides how it sorts.

-- bad: at the end, by accident or on purpose?
ALTER TYPE public.option_strategy ADD VALUE 'IRON_CONDOR';

-- bad: IF NOT EXISTS changes nothing about that
ALTER TYPE public.option_strategy ADD VALUE IF NOT EXISTS 'IRON_CONDOR';

-- bad: another type
ALTER TYPE public.outcome_status ADD VALUE 'VOID';

-- good: at the end, on purpose
ALTER TYPE public.option_strategy ADD VALUE 'IRON_CONDOR' AFTER 'VERTICAL_SPREAD';

-- good: before another
ALTER TYPE public.outcome_status ADD VALUE 'VOID' BEFORE 'NEUTRAL';

-- good: a new type
CREATE TYPE public.side AS ENUM ('buy', 'sell');
