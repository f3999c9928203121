-- Right after a rebuild nothing has been written: no row in any table, the ledger aside, no chunk, no large object.
-- The tables of the baseline are named, so that one that is missing does not count as empty. A table is not read where
-- that would run another role's code: db.verify hands over which, in the setting dbops.untrusted.
WITH named (schema_name, table_name) AS (
    VALUES
    ('public', 'daily_snapshots'),
    ('public', 'ohlcv'),
    ('public', 'options_chains'),
    ('public', 'recommendation_outcomes'),
    ('public', 'recommendations'),
    ('public', 'tickers'),
    ('_timescaledb_catalog', 'chunk')
),

relation (object, schema_name, table_name, readable) AS MATERIALIZED (
    SELECT
        class.oid,
        namespace.nspname,
        class.relname,
        has_table_privilege(class.oid, 'SELECT') AND has_schema_privilege(namespace.oid, 'USAGE')
    FROM pg_catalog.pg_class AS class
    INNER JOIN pg_catalog.pg_namespace AS namespace ON class.relnamespace = namespace.oid
    WHERE
        class.relkind IN ('r', 'p')
        AND class.relpersistence != 't'
        AND (
            (namespace.nspname, class.relname) IN (
                SELECT
                    named.schema_name,
                    named.table_name
                FROM named
            )
            OR (
                namespace.nspname !~ '^(pg_|_?timescaledb_|information_schema$)'
                AND (namespace.nspname, class.relname) != ('dbops', 'schema_migrations')
            )
        )
),

considered (schema_name, table_name, object, readable) AS (
    SELECT
        coalesce(named.schema_name, relation.schema_name),
        coalesce(named.table_name, relation.table_name),
        relation.object,
        relation.readable
    FROM named
    FULL OUTER JOIN relation ON named.schema_name = relation.schema_name AND named.table_name = relation.table_name
),

untrusted (reasons) AS (
    SELECT coalesce(nullif(current_setting('dbops.untrusted', true), ''), '{}')::jsonb
),

-- The query is a text, so that a table that cannot be read is no error.
counted (schema_name, table_name, said) AS (
    SELECT
        considered.schema_name,
        considered.table_name,
        CASE
            WHEN considered.object IS null THEN 'missing'
            WHEN untrusted.reasons ? (considered.schema_name || '.' || considered.table_name)
                THEN
                    'not counted: the table depends on '
                    || (untrusted.reasons ->> (considered.schema_name || '.' || considered.table_name))
                    || ', and another role''s code would run with your rights'
            WHEN NOT considered.readable
                THEN
                    'not counted: this role may not read the table; as a superuser, run '
                    || CASE WHEN role.rolinherit THEN '' ELSE format('ALTER ROLE %I INHERIT; ', role.rolname) END
                    || format('GRANT pg_read_all_data TO %I', role.rolname)
            WHEN row_security_active(considered.object)
                THEN 'not counted: row-level security hides rows from this role'
            ELSE
                (xpath('/row/number/text()', query_to_xml(
                    format('SELECT count(*) AS number FROM %I.%I', considered.schema_name, considered.table_name),
                    false, true, ''
                )))[1]::text
        END
    FROM considered
    CROSS JOIN untrusted
    INNER JOIN pg_catalog.pg_roles AS role ON role.rolname = current_user
    UNION ALL
    SELECT
        'large',
        'objects',
        count(*)::text
    FROM pg_catalog.pg_largeobject_metadata
)

SELECT
    CASE schema_name
        WHEN 'large' THEN 'large objects'
        WHEN '_timescaledb_catalog' THEN 'chunks of hypertables'
        ELSE 'rows ' || quote_ident(schema_name) || '.' || quote_ident(table_name)
    END AS check_name,
    said = '0' AS passed,
    CASE schema_name WHEN 'large' THEN '0 large objects' WHEN '_timescaledb_catalog' THEN '0 chunks' ELSE '0 rows' END
        AS expected,
    said || CASE
        WHEN said !~ '^[0-9]+$' THEN ''
        WHEN schema_name = 'large' THEN ' large objects'
        WHEN schema_name = '_timescaledb_catalog' THEN ' chunks'
        ELSE ' rows'
    END AS actual
FROM counted
ORDER BY check_name;
