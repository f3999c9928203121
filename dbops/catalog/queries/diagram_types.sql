-- The enumerated types with their labels in order.
SELECT
    s.name || '.' || quote_ident(t.typname), array_agg(e.enumlabel::text ORDER BY e.enumsortorder),
    coalesce(obj_description(t.oid, 'pg_type'), '')
FROM type AS y
JOIN pg_type AS t ON t.oid = y.oid
JOIN space AS s ON s.oid = t.typnamespace
JOIN pg_enum AS e ON e.enumtypid = t.oid
GROUP BY s.name, t.oid, t.typname
ORDER BY s.name COLLATE "C", t.typname COLLATE "C"
