-- The chunks of each hypertable have its indexes and foreign keys, and no others. TimescaleDB adds one CHECK for each
-- dimension. A chunk is a table that TimescaleDB's catalog names and that inherits from the hypertable.
WITH hypertable (id, object, renumbered) AS MATERIALIZED (
    SELECT
        catalogued.id,
        relation.oid,
        relation.oid IN (
            SELECT attribute.attrelid
            FROM pg_catalog.pg_attribute AS attribute
            WHERE attribute.attisdropped
        )
    FROM _timescaledb_catalog.hypertable AS catalogued
    INNER JOIN pg_catalog.pg_namespace AS namespace ON catalogued.schema_name = namespace.nspname
    INNER JOIN pg_catalog.pg_class AS relation
        ON namespace.oid = relation.relnamespace AND catalogued.table_name = relation.relname
    WHERE
        NOT EXISTS (
            SELECT
            FROM _timescaledb_catalog.hypertable AS raw
            WHERE raw.compressed_hypertable_id = catalogued.id AND raw.id != catalogued.id
        )
),

-- The catalog names a chunk's table by schema and name, from TimescaleDB 2.31 on by relid.
catalogued (hypertable_id, name) AS MATERIALIZED (
    SELECT
        entry.hypertable_id,
        coalesce(
            to_jsonb(entry) ->> 'relid',
            format('%I.%I', to_jsonb(entry) ->> 'schema_name', to_jsonb(entry) ->> 'table_name')
        )
    FROM _timescaledb_catalog.chunk AS entry
    WHERE
        (to_jsonb(entry) ->> 'dropped')::boolean IS NOT true
        AND (to_jsonb(entry) ->> 'osm_chunk')::boolean IS NOT true
),

heir (relation, parent, name) AS MATERIALIZED (
    SELECT
        relation.oid,
        inheritance.inhparent,
        format('%I.%I', namespace.nspname, relation.relname)
    FROM pg_catalog.pg_inherits AS inheritance
    INNER JOIN pg_catalog.pg_class AS relation ON inheritance.inhrelid = relation.oid
    INNER JOIN pg_catalog.pg_namespace AS namespace ON relation.relnamespace = namespace.oid
),

chunk (object, parent, name) AS MATERIALIZED (
    SELECT
        heir.relation,
        hypertable.object,
        catalogued.name
    FROM catalogued
    INNER JOIN hypertable ON catalogued.hypertable_id = hypertable.id
    LEFT JOIN heir ON catalogued.name = heir.name AND hypertable.object = heir.parent
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

-- Where a column was dropped, columns have other numbers in chunks that were made afterwards.
compared (object, renumbered) AS MATERIALIZED (
    SELECT
        chunk.object,
        hypertable.renumbered
    FROM chunk
    INNER JOIN hypertable ON chunk.parent = hypertable.object
    UNION ALL
    SELECT
        hypertable.object,
        hypertable.renumbered
    FROM hypertable
),

-- What can differ, by what it is made of: the definitions that PostgreSQL writes would lock every chunk.
part (object, kind, definition, valid) AS MATERIALIZED (
    SELECT
        index_of.indrelid,
        CASE WHEN index_of.indisunique THEN 'unique index' ELSE 'index' END,
        concat_ws(
            ' ',
            CASE
                WHEN compared.renumbered
                    THEN (
                        SELECT string_agg(coalesce(attribute.attname, 'expression'), ', ' ORDER BY key.number)
                        FROM unnest(index_of.indkey::smallint[]) WITH ORDINALITY AS key (attnum, number)
                        LEFT JOIN pg_catalog.pg_attribute AS attribute
                            ON index_of.indrelid = attribute.attrelid AND key.attnum = attribute.attnum
                    )
                ELSE index_of.indkey::text
            END,
            index_of.indoption, index_of.indclass, index_of.indcollation, index_of.indnkeyatts,
            index_relation.relam, index_of.indpred IS null, index_of.indisprimary
        ),
        index_of.indisvalid AND index_of.indisready
    FROM compared
    INNER JOIN pg_catalog.pg_index AS index_of ON compared.object = index_of.indrelid
    INNER JOIN pg_catalog.pg_class AS index_relation ON index_of.indexrelid = index_relation.oid
    WHERE index_of.indexrelid NOT IN (SELECT being_rebuilt.index_relation FROM being_rebuilt)
    UNION ALL
    SELECT
        foreign_key.conrelid,
        'foreign key',
        concat_ws(
            ' ',
            CASE
                WHEN compared.renumbered
                    THEN (
                        SELECT string_agg(attribute.attname, ', ' ORDER BY key.number)
                        FROM unnest(foreign_key.conkey) WITH ORDINALITY AS key (attnum, number)
                        INNER JOIN pg_catalog.pg_attribute AS attribute
                            ON foreign_key.conrelid = attribute.attrelid AND key.attnum = attribute.attnum
                    )
                ELSE foreign_key.conkey::text
            END,
            foreign_key.confrelid, foreign_key.confkey, foreign_key.confupdtype, foreign_key.confdeltype,
            foreign_key.condeferrable
        ),
        NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_trigger AS enforcer
            WHERE enforcer.tgconstraint = foreign_key.oid AND enforcer.tgenabled NOT IN ('O', 'A')
        )
    FROM compared
    INNER JOIN pg_catalog.pg_constraint AS foreign_key
        ON compared.object = foreign_key.conrelid AND foreign_key.contype = 'f'
    UNION ALL
    SELECT
        trigger_of.tgrelid,
        'trigger',
        trigger_of.tgname || ' ' || trigger_of.tgfoid,
        trigger_of.tgenabled = 'O'
    FROM pg_catalog.pg_trigger AS trigger_of
    INNER JOIN chunk ON trigger_of.tgrelid = chunk.object
    WHERE NOT trigger_of.tgisinternal
),

