-- Nothing is in any schema that no check file names. Every check is named after what it checks, with an aspect
-- after a colon if need be ("table public.tickers: order of columns"); db.verify hands the names of all other
-- checks over in the setting dbops.declared, so that whoever adds a table writes its checks and nothing here.
-- By hand: SELECT set_config('dbops.declared', '["table public.tickers"]', false), then this file.
--
-- Looked past: members of extensions, chunks and their like in TimescaleDB's own schemas, temporary objects,
-- and what belongs to another object by itself (TOAST, array and row types). Triggers and the like are in
-- automation.sql.
WITH declaration (name) AS MATERIALIZED (
    SELECT DISTINCT split_part(element.value, ': ', 1)
    FROM json_array_elements_text(nullif(current_setting('dbops.declared', true), '')::json) AS element
),

member (class, object) AS MATERIALIZED (
    SELECT
        classid,
        objid
    FROM pg_catalog.pg_depend
    WHERE refclassid = 'pg_catalog.pg_extension'::regclass AND deptype = 'e'
),

relation (address) AS (
    SELECT ARRAY[class.tableoid, class.oid]
    FROM pg_catalog.pg_class AS class
    INNER JOIN pg_catalog.pg_namespace AS namespace ON class.relnamespace = namespace.oid
    WHERE
        class.relpersistence != 't'
        AND class.relkind NOT IN ('i', 'I', 't')
        AND NOT (
            namespace.nspname = '_timescaledb_internal'
            AND class.relname ~ '^_?((dist_|compress_)?hyper|[a-z]+_hypertable|[a-z]+_view)_[0-9]+(_[0-9]+_chunk)?$'
        )
),

-- An address is the catalog that holds the object, and the object's id there.
object (address) AS (
    SELECT relation.address
    FROM relation
    UNION ALL
    SELECT ARRAY[type.tableoid, type.oid]
    FROM pg_catalog.pg_type AS type
    WHERE
        type.typrelid = 0
        AND type.typtype != 'm'
        AND (type.typcategory != 'A' OR type.typtype = 'd')
    UNION ALL
    SELECT ARRAY[routine.tableoid, routine.oid]
    FROM pg_catalog.pg_proc AS routine
    UNION ALL
    SELECT ARRAY[namespace.tableoid, namespace.oid]
    FROM pg_catalog.pg_namespace AS namespace
    UNION ALL
    SELECT ARRAY[extension.tableoid, extension.oid]
    FROM pg_catalog.pg_extension AS extension
    UNION ALL
    SELECT ARRAY[pg_cast.tableoid, pg_cast.oid]
    FROM pg_catalog.pg_cast
    UNION ALL
    SELECT ARRAY[operator.tableoid, operator.oid]
    FROM pg_catalog.pg_operator AS operator
    UNION ALL
    SELECT ARRAY[pg_collation.tableoid, pg_collation.oid]
    FROM pg_catalog.pg_collation
    UNION ALL
    SELECT ARRAY[pg_language.tableoid, pg_language.oid]
    FROM pg_catalog.pg_language
    UNION ALL
    SELECT ARRAY[wrapper.tableoid, wrapper.oid]
    FROM pg_catalog.pg_foreign_data_wrapper AS wrapper
    UNION ALL
    SELECT ARRAY[server.tableoid, server.oid]
    FROM pg_catalog.pg_foreign_server AS server
    UNION ALL
    SELECT ARRAY[statistic.tableoid, statistic.oid]
    FROM pg_catalog.pg_statistic_ext AS statistic
),

-- What was made since initdb has an id from 16384.
named (address, kind, identity) AS MATERIALIZED (
    SELECT
        object.address,
        identified.type,
        identified.identity
    FROM object
    CROSS JOIN LATERAL pg_identify_object(object.address[1], object.address[2], 0) AS identified
    WHERE
        object.address[2] >= 16384
        AND NOT EXISTS (
            SELECT
            FROM member
            WHERE member.class = object.address[1] AND member.object = object.address[2]
        )
        AND identified.identity !~ '^pg_(toast_)?temp'
),

-- What an unknown table consists of need not be said.
known (relation, identity) AS (
    SELECT
        named.address[2],
        named.identity
    FROM named
    INNER JOIN declaration ON named.kind || ' ' || named.identity = declaration.name
    WHERE named.kind IN ('table', 'materialized view')
),

found (name) AS (
    SELECT named.kind || ' ' || named.identity
    FROM named
    UNION ALL
    SELECT 'column ' || known.identity || '.' || attribute.attname
    FROM known
    INNER JOIN pg_catalog.pg_attribute AS attribute ON known.relation = attribute.attrelid
    WHERE attribute.attnum > 0 AND NOT attribute.attisdropped
    UNION ALL
    SELECT 'constraint ' || known.identity || '.' || constraint_of.conname
    FROM known
    INNER JOIN pg_catalog.pg_constraint AS constraint_of ON known.relation = constraint_of.conrelid
    WHERE constraint_of.contype != 'n'
    UNION ALL
    SELECT 'index ' || split_part(known.identity, '.', 1) || '.' || index_relation.relname
    FROM known
    INNER JOIN pg_catalog.pg_index AS index_of ON known.relation = index_of.indrelid
    INNER JOIN pg_catalog.pg_class AS index_relation ON index_of.indexrelid = index_relation.oid
    UNION ALL
    SELECT 'hypertable ' || hypertable.hypertable_schema || '.' || hypertable.hypertable_name
    FROM timescaledb_information.hypertables AS hypertable
),

extra (name) AS MATERIALIZED (
    SELECT found.name
    FROM found
    WHERE
        EXISTS (SELECT FROM declaration)
        AND NOT EXISTS (
            SELECT
            FROM declaration
            WHERE declaration.name = found.name
        )
)

SELECT
    'nothing extra' AS check_name,
    (SELECT count(*) FROM declaration) > 0 AND (SELECT count(*) FROM extra) = 0 AS passed,
    'no object that no check names' AS expected,
    CASE
        WHEN (SELECT count(*) FROM declaration) = 0
            THEN 'could not judge: what the other checks name is not known, or one of them did not run'
        ELSE (SELECT count(*) FROM extra) || ' objects that no check names'
    END AS actual
UNION ALL
SELECT
    'nothing extra: ' || extra.name AS check_name,
    false AS passed,
    'no such object, or a check that names it' AS expected,
    'there is a ' || extra.name AS actual
FROM extra
ORDER BY check_name;
