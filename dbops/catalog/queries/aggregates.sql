-- Continuous aggregates, with their definitions.
WITH continuous_aggregate AS MATERIALIZED (SELECT * FROM timescaledb_information.continuous_aggregates)
SELECT
    format('continuous aggregate %I.%I', c.view_schema, c.view_name), 0, 0,
    'of ' || quote_ident(c.hypertable_schema) || '.'
    || regexp_replace(quote_ident(c.hypertable_name), '(_materialized_hypertable_)\d+', '\1')
    || CASE WHEN c.materialized_only THEN ' (materialized only)' ELSE '' END
FROM continuous_aggregate AS c
UNION ALL
SELECT format('continuous aggregate %I.%I', c.view_schema, c.view_name), 8, l.number::integer, '| ' || l.line
FROM continuous_aggregate AS c
CROSS JOIN LATERAL regexp_split_to_table(c.view_definition, '\n') WITH ORDINALITY AS l (line, number)
