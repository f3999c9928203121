-- The tables and materialized views whose rows could be lost, each with the table that people know it by: a chunk's
-- hypertable, a partition's parent. The ledger is not one of them (a rebuild writes it again), nor is what TimescaleDB
-- keeps for itself in its schemas; the owner of the extension may have made other tables members of it, which count. A
-- table that would run code of its owner is never queried.
WITH RECURSIVE timescale AS (
    SELECT d.objid FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'timescaledb'
    WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
      AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
), leaf AS (
    SELECT c.oid, n.nspname, c.relname, c.reltuples
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND (n.nspname, c.relname) <> ('dbops', 'schema_migrations')
      AND NOT (n.nspname IN ('_timescaledb_catalog', '_timescaledb_config', '_timescaledb_internal', '_timescaledb_cache')
               AND EXISTS (SELECT FROM timescale AS t WHERE t.objid = c.oid))
), part AS (
    SELECT l.oid AS leaf, coalesce(k.main, l.oid) AS root FROM leaf AS l LEFT JOIN (
        {chunks}) AS k ON k.chunk = l.oid
    UNION ALL
    SELECT p.leaf, i.inhparent FROM part AS p JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = p.root
), root AS (
    SELECT DISTINCT ON (p.leaf) p.leaf, p.root FROM part AS p
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = p.root)
    ORDER BY p.leaf, p.root
), untrusted_code AS MATERIALIZED ({untrusted_code}
)
SELECT l.nspname, l.relname, n.nspname, r.relname,
       greatest(l.reltuples, pg_catalog.pg_stat_get_live_tuples(l.oid), 0)::int8,
       l.oid, pg_catalog.pg_relation_size(l.oid) > 0,
       (SELECT f.reason FROM untrusted_code AS f WHERE f.relation IN (l.oid, r.oid) LIMIT 1),
       (SELECT a.attname FROM pg_catalog.pg_index AS i
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = r.oid AND i.indisvalid
          AND a.atttypid IN ('pg_catalog.date'::pg_catalog.regtype, 'pg_catalog.timestamp'::pg_catalog.regtype,
                             'pg_catalog.timestamptz'::pg_catalog.regtype)
        ORDER BY a.attnum LIMIT 1),
       {compressed}
FROM leaf AS l
JOIN root AS o ON o.leaf = l.oid
JOIN pg_catalog.pg_class AS r ON r.oid = o.root
JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
ORDER BY l.reltuples DESC, 1, 2
