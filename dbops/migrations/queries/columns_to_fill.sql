-- The columns that a new row of a table must have a value for, with an expression of some value; and, for those of a
-- foreign key, the table and the column that they refer to.
SELECT a.attname::text, CASE
        WHEN t.typtype = 'e' THEN pg_catalog.format('(pg_catalog.enum_range(NULL::%%s))[1]', a.atttypid::regtype)
        ELSE pg_catalog.format('%%L::%%s', CASE t.typcategory
            WHEN 'N' THEN '1' WHEN 'S' THEN 'a' WHEN 'B' THEN 'true' WHEN 'A' THEN '{}' WHEN 'D' THEN '2000-01-03'
            WHEN 'T' THEN '1 day' WHEN 'I' THEN '127.0.0.1' WHEN 'R' THEN 'empty'
            ELSE CASE t.typname WHEN 'uuid' THEN '00000000-0000-0000-0000-000000000001' ELSE '{}' END
        END, pg_catalog.format_type(a.atttypid, a.atttypmod)) END,
    k.confrelid::int8, f.attname::text
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_constraint AS k ON k.conrelid = a.attrelid AND k.contype = 'f' AND a.attnum = ANY (k.conkey)
LEFT JOIN pg_catalog.pg_attribute AS f
    ON f.attrelid = k.confrelid AND f.attnum = k.confkey[pg_catalog.array_position(k.conkey, a.attnum)]
WHERE a.attrelid = %(table)s::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  AND (a.attname = ANY (%(given)s) OR (a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''))
