-- drop_primary_key
-- verify: constraint public.options_chains.options_chains_pkey
ALTER TABLE public.options_chains DROP CONSTRAINT options_chains_pkey;

-- drop_primary_key_of_hypertable
-- verify: constraint public.ohlcv.ohlcv_pkey
ALTER TABLE public.ohlcv DROP CONSTRAINT ohlcv_pkey;

-- order_of_primary_key
-- verify: constraint public.ohlcv.ohlcv_pkey => PRIMARY KEY (date, ticker_id)
ALTER TABLE public.ohlcv DROP CONSTRAINT ohlcv_pkey;
ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_pkey PRIMARY KEY (date, ticker_id);

-- order_of_primary_key_leaves_foreign_key_without_index
-- verify: foreign key public.ohlcv.ohlcv_ticker_id_fkey: index
ALTER TABLE public.ohlcv DROP CONSTRAINT ohlcv_pkey;
ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_pkey PRIMARY KEY (date, ticker_id);

-- drop_unique
-- verify: constraint public.tickers.tickers_symbol_key
ALTER TABLE public.tickers DROP CONSTRAINT tickers_symbol_key;

-- nulls_not_distinct
-- verify: constraint public.tickers.tickers_symbol_key => NULLS NOT DISTINCT
ALTER TABLE public.tickers DROP CONSTRAINT tickers_symbol_key;
ALTER TABLE public.tickers ADD CONSTRAINT tickers_symbol_key UNIQUE NULLS NOT DISTINCT (symbol);

-- deferrable_unique
-- verify: constraint public.tickers.tickers_symbol_key => DEFERRABLE
ALTER TABLE public.tickers DROP CONSTRAINT tickers_symbol_key;
ALTER TABLE public.tickers ADD CONSTRAINT tickers_symbol_key UNIQUE (symbol) DEFERRABLE;

-- drop_foreign_key
-- verify: constraint public.options_chains.options_chains_ticker_id_fkey
ALTER TABLE public.options_chains DROP CONSTRAINT options_chains_ticker_id_fkey;

-- drop_foreign_key_of_hypertable
-- verify: constraint public.ohlcv.ohlcv_ticker_id_fkey
ALTER TABLE public.ohlcv DROP CONSTRAINT ohlcv_ticker_id_fkey;

-- foreign_key_without_cascade
-- verify: constraint public.daily_snapshots.daily_snapshots_ticker_id_fkey => REFERENCES tickers(id)
ALTER TABLE public.daily_snapshots DROP CONSTRAINT daily_snapshots_ticker_id_fkey;
ALTER TABLE public.daily_snapshots ADD CONSTRAINT daily_snapshots_ticker_id_fkey
FOREIGN KEY (ticker_id) REFERENCES public.tickers (id);

-- foreign_key_with_cascade
-- verify: constraint public.recommendations.recommendations_snapshot_time_ticker_id_fkey => ON DELETE CASCADE
ALTER TABLE public.recommendations DROP CONSTRAINT recommendations_snapshot_time_ticker_id_fkey;
ALTER TABLE public.recommendations ADD CONSTRAINT recommendations_snapshot_time_ticker_id_fkey
FOREIGN KEY (snapshot_time, ticker_id) REFERENCES public.daily_snapshots (time, ticker_id) ON DELETE CASCADE;

-- foreign_key_elsewhere
-- verify: constraint public.recommendation_outcomes.recommendation_outcomes_recommendation_id_fkey => tickers
ALTER TABLE public.recommendation_outcomes DROP CONSTRAINT recommendation_outcomes_recommendation_id_fkey;
ALTER TABLE public.recommendation_outcomes ADD CONSTRAINT recommendation_outcomes_recommendation_id_fkey
FOREIGN KEY (recommendation_id) REFERENCES public.tickers (id) ON DELETE CASCADE;

-- deferrable_foreign_key
-- verify: constraint public.options_chains.options_chains_ticker_id_fkey => DEFERRABLE
ALTER TABLE public.options_chains ALTER CONSTRAINT options_chains_ticker_id_fkey DEFERRABLE;

