-- The ledger says which migrations were applied, from the first on without a gap, each to its end. Whether it
-- agrees with the files is for db.status to say.
WITH ledger (readable, locked) AS MATERIALIZED (
    SELECT
        has_table_privilege(relation.oid, 'SELECT') AND has_schema_privilege(namespace.oid, 'USAGE'),
        relation.oid IN (
            SELECT lock.relation
            FROM pg_catalog.pg_locks AS lock
            INNER JOIN pg_catalog.pg_database AS database ON lock.database = database.oid
            WHERE
                database.datname = current_database()
                AND lock.relation IS NOT null
                AND lock.mode = 'AccessExclusiveLock'
                AND lock.pid IS DISTINCT FROM pg_backend_pid()
        )
    FROM pg_catalog.pg_class AS relation
    INNER JOIN pg_catalog.pg_namespace AS namespace ON relation.relnamespace = namespace.oid
    WHERE namespace.nspname = 'dbops' AND relation.relname = 'schema_migrations' AND relation.relkind = 'r'
),

-- The query is a text so that a ledger that is not there, or not readable, is no error.
counted (document) AS MATERIALIZED (
    SELECT
        query_to_xml(
            'SELECT count(*) AS applied, count(*) FILTER (WHERE duration_ms IS NULL) AS unfinished,'
            || ' coalesce(max(version), 0) - count(*) AS missing FROM dbops.schema_migrations',
            false, true, ''
        )
    FROM ledger
    WHERE ledger.readable AND NOT ledger.locked
),

state (applied, unfinished, missing) AS (
    SELECT
        (xpath('/row/applied/text()', counted.document))[1]::text::bigint,
        (xpath('/row/unfinished/text()', counted.document))[1]::text::bigint,
        (xpath('/row/missing/text()', counted.document))[1]::text::bigint
    FROM counted
)

SELECT
    'table dbops.schema_migrations: rows' AS check_name,
    coalesce(bool_and(state.applied > 0 AND state.unfinished = 0 AND state.missing = 0), false) AS passed,
    'at least one migration, none unfinished, none missing' AS expected,
    CASE
        WHEN count(state.applied) = 1
            THEN concat(
                sum(state.applied), ' applied, ', sum(state.unfinished), ' unfinished, ', sum(state.missing), ' missing'
            )
        WHEN count(ledger.readable) = 0 THEN 'missing'
        WHEN bool_or(ledger.readable) THEN 'could not see: another session has locked the table'
        ELSE
            'could not see: this role may not read the ledger; as a superuser, run '
            || CASE WHEN bool_or(role.rolinherit) THEN '' ELSE format('ALTER ROLE %I INHERIT; ', current_user) END
            || format('GRANT pg_read_all_data TO %I', current_user)
    END AS actual
FROM ledger
FULL OUTER JOIN state ON true
LEFT JOIN pg_catalog.pg_roles AS role ON role.rolname = current_user;
