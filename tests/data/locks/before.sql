-- What is in use before the statements of dangerous.sql and harmless.sql run.

CREATE TYPE public.mood AS ENUM ('low', 'high');
CREATE DOMAIN public.positive AS integer CONSTRAINT positive_check CHECK (value > 0);
CREATE DOMAIN public.title AS text;
CREATE TYPE public.pair AS (a integer, b integer);
CREATE SEQUENCE public.numbers;
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';
CREATE FUNCTION public.one() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TABLE public.notes (
    id integer NOT NULL,
    ticker_id uuid,
    body text,
    mood public.mood,
    amount integer DEFAULT 1,
    big bigint,
    price numeric(10, 2),
    code varchar(10),
    level public.positive,
    day date NOT NULL,
    CONSTRAINT notes_pkey PRIMARY KEY (id)
);
CREATE PROCEDURE public.tidy() LANGUAGE sql AS 'DELETE FROM public.notes WHERE amount IS NULL';
ALTER TABLE public.notes ADD CONSTRAINT notes_amount_check CHECK (amount > 0) NOT VALID;
ALTER TABLE public.notes
ADD CONSTRAINT notes_ticker_id_fkey FOREIGN KEY (ticker_id) REFERENCES public.tickers (id) NOT VALID;
ALTER TABLE public.notes ADD CONSTRAINT notes_big_check CHECK (big IS NOT NULL) NOT VALID;
ALTER TABLE public.notes VALIDATE CONSTRAINT notes_big_check;
CREATE INDEX notes_body_idx ON public.notes (body);
CREATE UNIQUE INDEX notes_code_idx ON public.notes (code);
CREATE UNIQUE INDEX notes_day_idx ON public.notes (id, day);
CREATE TRIGGER notes_touch BEFORE UPDATE ON public.notes FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE POLICY notes_readers ON public.notes USING (true);
CREATE RULE notes_keep AS ON DELETE TO public.notes WHERE old.amount > 100 DO INSTEAD NOTHING;
CREATE STATISTICS public.notes_amount_stats ON amount, big FROM public.notes;
CREATE VIEW public.note_bodies AS SELECT n.body FROM public.notes AS n;
CREATE MATERIALIZED VIEW public.note_counts AS SELECT n.mood, count(*) AS total FROM public.notes AS n GROUP BY n.mood;
CREATE UNIQUE INDEX note_counts_idx ON public.note_counts (mood);
CREATE UNLOGGED TABLE public.cache (a integer);
CREATE TABLE public.counted (id integer GENERATED ALWAYS AS IDENTITY, a integer, b integer GENERATED ALWAYS AS (a + 1) STORED);
CREATE TABLE public.pairs OF public.pair;
CREATE TABLE public.base (a integer NOT NULL);
CREATE TABLE public.heir (a integer NOT NULL) INHERITS (public.base);
CREATE TABLE public.orphan (a integer NOT NULL);
CREATE TABLE public.events (day date NOT NULL, a integer) PARTITION BY RANGE (day);
CREATE TABLE public.events_2024 PARTITION OF public.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE public.events_2025 (day date NOT NULL, a integer);
CREATE TABLE public.events_2026 (
    day date NOT NULL,
    a integer,
    CONSTRAINT events_2026_check CHECK (day >= '2026-01-01' AND day < '2027-01-01')
);
ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_volume_check CHECK (volume >= 0) NOT VALID;
ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_high_check CHECK (high IS NOT NULL) NOT VALID;
ALTER TABLE public.ohlcv VALIDATE CONSTRAINT ohlcv_high_check;
CREATE UNIQUE INDEX cache_a_idx ON public.cache (a);
CREATE TABLE public.days (day date NOT NULL, a integer) PARTITION BY RANGE (day);
CREATE TABLE public.days_rest PARTITION OF public.days DEFAULT;
