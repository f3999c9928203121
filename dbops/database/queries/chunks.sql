-- Each chunk with what people know it by: its hypertable, or the view of a continuous aggregate; the chunks that
-- TimescaleDB keeps compressed too. The catalog names a chunk's table by schema and name, from 2.31 on by relid.
WITH known AS (
    SELECT h.id, pg_catalog.to_regclass(pg_catalog.format(
        '%I.%I', coalesce(a.user_view_schema, h.schema_name), coalesce(a.user_view_name, h.table_name))) AS name
    FROM _timescaledb_catalog.hypertable AS h
    LEFT JOIN _timescaledb_catalog.continuous_agg AS a ON a.mat_hypertable_id = h.id
)
SELECT c.name::oid AS chunk, k.name::oid AS main
FROM (
    SELECT h.id, pg_catalog.to_regclass(pg_catalog.format('%I.%I', h.schema_name, h.table_name)) AS name
    FROM _timescaledb_catalog.hypertable AS h
    UNION ALL
    SELECT h.hypertable_id, pg_catalog.to_regclass(coalesce(
        j ->> 'relid', pg_catalog.format('%I.%I', j ->> 'schema_name', j ->> 'table_name')))
    FROM _timescaledb_catalog.chunk AS h CROSS JOIN pg_catalog.to_jsonb(h) AS j
) AS c
LEFT JOIN _timescaledb_catalog.hypertable AS u ON u.compressed_hypertable_id = c.id
JOIN known AS k ON k.id = coalesce(u.id, c.id)
