-- Every column of the baseline and of the ledger: type with length and scale, nullability, default, and its
-- position among the columns named here. NOT NULL can be NOT VALID from PostgreSQL 18.
WITH expected (table_name, ordinal, column_name, definition) AS (
    VALUES
    ('dbops.schema_migrations', 1, 'version', 'integer NOT NULL'),
    ('dbops.schema_migrations', 2, 'name', 'text NOT NULL'),
    ('dbops.schema_migrations', 3, 'checksum', 'text NOT NULL'),
    ('dbops.schema_migrations', 4, 'applied_at', 'timestamp with time zone NOT NULL DEFAULT clock_timestamp()'),
    ('dbops.schema_migrations', 5, 'applied_by', 'text NOT NULL DEFAULT SESSION_USER'),
    ('dbops.schema_migrations', 6, 'duration_ms', 'bigint'),
    ('dbops.schema_migrations', 7, 'tool_version', 'text NOT NULL'),
    ('public.tickers', 1, 'id', 'uuid NOT NULL DEFAULT gen_random_uuid()'),
    ('public.tickers', 2, 'symbol', 'character varying(20) NOT NULL'),
    ('public.tickers', 3, 'name', 'character varying(255)'),
    ('public.tickers', 4, 'sector', 'character varying(100)'),
    ('public.tickers', 5, 'is_active', 'boolean NOT NULL DEFAULT true'),
    ('public.tickers', 6, 'created_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
    ('public.ohlcv', 1, 'ticker_id', 'uuid NOT NULL'),
    ('public.ohlcv', 2, 'date', 'date NOT NULL'),
    ('public.ohlcv', 3, 'open', 'numeric'),
    ('public.ohlcv', 4, 'high', 'numeric'),
    ('public.ohlcv', 5, 'low', 'numeric'),
    ('public.ohlcv', 6, 'close', 'numeric'),
    ('public.ohlcv', 7, 'volume', 'bigint'),
    ('public.ohlcv', 8, 'created_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
    ('public.options_chains', 1, 'time', 'timestamp with time zone NOT NULL'),
    ('public.options_chains', 2, 'ticker_id', 'uuid NOT NULL'),
    ('public.options_chains', 3, 'expiration_date', 'date NOT NULL'),
    ('public.options_chains', 4, 'strike_price', 'numeric(12,4) NOT NULL'),
    ('public.options_chains', 5, 'option_type', 'option_type NOT NULL'),
    ('public.options_chains', 6, 'bid', 'numeric(12,4)'),
    ('public.options_chains', 7, 'ask', 'numeric(12,4)'),
    ('public.options_chains', 8, 'last', 'numeric(12,4)'),
    ('public.options_chains', 9, 'volume', 'integer'),
    ('public.options_chains', 10, 'open_interest', 'integer'),
    ('public.options_chains', 11, 'implied_volatility', 'numeric(10,6)'),
    ('public.options_chains', 12, 'delta', 'numeric(10,6)'),
    ('public.options_chains', 13, 'gamma', 'numeric(10,6)'),
    ('public.options_chains', 14, 'theta', 'numeric(10,6)'),
    ('public.options_chains', 15, 'vega', 'numeric(10,6)'),
    ('public.options_chains', 16, 'created_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
    ('public.daily_snapshots', 1, 'time', 'timestamp with time zone NOT NULL'),
    ('public.daily_snapshots', 2, 'ticker_id', 'uuid NOT NULL'),
    ('public.daily_snapshots', 3, 'wyckoff_phase', 'character varying(1)'),
    ('public.daily_snapshots', 4, 'phase_score', 'numeric(6,3)'),
    ('public.daily_snapshots', 5, 'phase_confidence', 'numeric(4,3)'),
    ('public.daily_snapshots', 6, 'events_detected', 'text[]'),
    ('public.daily_snapshots', 7, 'primary_event', 'character varying(20)'),
    ('public.daily_snapshots', 8, 'events_json', 'jsonb'),
    ('public.daily_snapshots', 9, 'bc_score', 'integer'),
    ('public.daily_snapshots', 10, 'spring_score', 'integer'),
    ('public.daily_snapshots', 11, 'composite_score', 'numeric(6,2)'),
    ('public.daily_snapshots', 12, 'technical_indicators_json', 'jsonb'),
    ('public.daily_snapshots', 13, 'dealer_metrics_json', 'jsonb'),
    ('public.daily_snapshots', 14, 'volatility_metrics_json', 'jsonb'),
    ('public.daily_snapshots', 15, 'price_metrics_json', 'jsonb'),
    ('public.daily_snapshots', 16, 'model_version', 'character varying(50)'),
    ('public.daily_snapshots', 17, 'created_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
    ('public.recommendations', 1, 'id', 'uuid NOT NULL DEFAULT gen_random_uuid()'),
    ('public.recommendations', 2, 'snapshot_time', 'timestamp with time zone NOT NULL'),
    ('public.recommendations', 3, 'ticker_id', 'uuid NOT NULL'),
    ('public.recommendations', 4, 'recommendation_date', 'date NOT NULL'),
    ('public.recommendations', 5, 'direction', 'recommendation_direction NOT NULL'),
    ('public.recommendations', 6, 'action', 'recommendation_action NOT NULL'),
    ('public.recommendations', 7, 'confidence', 'numeric(4,3)'),
    ('public.recommendations', 8, 'justification', 'text'),
    ('public.recommendations', 9, 'entry_price_target', 'numeric(12,4)'),
    ('public.recommendations', 10, 'stop_loss', 'numeric(12,4)'),
    ('public.recommendations', 11, 'profit_target', 'numeric(12,4)'),
    ('public.recommendations', 12, 'risk_reward_ratio', 'numeric(6,2)'),
    ('public.recommendations', 13, 'option_strike', 'numeric(12,4)'),
    ('public.recommendations', 14, 'option_expiration', 'date'),
    ('public.recommendations', 15, 'option_type', 'option_type'),
    ('public.recommendations', 16, 'option_strategy', 'option_strategy'),
    (
        'public.recommendations', 17, 'status',
        'recommendation_status NOT NULL DEFAULT ''active''::recommendation_status'
    ),
    ('public.recommendations', 18, 'model_version', 'character varying(50)'),
    ('public.recommendations', 19, 'created_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
    ('public.recommendation_outcomes', 1, 'id', 'uuid NOT NULL DEFAULT gen_random_uuid()'),
    ('public.recommendation_outcomes', 2, 'recommendation_id', 'uuid NOT NULL'),
    ('public.recommendation_outcomes', 3, 'evaluation_date', 'date NOT NULL'),
    ('public.recommendation_outcomes', 4, 'evaluation_window_days', 'integer'),
    ('public.recommendation_outcomes', 5, 'entry_price_actual', 'numeric(12,4)'),
    ('public.recommendation_outcomes', 6, 'exit_price_actual', 'numeric(12,4)'),
    ('public.recommendation_outcomes', 7, 'high_price_during_window', 'numeric(12,4)'),
    ('public.recommendation_outcomes', 8, 'low_price_during_window', 'numeric(12,4)'),
    ('public.recommendation_outcomes', 9, 'days_held', 'integer'),
    ('public.recommendation_outcomes', 10, 'direction_correct', 'boolean'),
    ('public.recommendation_outcomes', 11, 'predicted_confidence', 'numeric(4,3)'),
    ('public.recommendation_outcomes', 12, 'directional_brier', 'numeric(6,4)'),
    ('public.recommendation_outcomes', 13, 'actual_return_pct', 'numeric(8,4)'),
    ('public.recommendation_outcomes', 14, 'hit_profit_target', 'boolean'),
    ('public.recommendation_outcomes', 15, 'hit_stop_loss', 'boolean'),
    ('public.recommendation_outcomes', 16, 'outcome_status', 'outcome_status'),
    ('public.recommendation_outcomes', 17, 'notes', 'text'),
    ('public.recommendation_outcomes', 18, 'evaluated_at', 'timestamp with time zone')
),

-- A default refers to no column, so that pg_get_expr needs no table, and doesn't wait for a lock on it.
actual (table_name, ordinal, column_name, definition) AS (
    SELECT
        namespace.nspname || '.' || relation.relname,
        attribute.attnum,
        attribute.attname,
        replace(concat(
            format_type(attribute.atttypid, attribute.atttypmod),
            CASE WHEN attribute.attcollation != type.typcollation THEN ' COLLATE ' || collation_of.collname END,
            CASE WHEN attribute.attnotnull THEN ' NOT NULL' END,
            CASE
                WHEN EXISTS (
                    SELECT
                    FROM pg_catalog.pg_constraint AS not_null
                    WHERE
                        not_null.conrelid = attribute.attrelid
                        AND not_null.conkey = ARRAY[attribute.attnum]
                        AND not_null.contype = 'n'
                        AND NOT not_null.convalidated
                ) THEN ' NOT VALID'
            END,
            CASE attribute.attidentity WHEN '' THEN '' ELSE ' GENERATED AS IDENTITY' END,
            CASE
                WHEN attribute.attgenerated != '' THEN ' GENERATED ALWAYS AS (...)'
                ELSE ' DEFAULT ' || pg_get_expr(attribute_default.adbin, 0)
            END
        ), 'public.', '')
    FROM pg_catalog.pg_attribute AS attribute
    INNER JOIN pg_catalog.pg_class AS relation ON attribute.attrelid = relation.oid
    INNER JOIN pg_catalog.pg_namespace AS namespace ON relation.relnamespace = namespace.oid
    INNER JOIN pg_catalog.pg_type AS type ON attribute.atttypid = type.oid
    LEFT JOIN pg_catalog.pg_collation AS collation_of ON attribute.attcollation = collation_of.oid
    LEFT JOIN pg_catalog.pg_attrdef AS attribute_default
        ON attribute.attrelid = attribute_default.adrelid AND attribute.attnum = attribute_default.adnum
    WHERE
        namespace.nspname IN ('dbops', 'public')
        AND relation.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND attribute.attnum > 0
        AND NOT attribute.attisdropped
),

definitions (check_name, expected, actual) AS (
    SELECT
        'column ' || expected.table_name || '.' || expected.column_name,
        expected.definition AS expected,
        actual.definition AS actual
    FROM expected
    LEFT JOIN actual
        ON expected.table_name = actual.table_name AND expected.column_name = actual.column_name
),

orders (check_name, expected, actual) AS (
    SELECT
        'table ' || expected.table_name || ': order of columns',
        string_agg(expected.column_name, ', ' ORDER BY expected.ordinal),
        string_agg(actual.column_name, ', ' ORDER BY actual.ordinal)
    FROM expected
    LEFT JOIN actual
        ON expected.table_name = actual.table_name AND expected.column_name = actual.column_name
    GROUP BY expected.table_name
)

SELECT
    check_name,
    coalesce(actual = expected, false) AS passed,
    expected,
    coalesce(actual, 'missing') AS actual
FROM (
    SELECT * FROM definitions
    UNION ALL
    SELECT * FROM orders
) AS compared
ORDER BY check_name;
