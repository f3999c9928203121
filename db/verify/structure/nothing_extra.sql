-- Nothing is in any schema that no check file names. Every check is named after what it checks, with an aspect
-- after a colon if need be ("table public.tickers: order of columns"); db.verify hands the names of all other
-- checks over in the setting dbops.declared, so that a new table needs checks of its own and no change here.
-- By hand: SELECT set_config('dbops.declared', '["table public.tickers"]', false), then this file.
--
-- Ignored: what an extension's script made, chunks and their like that TimescaleDB's catalog knows, temporary
-- objects, and what belongs to another object by itself (TOAST, array and row types). Triggers and the like are in
-- automation.sql.
WITH declaration (name) AS MATERIALIZED (
    SELECT DISTINCT split_part(element.value, ': ', 1)
    FROM json_array_elements_text(nullif(current_setting('dbops.declared', true), '')::json) AS element
),

-- Made by the script of an extension: a member from the command on that created it. What became one later, by
-- ALTER EXTENSION ... ADD, is the database's own.
member (class, object) AS MATERIALIZED (
    SELECT
        dependency.classid,
        dependency.objid
    FROM pg_catalog.pg_depend AS dependency
    WHERE
        dependency.refclassid = 'pg_catalog.pg_extension'::regclass
        AND dependency.deptype = 'e'
        AND NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_depend AS original
            WHERE
                original.classid = dependency.classid
                AND original.objid = dependency.objid
                AND original.deptype = 'n'
                AND age(original.xmin) > age(dependency.xmin)
        )
        AND NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_namespace AS namespace
            WHERE
                dependency.classid = 'pg_catalog.pg_namespace'::regclass
                AND namespace.oid = dependency.objid
                AND age(namespace.xmin) > age(dependency.xmin)
        )
),

-- Relations that TimescaleDB made and its catalog knows: chunks that inherit from their hypertable, the hypertables
-- behind compression and continuous aggregates, and these aggregates' internal views. A name alone proves nothing.
named_relation (object, schema_name, name) AS (
    SELECT
        class.oid,
        namespace.nspname,
        class.relname
    FROM pg_catalog.pg_class AS class
    INNER JOIN pg_catalog.pg_namespace AS namespace ON class.relnamespace = namespace.oid
),

-- Found by their names before anything else is joined: with the estimates of catalogs that were not analyzed since the
-- chunks were created, each chunk would be paired with each child of its hypertable.
named_chunk (object, hypertable_id) AS MATERIALIZED (
    SELECT
        child.object,
        chunk.hypertable_id
    FROM _timescaledb_catalog.chunk AS chunk
    -- The catalog names a chunk's table by schema and name, from TimescaleDB 2.31 on by relid.
    INNER JOIN named_relation AS child
        ON
            format('%I.%I', child.schema_name, child.name) = coalesce(
                to_jsonb(chunk) ->> 'relid',
                format('%I.%I', to_jsonb(chunk) ->> 'schema_name', to_jsonb(chunk) ->> 'table_name')
            )
),

known_relation (object) AS MATERIALIZED (
    SELECT named_chunk.object
    FROM named_chunk
    INNER JOIN _timescaledb_catalog.hypertable AS hypertable ON named_chunk.hypertable_id = hypertable.id
    INNER JOIN named_relation AS parent
        ON hypertable.schema_name = parent.schema_name AND hypertable.table_name = parent.name
    INNER JOIN pg_catalog.pg_inherits AS inheritance
        ON named_chunk.object = inheritance.inhrelid AND parent.object = inheritance.inhparent
    UNION ALL
    SELECT named_relation.object
    FROM _timescaledb_catalog.hypertable AS hypertable
    INNER JOIN named_relation
        ON hypertable.schema_name = named_relation.schema_name AND hypertable.table_name = named_relation.name
    WHERE
        hypertable.id IN (
            SELECT raw.compressed_hypertable_id
            FROM _timescaledb_catalog.hypertable AS raw
            WHERE raw.compressed_hypertable_id != raw.id
            UNION ALL
            SELECT aggregate.mat_hypertable_id FROM _timescaledb_catalog.continuous_agg AS aggregate
        )
    UNION ALL
    SELECT named_relation.object
    FROM _timescaledb_catalog.continuous_agg AS aggregate
    INNER JOIN named_relation
        ON
            (aggregate.partial_view_schema, aggregate.partial_view_name)
            = (named_relation.schema_name, named_relation.name)
            OR (aggregate.direct_view_schema, aggregate.direct_view_name)
            = (named_relation.schema_name, named_relation.name)
),

