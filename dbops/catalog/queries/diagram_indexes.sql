-- The indexes of every table.
SELECT r.name, x.relname, pg_get_indexdef(x.oid)
FROM relation AS r
JOIN pg_index AS i ON i.indrelid = r.oid
JOIN pg_class AS x ON x.oid = i.indexrelid
ORDER BY r.name COLLATE "C", x.relname COLLATE "C"
