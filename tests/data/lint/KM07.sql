-- bad: no schema
ALTER TABLE tickers ADD COLUMN isin text;

-- bad: a type
CREATE TYPE side AS ENUM ('buy', 'sell');

-- bad: the table that a foreign key refers to
ALTER TABLE public.a ADD CONSTRAINT a_fkey FOREIGN KEY (b) REFERENCES tickers (id);

-- bad: the table that a partition belongs to
CREATE TABLE public.part PARTITION OF whole DEFAULT;
COMMENT ON TABLE public.part IS 'x';

-- bad: a partition
ALTER TABLE public.whole DETACH PARTITION part CONCURRENTLY;

-- bad: a table that is copied
CREATE TABLE public.a (LIKE tickers);
COMMENT ON TABLE public.a IS 'x';

-- bad: the table that a comment is about
COMMENT ON TABLE tickers IS 'Stocks';

-- good: with a schema
ALTER TABLE public.tickers ADD COLUMN isin text;

-- good: a new name takes no schema in RENAME
ALTER TABLE public.t RENAME TO u;

-- good: the name that WITH gives
CREATE VIEW public.v AS WITH a AS (SELECT 1 AS b) SELECT a.b FROM a;

-- good: an index takes its table's schema
CREATE INDEX notes_idx ON public.notes (a);
