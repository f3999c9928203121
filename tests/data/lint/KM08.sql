-- bad: PostgreSQL makes up the name
ALTER TABLE public.tickers ADD CHECK (symbol <> '');

-- bad: in the definition of a column
CREATE TABLE public.t (id uuid REFERENCES public.tickers (id));
COMMENT ON TABLE public.t IS 'Test';

-- bad: of a domain
CREATE DOMAIN public.share AS numeric CHECK (value BETWEEN 0 AND 1);

-- bad: in a list of columns
CREATE TABLE public.t (a integer, UNIQUE (a));
COMMENT ON TABLE public.t IS 'Test';

-- good: a name
ALTER TABLE public.tickers ADD CONSTRAINT tickers_symbol_check CHECK (symbol <> '') NOT VALID;

-- good: NOT NULL and DEFAULT need none
CREATE TABLE public.t (a integer NOT NULL DEFAULT 0);
COMMENT ON TABLE public.t IS 'Test';

-- good: in the definition of a column
CREATE TABLE public.t (a integer CONSTRAINT t_a_check CHECK (a > 0));
COMMENT ON TABLE public.t IS 'Test';
