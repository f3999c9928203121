-- The ledger, where the runner records which migrations were applied: the one table beside the baseline's.
WITH expected (check_name, definition) AS (
    VALUES
    ('schema dbops', 'owner: the database''s owner'),
    ('table dbops.schema_migrations', 'logged table, owner: the database''s owner'),
    ('column dbops.schema_migrations.version', 'integer NOT NULL'),
    ('column dbops.schema_migrations.name', 'text NOT NULL'),
    ('column dbops.schema_migrations.checksum', 'text NOT NULL'),
    ('column dbops.schema_migrations.applied_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
    ('column dbops.schema_migrations.applied_by', 'text NOT NULL DEFAULT CURRENT_USER'),
    ('column dbops.schema_migrations.duration_ms', 'bigint NOT NULL'),
    ('column dbops.schema_migrations.tool_version', 'text NOT NULL'),
    ('constraint dbops.schema_migrations.schema_migrations_pkey', 'PRIMARY KEY (version)'),
    ('index dbops.schema_migrations_pkey', 'unique, valid')
),

ledger (relation, relation_owner, storage, schema, schema_owner, database_owner) AS (
    SELECT
        relation.oid AS relation,
        relation.relowner,
        CASE WHEN relation.relpersistence = 'p' THEN 'logged ' ELSE 'unlogged ' END
        || CASE WHEN relation.relkind = 'r' THEN 'table' ELSE 'relkind ' || relation.relkind::text END,
        namespace.oid AS schema,
        namespace.nspowner,
        current_database.datdba
    FROM pg_catalog.pg_namespace AS namespace
    INNER JOIN pg_catalog.pg_database AS current_database ON current_database.datname = current_database()
    LEFT JOIN pg_catalog.pg_class AS relation
        ON namespace.oid = relation.relnamespace AND relation.relname = 'schema_migrations'
    WHERE namespace.nspname = 'dbops'
),

actual (check_name, definition) AS (
    SELECT
        'schema dbops',
        'owner: ' || CASE
            WHEN ledger.schema_owner = ledger.database_owner THEN 'the database''s owner'
            ELSE pg_get_userbyid(ledger.schema_owner)
        END
    FROM ledger
    UNION ALL
    SELECT
        'table dbops.schema_migrations',
        ledger.storage || ', owner: ' || CASE
            WHEN ledger.relation_owner = ledger.database_owner THEN 'the database''s owner'
            ELSE pg_get_userbyid(ledger.relation_owner)
        END
    FROM ledger
    UNION ALL
    SELECT
        'column dbops.schema_migrations.' || attribute.attname,
        concat(
            format_type(attribute.atttypid, attribute.atttypmod),
            CASE WHEN attribute.attnotnull THEN ' NOT NULL' END,
            ' DEFAULT ' || pg_get_expr(attribute_default.adbin, 0)
        )
    FROM ledger
    INNER JOIN pg_catalog.pg_attribute AS attribute ON ledger.relation = attribute.attrelid
    LEFT JOIN pg_catalog.pg_attrdef AS attribute_default
        ON
            attribute.attrelid = attribute_default.adrelid
            AND attribute.attnum = attribute_default.adnum
            AND attribute.attgenerated = ''
    WHERE attribute.attnum > 0
    UNION ALL
    SELECT
        'constraint dbops.schema_migrations.' || constraint_of.conname,
        pg_get_constraintdef(constraint_of.oid)
    FROM ledger
    INNER JOIN pg_catalog.pg_constraint AS constraint_of ON ledger.relation = constraint_of.conrelid
    WHERE constraint_of.contype = 'p'
    UNION ALL
    SELECT
        'index dbops.' || index_relation.relname,
        CASE WHEN index_of.indisunique THEN 'unique' ELSE 'not unique' END
        || CASE WHEN index_of.indisvalid AND index_of.indisready THEN ', valid' ELSE ', invalid' END
    FROM ledger
    INNER JOIN pg_catalog.pg_index AS index_of ON ledger.relation = index_of.indrelid
    INNER JOIN pg_catalog.pg_class AS index_relation ON index_of.indexrelid = index_relation.oid
)

SELECT
    expected.check_name,
    coalesce(actual.definition = expected.definition, false) AS passed,
    expected.definition AS expected,
    coalesce(actual.definition, 'missing') AS actual
FROM expected
LEFT JOIN actual ON expected.check_name = actual.check_name
ORDER BY expected.check_name;
