-- Hypertables with their dimensions, and jobs that the engine did not bring itself.
-- Numbers that TimescaleDB gives out (of jobs, hypertables, materialisations) and times of the next run are left out.
SELECT r.object, 1, 0, 'hypertable' || CASE WHEN h.compression_enabled THEN ' (compression enabled)' ELSE '' END
FROM timescaledb_information.hypertables AS h
JOIN relation AS r ON r.name = format('%I.%I', h.hypertable_schema, h.hypertable_name)
UNION ALL
SELECT
    r.object, 1, 0,
    format('chunk sizing %I.%I to %s bytes', h.chunk_sizing_func_schema, h.chunk_sizing_func_name, h.chunk_target_size)
FROM _timescaledb_catalog.hypertable AS h
JOIN relation AS r ON r.name = format('%I.%I', h.schema_name, h.table_name)
WHERE h.chunk_target_size > 0
UNION ALL
SELECT r.object, 1, 0, 'chunks in tablespace ' || quote_ident(t.tablespace_name)
FROM _timescaledb_catalog.hypertable AS h
JOIN _timescaledb_catalog.tablespace AS t ON t.hypertable_id = h.id
JOIN relation AS r ON r.name = format('%I.%I', h.schema_name, h.table_name)
UNION ALL
SELECT
    r.object, 1, d.dimension_number::integer,
    format('dimension %s: %s on %I %s', d.dimension_number, lower(d.dimension_type), d.column_name, d.column_type)
    || coalesce(' chunk interval ' || d.time_interval::text, '')
    || coalesce(' chunk interval ' || d.integer_interval::text, '')
    || coalesce(' now by ' || d.integer_now_func::text, '') || coalesce(' partitions ' || d.num_partitions::text, '')
FROM dimension AS d
JOIN relation AS r ON r.name = format('%I.%I', d.hypertable_schema, d.hypertable_name)
UNION ALL
SELECT
    r.object, 1, 100 + s.attnum,
    format('compression of %I: ', s.attname)
    || concat_ws(
        ', ', 'segment by ' || s.segmentby_column_index::text,
        'order by ' || s.orderby_column_index::text || CASE WHEN s.orderby_asc THEN ' ascending' ELSE ' descending' END
        || CASE WHEN s.orderby_nullsfirst THEN ' nulls first' ELSE ' nulls last' END
    )
FROM (
    SELECT c.*, a.attnum
    FROM timescaledb_information.compression_settings AS c
    JOIN relation AS t ON t.name = format('%I.%I', c.hypertable_schema, c.hypertable_name)
    JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attname = c.attname
) AS s
JOIN relation AS r ON r.name = format('%I.%I', s.hypertable_schema, s.hypertable_name)
UNION ALL
SELECT
    format('job %I.%I', j.proc_schema, j.proc_name)
    || coalesce(
        ' on ' || quote_ident(j.hypertable_schema) || '.'
        || regexp_replace(quote_ident(j.hypertable_name), '(_materialized_hypertable_)\d+', '\1'), ''
    ),
    0, 0,
    format(
        'every %s, at most %s, retries %s after %s',
        j.schedule_interval, j.max_runtime, j.max_retries, j.retry_period
    )
    || CASE WHEN j.scheduled THEN '' ELSE ' (not scheduled)' END
    || coalesce(' config ' || (j.config - 'hypertable_id' - 'mat_hypertable_id')::text, '')
    || CASE WHEN r.name = 'owner' THEN '' ELSE ' as ' || coalesce(r.name, 'a role that is gone') END
FROM job AS j
LEFT JOIN pg_roles AS o ON o.rolname = j.owner::text
LEFT JOIN role AS r ON r.oid = o.oid
WHERE j.job_id >= 1000
UNION ALL
-- Those that the engine brings run its own functions: the telemetry, or one that has a check function of the same name.
SELECT format('job %s of TimescaleDB', j.job_id), 0, 0, format('runs %I.%I', j.proc_schema, j.proc_name)
FROM job AS j
LEFT JOIN pg_namespace AS n ON n.nspname = j.proc_schema
WHERE j.job_id < 1000
AND (
    j.hypertable_name IS NOT NULL
    OR coalesce(to_jsonb(j) ->> 'check_name', 'policy_telemetry_check') <> j.proc_name || '_check'
    OR (SELECT count(*) FROM member AS m WHERE m.classid = 'pg_namespace'::regclass AND m.objid = n.oid) = 0
    OR EXISTS (
        SELECT FROM pg_proc AS p
        WHERE p.pronamespace = n.oid AND p.proname = j.proc_name
        AND p.oid NOT IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_proc'::regclass)
    )
)
UNION ALL
SELECT 'extension timescaledb', 1, 0, 'without ' || b.kind || ' ' || b.name
FROM (
    VALUES
    ('event trigger', 'timescaledb_ddl_command_end'), ('event trigger', 'timescaledb_ddl_sql_drop'),
    ('trigger', 'metadata_insert_trigger')
) AS b (kind, name)
WHERE NOT EXISTS (
    SELECT FROM pg_event_trigger AS e JOIN pg_proc AS p ON p.oid = e.evtfoid
    WHERE e.evtname = b.name AND p.proname = 'process_ddl_event'
    UNION ALL
    SELECT FROM pg_trigger AS t JOIN member AS m ON m.classid = 'pg_class'::regclass AND m.objid = t.tgrelid
    WHERE t.tgname = b.name
)
UNION ALL
SELECT r.object, 10, 6, 'without the trigger that keeps rows out of a hypertable''s own table'
FROM _timescaledb_catalog.hypertable AS h
JOIN relation AS r ON r.name = format('%I.%I', h.schema_name, h.table_name)
JOIN pg_extension AS e
    ON e.extname = 'timescaledb' AND string_to_array(substring(e.extversion FROM '^\d+\.\d+'), '.')::integer[] < '{2,23}'
WHERE NOT EXISTS (
    SELECT FROM pg_trigger AS t
    WHERE t.tgrelid = r.oid AND t.tgname = 'ts_insert_blocker' AND t.tgenabled = 'O'
)
