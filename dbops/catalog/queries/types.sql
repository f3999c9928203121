-- Enumerated types with their labels in order, domains, composite and range types.
SELECT y.object, 0, 2, 'labels ' || string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
FROM type AS y JOIN pg_enum AS e ON e.enumtypid = y.oid
GROUP BY y.object
UNION ALL
SELECT
    y.object, 0, 2,
    'is ' || format_type(t.typbasetype, t.typtypmod)
    || CASE WHEN t.typcollation <> b.typcollation THEN ' collate ' || t.typcollation::regcollation::text ELSE '' END
    || CASE WHEN t.typnotnull THEN ' not null' ELSE '' END || coalesce(' default ' || t.typdefault, '')
FROM type AS y
JOIN pg_type AS t ON t.oid = y.oid AND t.typtype = 'd'
JOIN pg_type AS b ON b.oid = t.typbasetype
UNION ALL
SELECT y.object, 3, 0, 'constraint ' || quote_ident(c.conname) || ': ' || pg_get_constraintdef(c.oid)
FROM type AS y JOIN pg_constraint AS c ON c.contypid = y.oid AND c.contype = 'c'
UNION ALL
SELECT y.object, 2, a.attnum, 'attribute ' || quote_ident(a.attname) || ': ' || format_type(a.atttypid, a.atttypmod)
FROM type AS y
JOIN pg_type AS t ON t.oid = y.oid AND t.typtype = 'c'
JOIN pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT y.object, 0, 2, 'range of ' || format_type(g.rngsubtype, NULL)
FROM type AS y JOIN pg_range AS g ON g.rngtypid = y.oid
UNION ALL
SELECT y.object, 0, 2, format('base type: input %s, output %s, length %s', t.typinput, t.typoutput, t.typlen)
FROM type AS y JOIN pg_type AS t ON t.oid = y.oid AND t.typtype = 'b'
