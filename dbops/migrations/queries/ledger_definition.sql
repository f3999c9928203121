-- What later commands rely on: the ledger's columns, constraints and label, and that nothing else acts on what is written.
-- In one text, which a run compares before each commit. That the acting role may read and write the ledger shows there and
-- then, since it does both after the files.
SELECT pg_catalog.concat_ws(' ', c.oid, c.relhasrules, c.relhastriggers, c.relrowsecurity,
    pg_catalog.obj_description(n.oid, 'pg_namespace'),
    (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attname, a.atttypid, a.attnotnull,
        pg_catalog.pg_get_expr(d.adbin, d.adrelid)), ', ' ORDER BY a.attnum)
     FROM pg_catalog.pg_attribute AS a
     LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    (SELECT pg_catalog.string_agg(k.conname || ' ' || pg_catalog.pg_get_constraintdef(k.oid), ', ' ORDER BY k.conname)
     FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid))
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'dbops' AND c.relname = 'schema_migrations'
