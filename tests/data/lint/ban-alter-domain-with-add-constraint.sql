-- The new condition is checked in every table that uses the domain, under a lock that blocks writes.

-- bad: reads every table that uses it
ALTER DOMAIN public.price ADD CONSTRAINT price_check CHECK (value >= 0);

-- bad: another one
ALTER DOMAIN public.symbol ADD CONSTRAINT symbol_check CHECK (value <> '');

-- bad: without a name
ALTER DOMAIN public.price ADD CHECK (value >= 0);

-- good: the condition is at the table, where it can be added NOT VALID
ALTER TABLE public.recommendations
ADD CONSTRAINT recommendations_stop_loss_check CHECK (stop_loss >= 0) NOT VALID;

-- good: less is checked
ALTER DOMAIN public.price DROP CONSTRAINT price_check;

-- good: a default
ALTER DOMAIN public.price SET DEFAULT 0;
