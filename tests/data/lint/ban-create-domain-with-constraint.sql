-- A domain's constraint cannot be changed without a scan of every table that uses it, under a lock that blocks writes.

-- bad: the condition is in the domain
CREATE DOMAIN public.price AS numeric CHECK (value >= 0);

-- bad: with a name
CREATE DOMAIN public.price AS numeric CONSTRAINT price_check CHECK (value >= 0);

-- bad: NOT NULL
CREATE DOMAIN public.price AS numeric NOT NULL;

-- good: the condition is at the table, where it can be added NOT VALID
ALTER TABLE public.recommendations
ADD CONSTRAINT recommendations_stop_loss_check CHECK (stop_loss >= 0) NOT VALID;

-- good: a domain without a condition
CREATE DOMAIN public.price AS numeric;

-- good: an enumerated type
CREATE TYPE public.side AS ENUM ('buy', 'sell');
