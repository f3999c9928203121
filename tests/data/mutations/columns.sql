-- drop_column
-- verify: column public.tickers.sector
ALTER TABLE public.tickers DROP COLUMN sector;

-- add_column
-- drift: table public.tickers => +    column isin: text
ALTER TABLE public.tickers ADD COLUMN isin text;

-- add_column_to_hypertable
-- drift: table public.ohlcv => +    column vwap: numeric
ALTER TABLE public.ohlcv ADD COLUMN vwap numeric;

-- rename_column
-- verify: column public.recommendations.stop_loss
ALTER TABLE public.recommendations RENAME COLUMN stop_loss TO stop_price;

-- order_of_columns
-- verify: table public.tickers: order of columns => symbol, name, is_active, created_at, sector
ALTER TABLE public.tickers DROP COLUMN sector;
ALTER TABLE public.tickers ADD COLUMN sector varchar(100);

-- integer_to_bigint
-- verify: column public.options_chains.open_interest => bigint
ALTER TABLE public.options_chains ALTER COLUMN open_interest TYPE bigint;

-- length
-- verify: column public.tickers.symbol => character varying(10) NOT NULL
ALTER TABLE public.tickers ALTER COLUMN symbol TYPE varchar(10);

-- no_length
-- verify: column public.tickers.name => character varying
ALTER TABLE public.tickers ALTER COLUMN name TYPE varchar;

-- scale
-- verify: column public.recommendation_outcomes.actual_return_pct => numeric(8,2)
ALTER TABLE public.recommendation_outcomes ALTER COLUMN actual_return_pct TYPE numeric(8, 2);

-- precision
-- verify: column public.options_chains.delta => numeric(12,6)
ALTER TABLE public.options_chains ALTER COLUMN delta TYPE numeric(12, 6);

-- precision_on_hypertable
-- verify: column public.ohlcv.close => numeric(12,4)
ALTER TABLE public.ohlcv ALTER COLUMN close TYPE numeric(12, 4);

-- without_time_zone
-- verify: column public.recommendation_outcomes.evaluated_at => timestamp without time zone
ALTER TABLE public.recommendation_outcomes ALTER COLUMN evaluated_at TYPE timestamp;

-- enum_to_text
-- verify: column public.recommendations.option_strategy => text
ALTER TABLE public.recommendations ALTER COLUMN option_strategy TYPE text;

-- array_to_text
-- verify: column public.daily_snapshots.events_detected => text
ALTER TABLE public.daily_snapshots ALTER COLUMN events_detected TYPE text;

-- jsonb_to_json
-- verify: column public.daily_snapshots.events_json => json
ALTER TABLE public.daily_snapshots ALTER COLUMN events_json TYPE json;

-- drop_not_null
-- verify: column public.options_chains.created_at => timestamp with time zone DEFAULT now()
ALTER TABLE public.options_chains ALTER COLUMN created_at DROP NOT NULL;

-- set_not_null
-- verify: column public.tickers.name => NOT NULL
ALTER TABLE public.tickers ALTER COLUMN name SET NOT NULL;

-- drop_default
-- verify: column public.recommendations.id => uuid NOT NULL
ALTER TABLE public.recommendations ALTER COLUMN id DROP DEFAULT;

-- change_default
-- verify: column public.tickers.is_active => DEFAULT false
ALTER TABLE public.tickers ALTER COLUMN is_active SET DEFAULT false;

-- change_default_of_enum
-- verify: column public.recommendations.status => 'closed'
ALTER TABLE public.recommendations ALTER COLUMN status SET DEFAULT 'closed';

-- add_default
-- verify: column public.ohlcv.volume => DEFAULT 0
ALTER TABLE public.ohlcv ALTER COLUMN volume SET DEFAULT 0;

-- identity
-- verify: column public.recommendation_outcomes.days_held => GENERATED AS IDENTITY
ALTER TABLE public.recommendation_outcomes ALTER COLUMN days_held SET NOT NULL;
ALTER TABLE public.recommendation_outcomes ALTER COLUMN days_held ADD GENERATED ALWAYS AS IDENTITY;

-- generated
-- verify: column public.recommendation_outcomes.notes => GENERATED ALWAYS AS
ALTER TABLE public.recommendation_outcomes DROP COLUMN notes;
ALTER TABLE public.recommendation_outcomes ADD COLUMN notes text GENERATED ALWAYS AS (days_held::text) STORED;

-- collation
-- verify: column public.tickers.symbol => COLLATE C
ALTER TABLE public.tickers ALTER COLUMN symbol TYPE varchar(20) COLLATE "C";