-- Relations in a schema of the database's own that were created by one command and made members by another.
adopted_relation (object) AS MATERIALIZED (
    SELECT class.oid
    FROM pg_catalog.pg_class AS class
    INNER JOIN pg_catalog.pg_depend AS dependency
        ON
            class.oid = dependency.objid
            AND dependency.classid = 'pg_catalog.pg_class'::regclass
            AND dependency.deptype = 'e'
    INNER JOIN pg_catalog.pg_depend AS original
        ON
            dependency.classid = original.classid
            AND dependency.objid = original.objid
            AND original.deptype = 'n'
            AND dependency.xmin = original.xmin
            AND dependency.cmin::text::integer > original.cmin::text::integer
    WHERE
        class.relnamespace NOT IN (
            SELECT member.object
            FROM member
            WHERE member.class = 'pg_catalog.pg_namespace'::regclass
        )
),

-- REINDEX CONCURRENTLY of another session leaves an index beside each for a while; it has locked both.
being_rebuilt (index_relation) AS MATERIALIZED (
    SELECT index_of.indexrelid
    FROM pg_catalog.pg_index AS index_of
    INNER JOIN pg_catalog.pg_locks AS lock ON index_of.indexrelid = lock.relation
    INNER JOIN pg_catalog.pg_database AS database ON lock.database = database.oid
    WHERE
        NOT index_of.indisvalid
        AND lock.granted
        AND lock.mode = 'ShareUpdateExclusiveLock'
        AND lock.pid != pg_backend_pid()
        AND database.datname = current_database()
),

relation (address) AS (
    SELECT ARRAY[class.tableoid, class.oid]
    FROM pg_catalog.pg_class AS class
    WHERE
        class.relpersistence != 't'
        AND class.relkind NOT IN ('i', 'I', 't')
        AND class.oid NOT IN (SELECT known_relation.object FROM known_relation)
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
    UNION ALL
    SELECT ARRAY[access_method.tableoid, access_method.oid]
    FROM pg_catalog.pg_am AS access_method
    UNION ALL
    SELECT ARRAY[operator_class.tableoid, operator_class.oid]
    FROM pg_catalog.pg_opclass AS operator_class
    UNION ALL
    SELECT ARRAY[operator_family.tableoid, operator_family.oid]
    FROM pg_catalog.pg_opfamily AS operator_family
    UNION ALL
    SELECT ARRAY[conversion.tableoid, conversion.oid]
    FROM pg_catalog.pg_conversion AS conversion
    UNION ALL
    SELECT ARRAY[transformation.tableoid, transformation.oid]
    FROM pg_catalog.pg_transform AS transformation
    UNION ALL
    SELECT ARRAY[configuration.tableoid, configuration.oid]
    FROM pg_catalog.pg_ts_config AS configuration
    UNION ALL
    SELECT ARRAY[dictionary.tableoid, dictionary.oid]
    FROM pg_catalog.pg_ts_dict AS dictionary
    UNION ALL
    SELECT ARRAY[parser.tableoid, parser.oid]
    FROM pg_catalog.pg_ts_parser AS parser
    UNION ALL
    SELECT ARRAY[template.tableoid, template.oid]
    FROM pg_catalog.pg_ts_template AS template
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
            WHERE
                member.class = object.address[1]
                AND member.object = object.address[2]
                AND NOT (
                    member.class = 'pg_catalog.pg_class'::regclass
                    AND member.object IN (SELECT adopted_relation.object FROM adopted_relation)
                )
        )
        AND identified.identity !~ '\mpg_(toast_)?temp(_[0-9]+)?(\.|$)'
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
    WHERE
        constraint_of.contype != 'n'
        AND constraint_of.confrelid NOT IN (SELECT known_relation.object FROM known_relation)
    UNION ALL
    SELECT 'index ' || split_part(known.identity, '.', 1) || '.' || index_relation.relname
    FROM known
    INNER JOIN pg_catalog.pg_index AS index_of ON known.relation = index_of.indrelid
    INNER JOIN pg_catalog.pg_class AS index_relation ON index_of.indexrelid = index_relation.oid
    WHERE index_relation.oid NOT IN (SELECT being_rebuilt.index_relation FROM being_rebuilt)
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
    (SELECT count(*) FROM declaration) > 0 AS passed,
    'no object that no check names' AS expected,
    CASE
        WHEN (SELECT count(*) FROM declaration) = 0
            THEN 'could not judge: what the other checks name is not known, or one of them did not run'
        ELSE 'no object that no check names'
    END AS actual
WHERE NOT EXISTS (SELECT FROM extra)
UNION ALL
SELECT
    'nothing extra: ' || extra.name AS check_name,
    false AS passed,
    'no such object, or a check that names it' AS expected,
    'there is a ' || extra.name AS actual
FROM extra
ORDER BY check_name;
