-- A migration works inside one database. To drop it is for `invoke db.drop`, which asks.

-- bad: drops a database
DROP DATABASE kapman_dev;

-- bad: IF EXISTS changes nothing about that
DROP DATABASE IF EXISTS kapman_dev;

-- bad: with its sessions
DROP DATABASE kapman_dev WITH (FORCE);

-- good: a table's comment about it
COMMENT ON TABLE public.tickers IS 'DROP DATABASE is for db.drop';

-- good: another object of that name
CREATE VIEW public.database AS SELECT 1 AS one;

-- good: a column
ALTER TABLE public.tickers ADD COLUMN dropped_on date;
