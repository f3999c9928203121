-- A serial column's sequence has rights and a life of its own; an identity column's belongs to the column.

-- bad: serial
CREATE TABLE public.splits (id bigserial);
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- bad: shorter
CREATE TABLE public.splits (id serial);
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- bad: an added column
ALTER TABLE public.tickers ADD COLUMN number bigserial;

-- good: identity
CREATE TABLE public.splits (id bigint GENERATED ALWAYS AS IDENTITY);
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- good: a UUID
CREATE TABLE public.splits (id uuid DEFAULT gen_random_uuid());
COMMENT ON TABLE public.splits IS 'One row per stock split';

-- good: a column of that name
ALTER TABLE public.tickers ADD COLUMN serial_number text;
