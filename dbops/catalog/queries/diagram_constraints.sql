-- The constraints of every table, with their columns and, for a foreign key, the table that it points to.
SELECT
    r.name, c.conname, c.contype::text, pg_get_constraintdef(c.oid),
    coalesce((
        SELECT array_agg(a.attname::text ORDER BY k.number)
        FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, number)
        JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
    ), '{}'),
    coalesce(t.name, '')
FROM relation AS r
JOIN pg_constraint AS c ON c.conrelid = r.oid AND c.contype IN ('c', 'f', 'p', 'u', 'x')
LEFT JOIN relation AS t ON t.oid = c.confrelid
ORDER BY r.name COLLATE "C", array_position('{p,u,f,c,x}', c.contype::text), c.conname COLLATE "C"
