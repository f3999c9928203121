-- Statements that must not be run on tables in use, each with what a second session saw in pg_locks.

-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ADD COLUMN k uuid DEFAULT gen_random_uuid();
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ADD COLUMN k timestamptz DEFAULT clock_timestamp();
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ADD COLUMN k timestamptz DEFAULT public.now();
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ADD COLUMN k integer DEFAULT nextval('public.numbers');
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ADD COLUMN k double precision NOT NULL DEFAULT (10 * random());
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ADD COLUMN k serial;
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ADD COLUMN k bigint GENERATED ALWAYS AS IDENTITY;
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ADD COLUMN k integer GENERATED ALWAYS AS (amount + 1) STORED;
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ADD COLUMN k public.positive;
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ADD COLUMN k public.positive DEFAULT 1;
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ADD k integer DEFAULT 1 CONSTRAINT notes_k_check CHECK (k > 0);
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ADD COLUMN k uuid DEFAULT NULL, ADD CONSTRAINT notes_k_check CHECK (k IS NULL);
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ADD COLUMN k integer CONSTRAINT notes_k_key UNIQUE;
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ADD CONSTRAINT notes_price_check CHECK (price >= 0);
-- SHARE ROW EXCLUSIVE on notes, reads; SHARE ROW EXCLUSIVE on tickers
ALTER TABLE public.notes ADD CONSTRAINT notes_ticker_fkey FOREIGN KEY (ticker_id) REFERENCES public.tickers (id);
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ADD CONSTRAINT notes_body_key UNIQUE (id, body);
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ADD CONSTRAINT notes_body_key UNIQUE (id, body) DEFERRABLE INITIALLY DEFERRED;
-- ACCESS EXCLUSIVE on orphan, reads
ALTER TABLE public.orphan ADD CONSTRAINT orphan_pkey PRIMARY KEY (a);
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ADD CONSTRAINT notes_id_excl EXCLUDE USING btree (id WITH =);
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ALTER COLUMN big TYPE integer;
-- ACCESS EXCLUSIVE on orphan, rewrites
ALTER TABLE public.orphan ALTER a SET DATA TYPE text;
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ALTER COLUMN code TYPE varchar(9);
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ALTER COLUMN price TYPE numeric(12, 4);
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ALTER COLUMN day TYPE timestamptz USING day::timestamptz;
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ALTER COLUMN amount SET NOT NULL;
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ALTER COLUMN amount DROP DEFAULT, ALTER COLUMN body SET NOT NULL;
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes SET UNLOGGED;
-- ACCESS EXCLUSIVE on cache, rewrites
ALTER TABLE public.cache SET LOGGED;
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE ONLY public.notes ADD CONSTRAINT notes_price_check CHECK (price >= 0) NO INHERIT;
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ADD CONSTRAINT notes_x CHECK (price >= 0) NOT VALID; ALTER TABLE public.notes VALIDATE CONSTRAINT notes_x;
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ADD COLUMN k text; ALTER TABLE public.notes VALIDATE CONSTRAINT notes_amount_check;
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ALTER COLUMN body SET DEFAULT '', VALIDATE CONSTRAINT notes_amount_check;
-- SHARE on notes, reads
CREATE INDEX notes_mood_idx ON public.notes (mood);
-- SHARE on notes, reads
CREATE UNIQUE INDEX ON public.notes (id, body);
-- SHARE on notes, reads
CREATE INDEX IF NOT EXISTS notes_part_idx ON ONLY public.notes USING hash (body) WHERE amount > 0;
-- SHARE on notes, reads
CREATE INDEX notes_expr_idx ON public.notes (lower(body)) INCLUDE (amount);
-- SHARE on events; SHARE on events_2024, reads
CREATE INDEX events_a_idx ON public.events (a);
-- SHARE on note_counts, reads
CREATE INDEX note_counts_total_idx ON public.note_counts (total);
-- SHARE on notes, reads
REINDEX TABLE public.notes;
-- SHARE on notes, reads
REINDEX INDEX public.notes_pkey;
-- SHARE on notes, reads
REINDEX (VERBOSE) TABLE public.notes;
-- SHARE on ohlcv
REINDEX SCHEMA public;
-- ACCESS EXCLUSIVE on notes, rewrites
CLUSTER public.notes USING notes_pkey;
-- ACCESS EXCLUSIVE on notes, rewrites
CLUSTER VERBOSE public.notes USING notes_pkey;
-- ACCESS EXCLUSIVE on notes
VACUUM FULL public.notes;
-- ACCESS EXCLUSIVE on notes
VACUUM (FULL, ANALYZE) public.notes;
-- ACCESS EXCLUSIVE on ohlcv
VACUUM FULL;
-- ACCESS EXCLUSIVE on note_counts, rewrites; ACCESS SHARE on notes, reads
REFRESH MATERIALIZED VIEW public.note_counts;
-- ACCESS EXCLUSIVE on note_counts, rewrites
REFRESH MATERIALIZED VIEW public.note_counts WITH NO DATA;
-- ACCESS EXCLUSIVE on notes
LOCK TABLE public.notes;
-- SHARE on notes
LOCK public.notes IN SHARE MODE;
-- EXCLUSIVE on notes; EXCLUSIVE on tickers
LOCK TABLE public.tickers, public.notes IN EXCLUSIVE MODE NOWAIT;
-- ACCESS EXCLUSIVE on notes, rewrites
TRUNCATE public.notes;
-- ACCESS EXCLUSIVE on notes, rewrites
TRUNCATE TABLE ONLY public.notes RESTART IDENTITY;
-- ROW EXCLUSIVE on notes, reads
DELETE FROM public.notes;
-- ROW EXCLUSIVE on notes, reads
UPDATE public.notes SET amount = 1;
-- ROW EXCLUSIVE on orphan; ACCESS SHARE on notes, reads
INSERT INTO public.orphan SELECT n.id FROM public.notes AS n;
-- ROW SHARE on notes, reads
SELECT n.id FROM public.notes AS n FOR UPDATE;
-- ROW SHARE on notes, reads
SELECT n.id FROM public.notes AS n FOR SHARE SKIP LOCKED;
-- ACCESS SHARE on notes, reads
CREATE TABLE public.copied AS SELECT n.id FROM public.notes AS n; COMMENT ON TABLE public.copied IS 'x';
-- ACCESS EXCLUSIVE on events_2025, reads; SHARE UPDATE EXCLUSIVE on events
ALTER TABLE public.events ATTACH PARTITION public.events_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
-- ACCESS EXCLUSIVE on events; ACCESS EXCLUSIVE on events_2024
ALTER TABLE public.events DETACH PARTITION public.events_2024;
-- ACCESS EXCLUSIVE on orphan; SHARE UPDATE EXCLUSIVE on base
ALTER TABLE public.orphan INHERIT public.base;
-- ACCESS EXCLUSIVE on heir
ALTER TABLE public.heir NO INHERIT public.base;
-- SHARE ROW EXCLUSIVE on notes
ALTER TABLE public.notes DISABLE TRIGGER ALL;
-- SHARE ROW EXCLUSIVE on notes
ALTER TABLE public.notes DISABLE TRIGGER notes_touch;
-- SHARE ROW EXCLUSIVE on notes
ALTER TABLE public.notes ENABLE REPLICA TRIGGER notes_touch;
-- ACCESS EXCLUSIVE on notes
ALTER TABLE public.notes DISABLE RULE notes_keep;
-- ACCESS EXCLUSIVE on notes
ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY;
-- ACCESS EXCLUSIVE on notes
ALTER TABLE public.notes FORCE ROW LEVEL SECURITY;
-- ACCESS EXCLUSIVE on notes
ALTER POLICY notes_readers ON public.notes USING (amount > 0);
-- ACCESS EXCLUSIVE on notes
DROP POLICY notes_readers ON public.notes;
-- ACCESS EXCLUSIVE on notes
DROP TRIGGER notes_touch ON public.notes;
-- ACCESS EXCLUSIVE on notes
DROP RULE notes_keep ON public.notes;
-- SHARE ROW EXCLUSIVE on notes
CREATE TRIGGER notes_again BEFORE INSERT ON public.notes FOR EACH ROW EXECUTE FUNCTION public.touch();
-- ACCESS EXCLUSIVE on notes
CREATE POLICY notes_writers ON public.notes;
-- ACCESS EXCLUSIVE on notes
CREATE RULE notes_no AS ON UPDATE TO public.notes DO INSTEAD NOTHING;
-- ACCESS EXCLUSIVE on note_counts; ACCESS EXCLUSIVE on notes; ACCESS EXCLUSIVE on tickers
DROP TABLE public.notes CASCADE;
-- none
DROP VIEW public.note_bodies;
-- ACCESS EXCLUSIVE on note_counts
DROP MATERIALIZED VIEW public.note_counts;
-- ACCESS EXCLUSIVE on notes
DROP INDEX public.notes_body_idx;
-- none
DROP FUNCTION public.one();
-- none
DROP SEQUENCE public.numbers;
-- ACCESS EXCLUSIVE on notes
ALTER TABLE public.notes DROP COLUMN body CASCADE;
-- ACCESS EXCLUSIVE on notes
ALTER TABLE public.notes RENAME COLUMN body TO text;
-- ACCESS EXCLUSIVE on notes
ALTER TABLE public.notes RENAME TO remarks;
-- ACCESS EXCLUSIVE on notes
ALTER TABLE public.notes SET SCHEMA pg_catalog;
-- SHARE on notes, reads
ALTER DOMAIN public.positive ADD CONSTRAINT positive_max CHECK (value < 1000000);
-- SHARE on notes, reads
ALTER DOMAIN public.positive SET NOT NULL;
-- ACCESS EXCLUSIVE on pairs, rewrites
ALTER TYPE public.pair ALTER ATTRIBUTE a TYPE bigint CASCADE;
-- ROW EXCLUSIVE on notes, reads
CALL public.tidy();
-- ACCESS EXCLUSIVE on ohlcv, rewrites
ALTER TABLE public.ohlcv ADD COLUMN k uuid DEFAULT gen_random_uuid();
-- ACCESS EXCLUSIVE on ohlcv, rewrites
ALTER TABLE public.ohlcv ADD COLUMN k timestamptz DEFAULT public.now();
-- ACCESS EXCLUSIVE on ohlcv, rewrites
ALTER TABLE public.ohlcv ADD COLUMN k public.positive;
-- ACCESS EXCLUSIVE on ohlcv, rewrites
ALTER TABLE public.ohlcv ADD COLUMN k integer GENERATED ALWAYS AS (volume + 1) STORED;
-- ACCESS EXCLUSIVE on ohlcv, reads
ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_low_check CHECK (low >= 0);
-- SHARE ROW EXCLUSIVE on ohlcv, reads; SHARE ROW EXCLUSIVE on tickers, reads
ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_t_fkey FOREIGN KEY (ticker_id) REFERENCES public.tickers (id);
-- ACCESS EXCLUSIVE on ohlcv, reads
ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_key UNIQUE (ticker_id, date, volume);
-- ACCESS EXCLUSIVE on ohlcv, rewrites
ALTER TABLE public.ohlcv ALTER COLUMN volume TYPE numeric;
-- ACCESS EXCLUSIVE on ohlcv, reads
ALTER TABLE public.ohlcv ALTER COLUMN volume SET NOT NULL;
-- ACCESS EXCLUSIVE on ohlcv, reads
ALTER TABLE public.ohlcv ADD COLUMN k text; ALTER TABLE public.ohlcv VALIDATE CONSTRAINT ohlcv_volume_check;
-- SHARE on ohlcv, reads
CREATE INDEX ohlcv_volume_idx ON public.ohlcv (volume);
-- SHARE on ohlcv, reads
CREATE UNIQUE INDEX ohlcv_key ON public.ohlcv (ticker_id, date, volume);
-- SHARE on ohlcv, reads
REINDEX TABLE public.ohlcv;
-- ACCESS EXCLUSIVE on ohlcv
CLUSTER public.ohlcv USING ohlcv_date_idx;
-- ACCESS EXCLUSIVE on ohlcv
VACUUM FULL public.ohlcv;
-- SHARE ROW EXCLUSIVE on ohlcv
LOCK TABLE public.ohlcv IN SHARE ROW EXCLUSIVE MODE;
-- ACCESS EXCLUSIVE on ohlcv, rewrites; ACCESS EXCLUSIVE on tickers
TRUNCATE public.ohlcv;
-- ACCESS EXCLUSIVE on ohlcv; ACCESS EXCLUSIVE on tickers
DROP TABLE public.ohlcv;
-- ACCESS EXCLUSIVE on ohlcv; ACCESS EXCLUSIVE on tickers
SELECT public.drop_chunks('public.ohlcv', older_than => date '2025-03-01');
-- ACCESS EXCLUSIVE on events_2025, rewrites
SELECT public.create_hypertable('public.events_2025', 'day', migrate_data => true, if_not_exists => true);
-- ACCESS EXCLUSIVE on pairs, rewrites
SELECT public.create_hypertable('public.pairs', public.by_range('a', 10), migrate_data => true);
-- refused by the Apache edition
SELECT public.reorder_chunk(c, 'public.ohlcv_date_idx') FROM public.show_chunks('public.ohlcv') AS c;
-- refused by the Apache edition
SELECT public.compress_chunk(c) FROM public.show_chunks('public.ohlcv') AS c;
-- refused by the Apache edition
CALL public.convert_to_columnstore('_timescaledb_internal._hyper_1_1_chunk');
-- ACCESS EXCLUSIVE on notes
VACUUM (VERBOSE, FULL) public.notes;
-- ACCESS EXCLUSIVE on notes
LOCK TABLE ONLY public.notes IN ACCESS EXCLUSIVE MODE;
-- ROW SHARE on notes, reads
WITH a AS (SELECT n.id FROM public.notes AS n FOR UPDATE) SELECT a.id FROM a;
-- SHARE on notes, reads
ALTER DOMAIN public.positive VALIDATE CONSTRAINT positive_check;
-- ACCESS EXCLUSIVE on notes, rewrites
CREATE FUNCTION public.f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'; ALTER TABLE public.notes ADD COLUMN k int DEFAULT f();
-- SHARE ROW EXCLUSIVE on notes, reads
CREATE TABLE public.replies (note_id integer CONSTRAINT r_fkey REFERENCES public.notes (id)); COMMENT ON TABLE public.replies IS 'x'; ALTER TABLE public.notes VALIDATE CONSTRAINT notes_amount_check;
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ADD COLUMN k text; SELECT count(*) FROM public.notes;
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ADD COLUMN k text; CREATE MATERIALIZED VIEW public.mv AS SELECT n.k FROM public.notes AS n;
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE public.notes ADD CONSTRAINT notes_code_key UNIQUE USING INDEX notes_code_idx, ALTER COLUMN code SET NOT NULL;
-- ACCESS EXCLUSIVE on cache, reads
ALTER TABLE public.cache ADD CONSTRAINT cache_pkey PRIMARY KEY USING INDEX cache_a_idx;
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ADD COLUMN k timestamptz DEFAULT timeofday()::timestamptz;
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ADD COLUMN k text DEFAULT md5(random()::text);
-- ACCESS EXCLUSIVE on notes, reads
ALTER TABLE "public"."notes" ALTER COLUMN "amount" SET NOT NULL;
-- SHARE ROW EXCLUSIVE on notes
ALTER TABLE public.notes ENABLE ALWAYS TRIGGER notes_touch;
-- ACCESS EXCLUSIVE on days_rest, reads; ACCESS EXCLUSIVE on events_2026; SHARE UPDATE EXCLUSIVE on days
ALTER TABLE public.days ATTACH PARTITION public.events_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
-- ACCESS EXCLUSIVE on days; ACCESS EXCLUSIVE on days_rest, reads
CREATE TABLE public.days_2027 PARTITION OF public.days FOR VALUES FROM ('2027-01-01') TO ('2028-01-01'); COMMENT ON TABLE public.days_2027 IS 'x';
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ALTER COLUMN level TYPE integer USING level + 0;
-- ACCESS EXCLUSIVE on notes, rewrites
ALTER TABLE public.notes ALTER COLUMN price TYPE numeric(8, 2);
