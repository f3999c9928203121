-- In schemas public and dbops nobody may create by a grant to PUBLIC: whoever can, can put a function or a
-- table in the way of others. PostgreSQL 15 gives that right to the database's owner alone.
WITH expected (name) AS (
    VALUES
    ('dbops'),
    ('public')
),

actual (name, public_grants) AS (
    SELECT
        namespace.nspname,
        coalesce(string_agg(acl_item.privilege_type, ', ') FILTER (
            WHERE acl_item.grantee = 0 AND acl_item.privilege_type = 'CREATE'
        ), 'nothing')
    FROM pg_catalog.pg_namespace AS namespace
    LEFT JOIN LATERAL aclexplode(namespace.nspacl) AS acl_item ON true
    GROUP BY namespace.nspname
)

SELECT
    'schema ' || expected.name AS check_name,
    coalesce(actual.public_grants = 'nothing', false) AS passed,
    'granted to PUBLIC beside USAGE: nothing' AS expected,
    coalesce('granted to PUBLIC beside USAGE: ' || actual.public_grants, 'missing') AS actual
FROM expected
LEFT JOIN actual ON expected.name = actual.name
ORDER BY expected.name;