counted (object, kind, definition, number, valid) AS MATERIALIZED (
    SELECT
        part.object,
        part.kind,
        part.definition,
        count(*),
        count(*) FILTER (WHERE part.valid)
    FROM part
    GROUP BY part.object, part.kind, part.definition
),

-- Few rows, so that each chunk is compared with its own hypertable's parts and not with all others'.
original (object, kind, definition, number, valid) AS MATERIALIZED (
    SELECT counted.*
    FROM counted
    INNER JOIN hypertable ON counted.object = hypertable.object
),

difference (said) AS (
    SELECT chunk.name || ' lacks a valid ' || own.kind
    FROM chunk
    INNER JOIN original AS own ON chunk.parent = own.object AND own.valid = own.number
    LEFT JOIN counted AS copy
        ON chunk.object = copy.object AND own.kind = copy.kind AND own.definition = copy.definition
    WHERE chunk.object IS NOT null AND copy.valid IS DISTINCT FROM own.number
    UNION ALL
    SELECT chunk.name || ' has a ' || copy.kind || ' of its own'
    FROM chunk
    INNER JOIN counted AS copy ON chunk.object = copy.object
    LEFT JOIN original AS own
        ON chunk.parent = own.object AND copy.kind = own.kind AND copy.definition = own.definition
    WHERE own.number IS null AND copy.kind != 'trigger'
    UNION ALL
    SELECT chunk.name || ' has a CHECK of its own'
    FROM chunk
    INNER JOIN hypertable ON chunk.parent = hypertable.object
    INNER JOIN pg_catalog.pg_constraint AS local
        ON chunk.object = local.conrelid AND local.contype = 'c' AND local.coninhcount = 0
    LEFT JOIN pg_catalog.pg_attribute AS attribute
        ON chunk.object = attribute.attrelid AND local.conkey = ARRAY[attribute.attnum]
    LEFT JOIN _timescaledb_catalog.dimension AS dimension
        ON hypertable.id = dimension.hypertable_id AND attribute.attname = dimension.column_name
    GROUP BY chunk.name, local.conkey
    HAVING count(*) > 1 OR count(dimension.column_name) = 0
    UNION ALL
    SELECT chunk.name || ' is in the catalog alone'
    FROM chunk
    WHERE chunk.object IS null
),

numbered (said, number) AS (
    SELECT
        difference.said,
        row_number() OVER (ORDER BY difference.said)
    FROM difference
)

SELECT
    'chunks of hypertables' AS check_name,
    count(numbered.said) = 0 AS passed,
    'as their hypertable' AS expected,
    CASE
        WHEN count(numbered.said) = 0 THEN 'as their hypertable'
        ELSE
            string_agg(numbered.said, '; ' ORDER BY numbered.number) FILTER (WHERE numbered.number <= 5)
            || CASE WHEN count(numbered.said) > 5 THEN '; and ' || count(numbered.said) - 5 || ' more' ELSE '' END
    END AS actual
FROM numbered;
