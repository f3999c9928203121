-- Each table of the baseline, and the ledger of migrations, is an ordinary, logged table of the database's owner, who
-- has all rights on it, in the default tablespace, without a grant to PUBLIC or row-level security. Grants
-- to single roles are the operator's: they are not checked.
WITH expected (table_schema, table_name) AS (
    VALUES
    ('dbops', 'schema_migrations'),
    ('public', 'daily_snapshots'),
    ('public', 'ohlcv'),
    ('public', 'options_chains'),
    ('public', 'recommendation_outcomes'),
    ('public', 'recommendations'),
    ('public', 'tickers')
),

actual (table_schema, table_name, kind, storage, owner, public_grants, row_security, exceptions) AS (
    SELECT
        namespace.nspname,
        relation.relname,
        CASE relation.relkind
            WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'relkind ' || relation.relkind::text
        END,
        CASE relation.relpersistence WHEN 'p' THEN 'logged' ELSE 'unlogged' END,
        CASE
            WHEN relation.relowner = current_database.datdba THEN 'the database''s owner'
            ELSE pg_get_userbyid(relation.relowner)
        END,
        coalesce((
            SELECT string_agg(DISTINCT acl_item.privilege_type, ', ' ORDER BY acl_item.privilege_type)
            FROM (
                SELECT relation.relacl
                UNION ALL
                SELECT attribute.attacl
                FROM pg_catalog.pg_attribute AS attribute
                WHERE attribute.attrelid = relation.oid AND attribute.attacl IS NOT null
            ) AS acl_list (acl)
            CROSS JOIN LATERAL aclexplode(acl_list.acl) AS acl_item
            WHERE acl_item.grantee = 0
        ), 'nothing'),
        CASE WHEN relation.relrowsecurity THEN 'on' ELSE 'off' END,
        concat(
            CASE WHEN relation.reltablespace != 0 THEN ', in a tablespace of its own' END,
            (
                SELECT
                    ', revoked from the owner: '
                    || string_agg(usual.privilege_type, ', ' ORDER BY usual.privilege_type)
                FROM aclexplode(acldefault('r', relation.relowner)) AS usual
                WHERE
                    relation.relacl IS NOT null
                    AND usual.grantee = relation.relowner
                    AND NOT EXISTS (
                        SELECT
                        FROM aclexplode(relation.relacl) AS held
                        WHERE held.grantee = usual.grantee AND held.privilege_type = usual.privilege_type
                    )
            )
        )
    FROM pg_catalog.pg_class AS relation
    INNER JOIN pg_catalog.pg_namespace AS namespace ON relation.relnamespace = namespace.oid
    INNER JOIN pg_catalog.pg_database AS current_database ON current_database.datname = current_database()
    WHERE relation.relkind NOT IN ('i', 'I', 't', 'c')
),

compared (name, expected, actual) AS (
    SELECT
        expected.table_schema || '.' || expected.table_name,
        'logged table, owner: the database''s owner, granted to PUBLIC: nothing, row-level security: off',
        actual.storage || ' ' || actual.kind || ', owner: ' || actual.owner
        || ', granted to PUBLIC: ' || actual.public_grants || ', row-level security: ' || actual.row_security
        || actual.exceptions
    FROM expected
    LEFT JOIN actual
        ON expected.table_schema = actual.table_schema AND expected.table_name = actual.table_name
)

SELECT
    'table ' || name AS check_name,
    coalesce(actual = expected, false) AS passed,
    expected,
    coalesce(actual, 'missing') AS actual
FROM compared
ORDER BY name;
