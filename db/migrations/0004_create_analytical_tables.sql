-- Why:   what is computed or collected for the watchlist of about 140 tickers: option chains, and the
--        state of each ticker at one time. Both are plain tables in the baseline.
-- Needs: the right to create in schema public.
-- Locks: none

CREATE TYPE public.option_type AS ENUM ('C', 'P');

COMMENT ON TYPE public.option_type IS 'Kind of option: C is a call, P a put';

CREATE TABLE public.options_chains (
    time timestamptz NOT NULL,
    ticker_id uuid NOT NULL,
    expiration_date date NOT NULL,
    strike_price numeric(12, 4) NOT NULL,
    option_type public.option_type NOT NULL,
    bid numeric(12, 4),
    ask numeric(12, 4),
    last numeric(12, 4),
    volume integer,
    open_interest integer,
    implied_volatility numeric(10, 6),
    delta numeric(10, 6),
    gamma numeric(10, 6),
    theta numeric(10, 6),
    vega numeric(10, 6),
    created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE public.options_chains IS 'One row per option contract and snapshot';
COMMENT ON COLUMN public.options_chains.time IS 'When the snapshot of the chain was taken';
COMMENT ON COLUMN public.options_chains.ticker_id IS 'The underlying stock';
COMMENT ON COLUMN public.options_chains.strike_price IS 'In US dollars per share';
COMMENT ON COLUMN public.options_chains.bid IS 'Best price offered by buyers, in US dollars per share';
COMMENT ON COLUMN public.options_chains.ask IS 'Best price asked by sellers, in US dollars per share';
COMMENT ON COLUMN public.options_chains.last IS 'Price of the last trade, in US dollars per share';
COMMENT ON COLUMN public.options_chains.volume IS 'Contracts traded on the day of the snapshot';
COMMENT ON COLUMN public.options_chains.open_interest IS 'Contracts outstanding';
COMMENT ON COLUMN public.options_chains.implied_volatility IS 'Per year, as a fraction: 0.25 is 25 percent';
COMMENT ON COLUMN public.options_chains.delta IS 'Change of the price per dollar of the stock';
COMMENT ON COLUMN public.options_chains.gamma IS 'Change of delta per dollar of the stock';
COMMENT ON COLUMN public.options_chains.theta IS 'Change of the price per day that passes';
COMMENT ON COLUMN public.options_chains.vega IS 'Change of the price per percentage point of volatility';

CREATE TABLE public.daily_snapshots (
    time timestamptz NOT NULL,
    ticker_id uuid NOT NULL,
    wyckoff_phase varchar(1),
    phase_score numeric(6, 3),
    phase_confidence numeric(4, 3),
    events_detected text[],
    primary_event varchar(20),
    events_json jsonb,
    bc_score integer,
    spring_score integer,
    composite_score numeric(6, 2),
    technical_indicators_json jsonb,
    dealer_metrics_json jsonb,
    volatility_metrics_json jsonb,
    price_metrics_json jsonb,
    model_version varchar(50),
    created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE public.daily_snapshots IS 'The analytical state of one ticker at one time';
COMMENT ON COLUMN public.daily_snapshots.time IS 'The time whose state this is, not when it was computed';
COMMENT ON COLUMN public.daily_snapshots.wyckoff_phase IS 'Wyckoff phase, A to E; null if none was recognised';
COMMENT ON COLUMN public.daily_snapshots.phase_score IS 'Score of the phase classification';
COMMENT ON COLUMN public.daily_snapshots.phase_confidence IS 'Confidence in the phase, 0 to 1';
COMMENT ON COLUMN public.daily_snapshots.events_detected IS 'Names of the Wyckoff events seen, such as SC or SPRING';
COMMENT ON COLUMN public.daily_snapshots.primary_event IS 'The event that decided the phase';
COMMENT ON COLUMN public.daily_snapshots.events_json IS 'The events with their evidence';
COMMENT ON COLUMN public.daily_snapshots.bc_score IS 'Score of a buying climax, 0 to 28';
COMMENT ON COLUMN public.daily_snapshots.spring_score IS 'Score of a spring, 0 to 12';
COMMENT ON COLUMN public.daily_snapshots.composite_score IS 'The scores of this row taken together';
COMMENT ON COLUMN public.daily_snapshots.technical_indicators_json IS 'Technical indicators by name';
COMMENT ON COLUMN public.daily_snapshots.dealer_metrics_json IS 'Metrics of the dealers'' positions by name';
COMMENT ON COLUMN public.daily_snapshots.volatility_metrics_json IS 'Metrics of volatility by name';
COMMENT ON COLUMN public.daily_snapshots.price_metrics_json IS 'Metrics of the price by name';
COMMENT ON COLUMN public.daily_snapshots.model_version IS 'Version of the model that made the row';
