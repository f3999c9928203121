-- What TimescaleDB made and its catalog knows: chunks that inherit from their hypertable, the hypertables behind
-- compression and continuous aggregates, and these aggregates' internal views. A name alone proves nothing.
named AS MATERIALIZED (
    SELECT c.oid, n.nspname AS space, c.relname AS name
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
),
-- TimescaleDB's catalog names a chunk by schema and name, from 2.31 on by relid.
catalogued_chunk AS MATERIALIZED (
    SELECT
        c.hypertable_id,
        coalesce(j.row ->> 'relid', format('%I.%I', j.row ->> 'schema_name', j.row ->> 'table_name')) AS name,
        coalesce((j.row ->> 'dropped')::boolean, false) AS is_dropped,
        coalesce((j.row ->> 'osm_chunk')::boolean, false) AS is_elsewhere
    FROM _timescaledb_catalog.chunk AS c
    CROSS JOIN LATERAL (SELECT to_jsonb(c) AS row OFFSET 0) AS j
),
-- Found by their names before anything else is joined: with the estimates of catalogs that were not analyzed since the
-- chunks were created, each chunk would be paired with each child of its hypertable.
named_chunk AS MATERIALIZED (
    SELECT k.oid, c.hypertable_id
    FROM catalogued_chunk AS c
    JOIN named AS k ON format('%I.%I', k.space, k.name) = c.name
),
known AS MATERIALIZED (
    SELECT k.oid
    FROM named_chunk AS k
    JOIN _timescaledb_catalog.hypertable AS h ON h.id = k.hypertable_id
    JOIN named AS p ON p.space = h.schema_name AND p.name = h.table_name
    JOIN pg_inherits AS i ON i.inhrelid = k.oid AND i.inhparent = p.oid
    UNION ALL
    SELECT k.oid
    FROM _timescaledb_catalog.hypertable AS h
    JOIN named AS k ON k.space = h.schema_name AND k.name = h.table_name
    WHERE h.id IN (
        SELECT o.compressed_hypertable_id FROM _timescaledb_catalog.hypertable AS o WHERE o.compressed_hypertable_id <> o.id
        UNION ALL
        SELECT a.mat_hypertable_id FROM _timescaledb_catalog.continuous_agg AS a
    )
    UNION ALL
    SELECT k.oid
    FROM _timescaledb_catalog.continuous_agg AS a
    JOIN named AS k
        ON k.space = a.partial_view_schema AND k.name = a.partial_view_name
        OR k.space = a.direct_view_schema AND k.name = a.direct_view_name
),
known_trigger AS MATERIALIZED (
    SELECT t.oid
    FROM _timescaledb_catalog.hypertable AS h
    JOIN named AS k ON k.space = h.schema_name AND k.name = h.table_name
    JOIN pg_trigger AS t ON t.tgrelid = k.oid AND t.tgname = 'ts_insert_blocker' AND t.tgenabled = 'O'
    JOIN pg_proc AS p ON p.oid = t.tgfoid AND p.proname = 'insert_blocker'
    JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
),
-- TimescaleDB's own views, which take longer to plan than to read: each is read once.
dimension AS MATERIALIZED (SELECT * FROM timescaledb_information.dimensions),
job AS MATERIALIZED (SELECT * FROM timescaledb_information.jobs)
