-- The dimensions of every hypertable.
SELECT
    r.name, d.column_name, lower(d.dimension_type),
    coalesce(
        'chunks of ' || d.time_interval::text, 'chunks of ' || d.integer_interval::text,
        d.num_partitions::text || ' partitions'
    )
FROM timescaledb_information.dimensions AS d
JOIN relation AS r ON r.name = format('%I.%I', d.hypertable_schema, d.hypertable_name)
ORDER BY r.name COLLATE "C", d.dimension_number
