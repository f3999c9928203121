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
SELECT y.object, 3, 1, 'constraint ' || quote_ident(c.conname) || ' comment ' || to_json(d.description)
FROM type AS y
JOIN pg_constraint AS c ON c.contypid = y.oid AND c.contype = 'c'
JOIN pg_description AS d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = c.oid
UNION ALL
SELECT y.object, 2, a.attnum, 'attribute ' || quote_ident(a.attname) || ': ' || format_type(a.atttypid, a.atttypmod)
FROM type AS y
JOIN pg_type AS t ON t.oid = y.oid AND t.typtype = 'c'
JOIN pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT y.object, 2, a.attnum, 'attribute ' || quote_ident(a.attname) || ' comment ' || to_json(d.description)
FROM type AS y
JOIN pg_type AS t ON t.oid = y.oid AND t.typtype = 'c'
JOIN pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_description AS d ON d.classoid = 'pg_class'::regclass AND d.objoid = a.attrelid AND d.objsubid = a.attnum
UNION ALL
SELECT
    y.object, 0, 2,
    'range of ' || format_type(g.rngsubtype, NULL)
    || CASE WHEN g.rngcollation <> b.typcollation THEN ' collate ' || g.rngcollation::regcollation::text ELSE '' END
    || CASE WHEN o.opcdefault THEN '' ELSE ' operator class ' || quote_ident(o.opcname) END
    || CASE WHEN g.rngcanonical <> 0 THEN ' canonical ' || g.rngcanonical::text ELSE '' END
    || CASE WHEN g.rngsubdiff <> 0 THEN ' difference ' || g.rngsubdiff::text ELSE '' END
FROM type AS y
JOIN pg_range AS g ON g.rngtypid = y.oid
JOIN pg_type AS b ON b.oid = g.rngsubtype
JOIN pg_opclass AS o ON o.oid = g.rngsubopc
UNION ALL
SELECT y.object, 0, 2, format('base type: input %s, output %s, length %s', t.typinput, t.typoutput, t.typlen)
FROM type AS y JOIN pg_type AS t ON t.oid = y.oid AND t.typtype = 'b'
