-- Each table that some check names has a check of its rows here, the ledger aside: a table added by a later migration
-- can't be forgotten. What the other checks name comes in the setting dbops.declared (see structure/nothing_extra.sql).
WITH declaration (name) AS MATERIALIZED (
    SELECT DISTINCT split_part(element.value, ': ', 1)
    FROM json_array_elements_text(nullif(current_setting('dbops.declared', true), '')::json) AS element
),

uncounted (name) AS (
    SELECT substring(declaration.name FROM '^table (.*)$')
    FROM declaration
    WHERE declaration.name LIKE 'table %' AND declaration.name != 'table dbops.schema_migrations'
    EXCEPT
    SELECT substring(declaration.name FROM '^rows (.*)$')
    FROM declaration
    WHERE declaration.name LIKE 'rows %'
)

SELECT
    'every table is counted' AS check_name,
    count(uncounted.name) = 0 AND EXISTS (SELECT FROM declaration) AS passed,
    'a check of the rows of each table that ran' AS expected,
    CASE
        WHEN NOT EXISTS (SELECT FROM declaration)
            THEN 'could not judge: what the other checks name is not known, or one of them did not run'
        WHEN count(uncounted.name) = 0 THEN 'a check of the rows of each table that ran'
        ELSE 'none for ' || string_agg(uncounted.name, ', ' ORDER BY uncounted.name)
    END AS actual
FROM uncounted;
