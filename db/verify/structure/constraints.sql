-- Every constraint of the baseline and of the ledger, in PostgreSQL's own words. NOT VALID, NOT ENFORCED or
-- DEFERRABLE would show there; a foreign key whose triggers were disabled says so. NOT NULL is in columns.sql
-- (PostgreSQL 18 has constraints for it as well).
WITH expected (table_name, constraint_name, definition) AS (
    VALUES
    ('dbops.schema_migrations', 'schema_migrations_pkey', 'PRIMARY KEY (version)'),
    ('dbops.schema_migrations', 'schema_migrations_version_check', 'CHECK ((version > 0))'),
    ('dbops.schema_migrations', 'schema_migrations_checksum_check', 'CHECK ((checksum ~ ''^[0-9a-f]{64}$''::text))'),
    ('dbops.schema_migrations', 'schema_migrations_duration_ms_check', 'CHECK ((duration_ms >= 0))'),
    ('public.tickers', 'tickers_pkey', 'PRIMARY KEY (id)'),
    ('public.tickers', 'tickers_symbol_key', 'UNIQUE (symbol)'),
    ('public.ohlcv', 'ohlcv_pkey', 'PRIMARY KEY (ticker_id, date)'),
    ('public.ohlcv', 'ohlcv_ticker_id_fkey', 'FOREIGN KEY (ticker_id) REFERENCES tickers(id) ON DELETE CASCADE'),
    (
        'public.options_chains', 'options_chains_pkey',
        'PRIMARY KEY ("time", ticker_id, expiration_date, strike_price, option_type)'
    ),
    (
        'public.options_chains', 'options_chains_ticker_id_fkey',
        'FOREIGN KEY (ticker_id) REFERENCES tickers(id) ON DELETE CASCADE'
    ),
    ('public.daily_snapshots', 'daily_snapshots_pkey', 'PRIMARY KEY ("time", ticker_id)'),
    (
        'public.daily_snapshots', 'daily_snapshots_ticker_id_fkey',
        'FOREIGN KEY (ticker_id) REFERENCES tickers(id) ON DELETE CASCADE'
    ),
    (
        'public.daily_snapshots', 'daily_snapshots_wyckoff_phase_check',
        'CHECK (((wyckoff_phase)::text = ANY '
        || '(ARRAY[''A''::text, ''B''::text, ''C''::text, ''D''::text, ''E''::text])))'
    ),
    (
        'public.daily_snapshots', 'daily_snapshots_phase_confidence_check',
        'CHECK (((phase_confidence >= (0)::numeric) AND (phase_confidence <= (1)::numeric)))'
    ),
    ('public.daily_snapshots', 'daily_snapshots_bc_score_check', 'CHECK (((bc_score >= 0) AND (bc_score <= 28)))'),
    (
        'public.daily_snapshots', 'daily_snapshots_spring_score_check',
        'CHECK (((spring_score >= 0) AND (spring_score <= 12)))'
    ),
    ('public.recommendations', 'recommendations_pkey', 'PRIMARY KEY (id)'),
    (
        'public.recommendations', 'recommendations_ticker_id_fkey',
        'FOREIGN KEY (ticker_id) REFERENCES tickers(id) ON DELETE CASCADE'
    ),
    (
        'public.recommendations', 'recommendations_snapshot_time_ticker_id_fkey',
        'FOREIGN KEY (snapshot_time, ticker_id) REFERENCES daily_snapshots("time", ticker_id)'
    ),
    (
        'public.recommendations', 'recommendations_confidence_check',
        'CHECK (((confidence >= (0)::numeric) AND (confidence <= (1)::numeric)))'
    ),
    ('public.recommendation_outcomes', 'recommendation_outcomes_pkey', 'PRIMARY KEY (id)'),
    (
        'public.recommendation_outcomes', 'recommendation_outcomes_recommendation_id_fkey',
        'FOREIGN KEY (recommendation_id) REFERENCES recommendations(id) ON DELETE CASCADE'
    ),
    (
        'public.recommendation_outcomes', 'recommendation_outcomes_predicted_confidence_check',
        'CHECK (((predicted_confidence >= (0)::numeric) AND (predicted_confidence <= (1)::numeric)))'
    )
),

-- The definition of a CHECK opens its table: that must not wait behind another session's exclusive lock.
locked (relation) AS MATERIALIZED (
    SELECT lock.relation
    FROM pg_catalog.pg_locks AS lock
    INNER JOIN pg_catalog.pg_database AS database ON lock.database = database.oid
    WHERE
        database.datname = current_database()
        AND lock.mode = 'AccessExclusiveLock'
        AND lock.pid IS DISTINCT FROM pg_backend_pid()
),

actual (table_name, constraint_name, definition) AS (
    SELECT
        namespace.nspname || '.' || relation.relname,
        constraint_of.conname,
        CASE
            WHEN constraint_of.contype = 'c' AND relation.oid IN (SELECT locked.relation FROM locked)
                THEN 'could not see: another session has locked the table'
            ELSE replace(pg_get_constraintdef(constraint_of.oid), 'public.', '')
        END || CASE
            WHEN EXISTS (
                SELECT
                FROM pg_catalog.pg_trigger AS enforcer
                WHERE enforcer.tgconstraint = constraint_of.oid AND enforcer.tgenabled NOT IN ('O', 'A')
            ) THEN ', its triggers disabled' ELSE ''
        END
    FROM pg_catalog.pg_constraint AS constraint_of
    INNER JOIN pg_catalog.pg_class AS relation ON constraint_of.conrelid = relation.oid
    INNER JOIN pg_catalog.pg_namespace AS namespace ON relation.relnamespace = namespace.oid
    WHERE namespace.nspname IN ('dbops', 'public')
)

SELECT
    'constraint ' || expected.table_name || '.' || expected.constraint_name AS check_name,
    coalesce(actual.definition = expected.definition, false) AS passed,
    expected.definition AS expected,
    coalesce(actual.definition, 'missing') AS actual
FROM expected
LEFT JOIN actual
    ON expected.table_name = actual.table_name AND expected.constraint_name = actual.constraint_name
ORDER BY check_name;