-- foreign_key_not_valid
-- verify: constraint public.options_chains.options_chains_ticker_id_fkey => NOT VALID
ALTER TABLE public.options_chains DROP CONSTRAINT options_chains_ticker_id_fkey;
ALTER TABLE public.options_chains ADD CONSTRAINT options_chains_ticker_id_fkey
FOREIGN KEY (ticker_id) REFERENCES public.tickers (id) ON DELETE CASCADE NOT VALID;

-- foreign_key_not_enforced
-- verify: constraint public.options_chains.options_chains_ticker_id_fkey => its triggers disabled
ALTER TABLE public.options_chains DISABLE TRIGGER ALL;

-- foreign_key_enforced_on_replicas_only
-- verify: constraint public.options_chains.options_chains_ticker_id_fkey => its triggers disabled
UPDATE pg_catalog.pg_trigger SET tgenabled = 'R'
WHERE tgrelid = 'public.options_chains'::regclass AND tgisinternal;

-- foreign_key_not_enforced_on_the_other_side
-- verify: constraint public.recommendation_outcomes.recommendation_outcomes_recommendation_id_fkey => its triggers disabled
ALTER TABLE public.recommendations DISABLE TRIGGER ALL;

-- drop_check
-- verify: constraint public.daily_snapshots.daily_snapshots_bc_score_check
ALTER TABLE public.daily_snapshots DROP CONSTRAINT daily_snapshots_bc_score_check;

-- weaken_check
-- verify: constraint public.daily_snapshots.daily_snapshots_spring_score_check => 100
ALTER TABLE public.daily_snapshots DROP CONSTRAINT daily_snapshots_spring_score_check;
ALTER TABLE public.daily_snapshots ADD CONSTRAINT daily_snapshots_spring_score_check
CHECK (spring_score BETWEEN 0 AND 100);

-- widen_check
-- verify: constraint public.daily_snapshots.daily_snapshots_wyckoff_phase_check => 'F'
ALTER TABLE public.daily_snapshots DROP CONSTRAINT daily_snapshots_wyckoff_phase_check;
ALTER TABLE public.daily_snapshots ADD CONSTRAINT daily_snapshots_wyckoff_phase_check
CHECK (wyckoff_phase IN ('A', 'B', 'C', 'D', 'E', 'F'));

-- check_not_valid
-- verify: constraint public.recommendations.recommendations_confidence_check => NOT VALID
ALTER TABLE public.recommendations DROP CONSTRAINT recommendations_confidence_check;
ALTER TABLE public.recommendations ADD CONSTRAINT recommendations_confidence_check
CHECK (confidence BETWEEN 0 AND 1) NOT VALID;

-- rename_constraint
-- verify: constraint public.recommendations.recommendations_confidence_check
ALTER TABLE public.recommendations RENAME CONSTRAINT recommendations_confidence_check TO sure;

-- rename_constraint_is_extra
-- drift: table public.recommendations => +    constraint sure: CHECK (((confidence >= (0)::numeric) AND (confidence <= (1)::numeric
ALTER TABLE public.recommendations RENAME CONSTRAINT recommendations_confidence_check TO sure;

-- add_check
-- drift: table public.ohlcv => +    constraint low_is_low: CHECK ((low <= high))
ALTER TABLE public.ohlcv ADD CONSTRAINT low_is_low CHECK (low <= high);

-- add_unique
-- drift: table public.tickers => +    constraint tickers_name_key: UNIQUE (name)
ALTER TABLE public.tickers ADD CONSTRAINT tickers_name_key UNIQUE (name);

-- add_foreign_key
-- drift: table public.recommendation_outcomes => +    constraint again: FOREIGN KEY (recommendation_id) REFERENCES public.recommendations(i
ALTER TABLE public.recommendation_outcomes ADD CONSTRAINT again
FOREIGN KEY (recommendation_id) REFERENCES public.recommendations (id);

-- add_exclusion
-- drift: table public.tickers => +    constraint no_two: EXCLUDE USING btree (name WITH =)
ALTER TABLE public.tickers ADD CONSTRAINT no_two EXCLUDE USING btree (name WITH =);
