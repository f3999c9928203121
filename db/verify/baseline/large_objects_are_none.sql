-- Right after a rebuild there is no large object: they belong to no table, and yet to the database.
SELECT
    'large objects' AS check_name,
    count(*) = 0 AS passed,
    '0 large objects' AS expected,
    count(*) || ' large objects' AS actual
FROM pg_catalog.pg_largeobject_metadata;
