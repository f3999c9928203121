-- The enumerated types of the baseline, their labels in order, and that they belong to the database's owner.
WITH expected (type_name, labels) AS (
    VALUES
    ('option_strategy', '{LONG_CALL,LONG_PUT,CSP,VERTICAL_SPREAD}'),
    ('option_type', '{C,P}'),
    ('outcome_status', '{WIN,LOSS,NEUTRAL}'),
    ('recommendation_action', '{BUY,SELL,HOLD,HEDGE}'),
    ('recommendation_direction', '{LONG,SHORT,NEUTRAL}'),
    ('recommendation_status', '{active,closed,expired}')
),

actual (type_name, owner, labels) AS (
    SELECT
        type.typname,
        CASE
            WHEN type.typowner = current_database.datdba THEN 'the database''s owner'
            ELSE pg_get_userbyid(type.typowner)
        END,
        array_agg(label.enumlabel ORDER BY label.enumsortorder) FILTER (WHERE label.enumlabel IS NOT null)::text
    FROM pg_catalog.pg_type AS type
    INNER JOIN pg_catalog.pg_namespace AS namespace ON type.typnamespace = namespace.oid
    INNER JOIN pg_catalog.pg_database AS current_database ON current_database.datname = current_database()
    LEFT JOIN pg_catalog.pg_enum AS label ON type.oid = label.enumtypid
    WHERE namespace.nspname = 'public'
    GROUP BY type.oid, type.typname, type.typowner, current_database.datdba
),

compared (type_name, expected, actual) AS (
    SELECT
        expected.type_name,
        'owner: the database''s owner, labels: ' || expected.labels,
        'owner: ' || actual.owner || ', labels: ' || coalesce(actual.labels, 'not an enumerated type')
    FROM expected
    LEFT JOIN actual ON expected.type_name = actual.type_name
)

SELECT
    'type public.' || type_name AS check_name,
    coalesce(actual = expected, false) AS passed,
    expected,
    coalesce(actual, 'missing') AS actual
FROM compared
ORDER BY type_name;
