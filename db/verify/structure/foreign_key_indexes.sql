-- Behind every foreign key, of later stories too, is an index that begins with its columns in any order, so
-- that deleting what it refers to never scans a table. A partial or invalid index does not help.
WITH foreign_key (name, relation, columns) AS (
    SELECT
        namespace.nspname || '.' || relation.relname || '.' || constraint_of.conname,
        relation.oid,
        constraint_of.conkey
    FROM pg_catalog.pg_constraint AS constraint_of
    INNER JOIN pg_catalog.pg_class AS relation ON constraint_of.conrelid = relation.oid
    INNER JOIN pg_catalog.pg_namespace AS namespace ON relation.relnamespace = namespace.oid
    WHERE
        constraint_of.contype = 'f'
        AND constraint_of.connamespace NOT IN (
            SELECT member.objid FROM pg_catalog.pg_depend AS member
            WHERE member.classid = 'pg_catalog.pg_namespace'::regclass AND member.deptype = 'e'
        )
),

serving (name, index_name) AS (
    SELECT
        foreign_key.name,
        min(index_relation.relname)
    FROM foreign_key
    INNER JOIN pg_catalog.pg_index AS index_of ON foreign_key.relation = index_of.indrelid
    INNER JOIN pg_catalog.pg_class AS index_relation ON index_of.indexrelid = index_relation.oid
    INNER JOIN pg_catalog.pg_am AS access_method ON index_relation.relam = access_method.oid
    WHERE
        access_method.amname = 'btree'
        AND index_of.indisvalid
        AND index_of.indisready
        AND index_of.indpred IS null
        AND foreign_key.columns @> (index_of.indkey::smallint[])[0:cardinality(foreign_key.columns) - 1]
        AND foreign_key.columns <@ (index_of.indkey::smallint[])[0:cardinality(foreign_key.columns) - 1]
    GROUP BY foreign_key.name
)

SELECT
    'foreign key ' || foreign_key.name || ': index' AS check_name,
    serving.index_name IS NOT null AS passed,
    'an index that begins with the columns of the foreign key' AS expected,
    coalesce(serving.index_name, 'missing') AS actual
FROM foreign_key
LEFT JOIN serving ON foreign_key.name = serving.name
ORDER BY check_name;
