-- Why:   the trade recommendations, and how each turned out.
-- Needs: 0004 (type option_type).
-- Locks: none

CREATE TYPE public.option_strategy AS ENUM ('LONG_CALL', 'LONG_PUT', 'CSP', 'VERTICAL_SPREAD');

COMMENT ON TYPE public.option_strategy IS 'How an option is used; CSP is a cash-secured put';

CREATE TYPE public.recommendation_action AS ENUM ('BUY', 'SELL', 'HOLD', 'HEDGE');

COMMENT ON TYPE public.recommendation_action IS 'What a recommendation says to do';

CREATE TYPE public.recommendation_direction AS ENUM ('LONG', 'SHORT', 'NEUTRAL');

COMMENT ON TYPE public.recommendation_direction IS 'Which way the price is expected to go';

CREATE TYPE public.recommendation_status AS ENUM ('active', 'closed', 'expired');

COMMENT ON TYPE public.recommendation_status IS 'Where a recommendation is in its life';

CREATE TYPE public.outcome_status AS ENUM ('WIN', 'LOSS', 'NEUTRAL');

COMMENT ON TYPE public.outcome_status IS 'How a recommendation turned out';

CREATE TABLE public.recommendations (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    snapshot_time timestamptz NOT NULL,
    ticker_id uuid NOT NULL,
    recommendation_date date NOT NULL,
    direction public.recommendation_direction NOT NULL,
    action public.recommendation_action NOT NULL,
    confidence numeric(4, 3),
    justification text,
    entry_price_target numeric(12, 4),
    stop_loss numeric(12, 4),
    profit_target numeric(12, 4),
    risk_reward_ratio numeric(6, 2),
    option_strike numeric(12, 4),
    option_expiration date,
    option_type public.option_type,
    option_strategy public.option_strategy,
    status public.recommendation_status NOT NULL DEFAULT 'active',
    model_version varchar(50),
    created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE public.recommendations IS 'Trade recommendations, each made from one daily snapshot';
COMMENT ON COLUMN public.recommendations.snapshot_time IS 'With ticker_id, the daily snapshot it was made from';
COMMENT ON COLUMN public.recommendations.recommendation_date IS 'Trading day for which it was made';
COMMENT ON COLUMN public.recommendations.confidence IS 'Confidence in the direction, 0 to 1';
COMMENT ON COLUMN public.recommendations.justification IS 'The reasons, in words for people';
COMMENT ON COLUMN public.recommendations.entry_price_target IS 'Price of the stock at which to enter, in US dollars';
COMMENT ON COLUMN public.recommendations.stop_loss IS 'Price of the stock at which to give up, in US dollars';
COMMENT ON COLUMN public.recommendations.profit_target IS 'Price of the stock at which to take profit, in US dollars';
COMMENT ON COLUMN public.recommendations.risk_reward_ratio IS 'Reward at the target divided by loss at the stop';
COMMENT ON COLUMN public.recommendations.option_strike IS 'Null, as all option columns, if it is about the stock';
COMMENT ON COLUMN public.recommendations.model_version IS 'Version of the model that made the row';

CREATE TABLE public.recommendation_outcomes (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    recommendation_id uuid NOT NULL,
    evaluation_date date NOT NULL,
    evaluation_window_days integer,
    entry_price_actual numeric(12, 4),
    exit_price_actual numeric(12, 4),
    high_price_during_window numeric(12, 4),
    low_price_during_window numeric(12, 4),
    days_held integer,
    direction_correct boolean,
    predicted_confidence numeric(4, 3),
    directional_brier numeric(6, 4),
    actual_return_pct numeric(8, 4),
    hit_profit_target boolean,
    hit_stop_loss boolean,
    outcome_status public.outcome_status,
    notes text,
    evaluated_at timestamptz
);

COMMENT ON TABLE public.recommendation_outcomes IS 'How recommendations turned out, one row per evaluation';
COMMENT ON COLUMN public.recommendation_outcomes.evaluation_date IS 'Last trading day that the evaluation looks at';
COMMENT ON COLUMN public.recommendation_outcomes.evaluation_window_days IS 'Days from the recommendation to that day';
COMMENT ON COLUMN public.recommendation_outcomes.entry_price_actual IS 'In US dollars, as all prices here';
COMMENT ON COLUMN public.recommendation_outcomes.direction_correct IS 'Whether the price went the predicted way';
COMMENT ON COLUMN public.recommendation_outcomes.predicted_confidence IS 'Copy of the confidence it had, 0 to 1';
COMMENT ON COLUMN public.recommendation_outcomes.directional_brier
IS 'Brier score: squared difference of confidence and outcome, 0 is best';
COMMENT ON COLUMN public.recommendation_outcomes.actual_return_pct IS 'From entry to exit, in percent';
COMMENT ON COLUMN public.recommendation_outcomes.evaluated_at IS 'When the evaluation ran';
