-- Why:   keys, references and ranges, added last and each by name, so that checks and error messages can
--        rely on the names. Every foreign key has an index that begins with its columns, so that deleting a
--        ticker never scans a table.
-- Needs: 0001 to 0005. On tables with rows each statement reads the whole table.
-- Locks: ACCESS EXCLUSIVE on public.daily_snapshots, public.ohlcv, public.options_chains,
--        public.recommendation_outcomes, public.recommendations, public.tickers

ALTER TABLE public.tickers
ADD CONSTRAINT tickers_pkey PRIMARY KEY (id),
ADD CONSTRAINT tickers_symbol_key UNIQUE (symbol);

-- Ingestion writes with ON CONFLICT (ticker_id, date); the key also serves the foreign key.
ALTER TABLE public.ohlcv
ADD CONSTRAINT ohlcv_pkey PRIMARY KEY (ticker_id, date);

ALTER TABLE public.ohlcv
ADD CONSTRAINT ohlcv_ticker_id_fkey
FOREIGN KEY (ticker_id) REFERENCES public.tickers (id) ON DELETE CASCADE;

ALTER TABLE public.options_chains
ADD CONSTRAINT options_chains_pkey
PRIMARY KEY (time, ticker_id, expiration_date, strike_price, option_type),
ADD CONSTRAINT options_chains_ticker_id_fkey
FOREIGN KEY (ticker_id) REFERENCES public.tickers (id) ON DELETE CASCADE;

CREATE INDEX options_chains_ticker_id_idx ON public.options_chains (ticker_id);

ALTER TABLE public.daily_snapshots
ADD CONSTRAINT daily_snapshots_pkey PRIMARY KEY (time, ticker_id),
ADD CONSTRAINT daily_snapshots_ticker_id_fkey
FOREIGN KEY (ticker_id) REFERENCES public.tickers (id) ON DELETE CASCADE,
-- Without ::text, PostgreSQL would write this condition in other words after a dump and restore.
ADD CONSTRAINT daily_snapshots_wyckoff_phase_check
CHECK (wyckoff_phase::text IN ('A', 'B', 'C', 'D', 'E')),
ADD CONSTRAINT daily_snapshots_phase_confidence_check
CHECK (phase_confidence BETWEEN 0 AND 1),
ADD CONSTRAINT daily_snapshots_bc_score_check
CHECK (bc_score BETWEEN 0 AND 28),
ADD CONSTRAINT daily_snapshots_spring_score_check
CHECK (spring_score BETWEEN 0 AND 12);

CREATE INDEX daily_snapshots_ticker_id_idx ON public.daily_snapshots (ticker_id);

ALTER TABLE public.recommendations
ADD CONSTRAINT recommendations_pkey PRIMARY KEY (id),
ADD CONSTRAINT recommendations_ticker_id_fkey
FOREIGN KEY (ticker_id) REFERENCES public.tickers (id) ON DELETE CASCADE,
ADD CONSTRAINT recommendations_snapshot_time_ticker_id_fkey
FOREIGN KEY (snapshot_time, ticker_id) REFERENCES public.daily_snapshots (time, ticker_id),
ADD CONSTRAINT recommendations_confidence_check
CHECK (confidence BETWEEN 0 AND 1);

-- One index for both foreign keys: it begins with the columns of either.
CREATE INDEX recommendations_ticker_id_snapshot_time_idx
ON public.recommendations (ticker_id, snapshot_time);

ALTER TABLE public.recommendation_outcomes
ADD CONSTRAINT recommendation_outcomes_pkey PRIMARY KEY (id),
ADD CONSTRAINT recommendation_outcomes_recommendation_id_fkey
FOREIGN KEY (recommendation_id) REFERENCES public.recommendations (id) ON DELETE CASCADE,
ADD CONSTRAINT recommendation_outcomes_predicted_confidence_check
CHECK (predicted_confidence BETWEEN 0 AND 1);

CREATE INDEX recommendation_outcomes_recommendation_id_idx
ON public.recommendation_outcomes (recommendation_id);
