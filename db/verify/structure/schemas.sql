-- Schemas public and dbops are owned by the database's owner (public perhaps by pg_database_owner), and PUBLIC has no
-- CREATE privilege on them: an object created there could be found instead of the one that a query means.
WITH expected (name) AS (
    VALUES
    ('dbops'),
    ('public')
),

actual (name, owner, public_grants) AS (
    SELECT
        namespace.nspname,
        CASE
            WHEN namespace.nspowner = current_database.datdba THEN 'the database''s owner'
            WHEN namespace.nspname = 'public' AND pg_get_userbyid(namespace.nspowner) = 'pg_database_owner'
                THEN 'the database''s owner'
            ELSE pg_get_userbyid(namespace.nspowner)
        END,
        coalesce(string_agg(acl_item.privilege_type, ', ') FILTER (
            WHERE acl_item.grantee = 0 AND acl_item.privilege_type = 'CREATE'
        ), 'nothing')
    FROM pg_catalog.pg_namespace AS namespace
    INNER JOIN pg_catalog.pg_database AS current_database ON current_database.datname = current_database()
    LEFT JOIN LATERAL aclexplode(namespace.nspacl) AS acl_item ON true
    GROUP BY namespace.nspname, namespace.nspowner, current_database.datdba
),

compared (name, expected, actual) AS (
    SELECT
        expected.name,
        'owner: the database''s owner, granted to PUBLIC other than USAGE: nothing',
        'owner: ' || actual.owner || ', granted to PUBLIC other than USAGE: ' || actual.public_grants
    FROM expected
    LEFT JOIN actual ON expected.name = actual.name
)

SELECT
    'schema ' || name AS check_name,
    coalesce(actual = expected, false) AS passed,
    expected,
    coalesce(actual, 'missing') AS actual
FROM compared
ORDER BY name;
