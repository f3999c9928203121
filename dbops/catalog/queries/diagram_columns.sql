-- The columns of every table, in order. The ledger is the runner's, not the application's: it is left out.
SELECT
    r.name, coalesce(obj_description(r.oid, 'pg_class'), ''), a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    CASE
        WHEN a.attidentity <> '' THEN 'identity'
        WHEN a.attgenerated <> '' THEN 'generated as ' || pg_get_expr(d.adbin, d.adrelid)
        ELSE coalesce(pg_get_expr(d.adbin, d.adrelid), '')
    END,
    coalesce(col_description(r.oid, a.attnum), '')
FROM relation AS r
JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE r.kind IN ('r', 'p') AND r.name NOT LIKE 'dbops.%'
ORDER BY r.name COLLATE "C", a.attnum
