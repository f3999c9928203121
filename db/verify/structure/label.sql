-- The database is labelled with its environment, in the comment of schema dbops, as the runner of migrations wrote it.
-- What a rebuild may drop depends on it.
SELECT
    'schema dbops: label' AS check_name,
    coalesce(
        label.content ~ '^\{.*\}$'
        AND label.content ~ '"environment": *"(dev|test|prod)"[,}]'
        AND label.content ~ '"system_identifier": *"[0-9]+"[,}]',
        false
    ) AS passed,
    'the environment of the database (dev, test or prod) and the server it was labelled on' AS expected,
    coalesce(label.content, 'missing') AS actual
FROM (
    SELECT max(obj_description(namespace.oid, 'pg_namespace'))
    FROM pg_catalog.pg_namespace AS namespace
    WHERE namespace.nspname = 'dbops'
) AS label (content);
