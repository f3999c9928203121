-- Where the chunks of a hypertable differ from it: indexes, foreign keys, CHECK constraints, triggers, rules. TimescaleDB
-- itself adds one CHECK for each dimension. Numbers of chunks are left out of the names, for they differ.
WITH chunk AS MATERIALIZED (
    SELECT
        i.inhrelid AS oid, i.inhparent AS parent, r.object, c.relowner AS owner,
        coalesce(c.relacl, acldefault('r', c.relowner)) AS acl, c.relrowsecurity OR c.relforcerowsecurity AS has_policies,
        EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) AS has_column_privileges
    FROM known AS k
    JOIN pg_inherits AS i ON i.inhrelid = k.oid
    JOIN relation AS r ON r.oid = i.inhparent
    JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relkind = 'r'
),
key AS MATERIALIZED (
    SELECT
        i.indrelid AS relation,
        concat_ws(
            ' ', 'index', CASE WHEN i.indisprimary THEN 'primary' WHEN i.indisunique THEN 'unique' END, m.amname,
            '(' || (
                SELECT string_agg(coalesce(quote_ident(a.attname), 'expression'), ', ' ORDER BY k.number)
                FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, number)
                LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            ) || ')', CASE WHEN i.indpred IS NOT NULL THEN 'partial' END
        ) AS line,
        i.indoption::text || i.indclass::text || i.indcollation::text || i.indnkeyatts AS detail,
        i.indisvalid AND i.indisready AND i.indislive AS valid
    FROM pg_index AS i
    JOIN pg_class AS x ON x.oid = i.indexrelid
    JOIN pg_am AS m ON m.oid = x.relam
    WHERE i.indrelid IN (SELECT c.oid FROM chunk AS c UNION SELECT c.parent FROM chunk AS c)
    AND i.indexrelid NOT IN (SELECT b.oid FROM being_rebuilt AS b)
    UNION ALL
    SELECT
        f.conrelid,
        'foreign key (' || (
            SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.number)
            FROM unnest(f.conkey) WITH ORDINALITY AS k (attnum, number)
            JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.attnum
        ) || ') to ' || f.confrelid::regclass::text,
        f.confkey::text || f.confupdtype::text || f.confdeltype::text || f.condeferrable::text,
        f.convalidated AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgconstraint = f.oid AND t.tgenabled <> 'O')
    FROM pg_constraint AS f
    WHERE f.contype = 'f' AND f.conrelid IN (SELECT c.oid FROM chunk AS c UNION SELECT c.parent FROM chunk AS c)
),
kept AS MATERIALIZED (
    SELECT k.relation, k.line, k.detail, count(*) AS number, bool_and(k.valid) AS valid FROM key AS k GROUP BY 1, 2, 3
)
SELECT c.object, 10, 0, 'chunks without ' || h.line || ': ' || count(*)
FROM chunk AS c
JOIN kept AS h ON h.relation = c.parent AND h.valid
LEFT JOIN kept AS k ON k.relation = c.oid AND k.line = h.line AND k.detail = h.detail AND k.valid
WHERE k.number IS DISTINCT FROM h.number
GROUP BY c.object, h.line
UNION ALL
SELECT c.object, 10, 1, 'chunks with ' || k.line || ' of their own: ' || count(*)
FROM chunk AS c
JOIN kept AS k ON k.relation = c.oid
LEFT JOIN kept AS h ON h.relation = c.parent AND h.line = k.line AND h.detail = k.detail
WHERE h.number IS NULL
GROUP BY c.object, k.line
UNION ALL
SELECT s.object, 10, 2, 'chunks with CHECK constraints of their own: ' || count(DISTINCT s.oid)
FROM (
    SELECT c.object, c.oid, f.conkey
    FROM chunk AS c
    JOIN pg_constraint AS f ON f.conrelid = c.oid AND f.contype = 'c' AND f.coninhcount = 0
    LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND ARRAY[a.attnum] = f.conkey
    LEFT JOIN timescaledb_information.dimensions AS d
        ON c.object = format('table %I.%I', d.hypertable_schema, d.hypertable_name) AND d.column_name = a.attname
    GROUP BY c.object, c.oid, f.conkey
    HAVING count(DISTINCT f.oid) > 1 OR count(d.column_name) = 0
) AS s
GROUP BY s.object
UNION ALL
SELECT c.object, 10, 3, 'chunks with trigger ' || quote_ident(t.tgname) || ' of their own: ' || count(*)
FROM chunk AS c
JOIN pg_trigger AS t ON t.tgrelid = c.oid AND NOT t.tgisinternal
WHERE NOT EXISTS (SELECT FROM pg_trigger AS p WHERE p.tgrelid = c.parent AND p.tgname = t.tgname AND p.tgfoid = t.tgfoid)
GROUP BY c.object, t.tgname
UNION ALL
SELECT c.object, 10, 4, 'chunks with rule ' || quote_ident(w.rulename) || ' of their own: ' || count(*)
FROM chunk AS c
JOIN pg_rewrite AS w ON w.ev_class = c.oid
GROUP BY c.object, w.rulename
UNION ALL
-- TimescaleDB gives each chunk the owner and the privileges of its hypertable.
SELECT s.object, 10, 4, 'chunks with ' || s.what || ' of their own: ' || count(*)
FROM (
    SELECT c.object, x.what
    FROM chunk AS c
    JOIN pg_class AS h ON h.oid = c.parent
    CROSS JOIN LATERAL (VALUES
        ('an owner', c.owner <> h.relowner),
        ('row-level security', c.has_policies AND NOT h.relrowsecurity),
        (
            'privileges',
            c.acl <> coalesce(h.relacl, acldefault('r', h.relowner)) AND EXISTS (
                SELECT a.grantee, a.privilege_type, a.is_grantable FROM aclexplode(c.acl) AS a WHERE a.grantee <> c.owner
                EXCEPT
                SELECT a.grantee, a.privilege_type, a.is_grantable FROM aclexplode(h.relacl) AS a
            ) OR c.has_column_privileges AND NOT EXISTS (
                SELECT FROM pg_attribute AS a WHERE a.attrelid = h.oid AND a.attacl IS NOT NULL
            )
        )
    ) AS x (what, is_so)
    WHERE x.is_so
) AS s
GROUP BY s.object, s.what
UNION ALL
-- TimescaleDB takes a table for a hypertable by its name: one that replaced another has no chunk or trigger.
SELECT r.object, 10, 5, 'chunks in the catalog alone: ' || count(*)
FROM _timescaledb_catalog.chunk AS c
JOIN _timescaledb_catalog.hypertable AS h ON h.id = c.hypertable_id
JOIN relation AS r ON r.name = format('%I.%I', h.schema_name, h.table_name)
WHERE (to_jsonb(c) ->> 'dropped')::boolean IS NOT TRUE
AND NOT EXISTS (
    SELECT FROM pg_inherits AS i JOIN named AS n ON n.oid = i.inhrelid
    WHERE i.inhparent = r.oid AND format('%I.%I', n.space, n.name) = coalesce(
        to_jsonb(c) ->> 'relid', format('%I.%I', to_jsonb(c) ->> 'schema_name', to_jsonb(c) ->> 'table_name')
    )
)
GROUP BY r.object
UNION ALL
SELECT r.object, 10, 6, 'without the trigger that keeps rows out of a hypertable''s own table'
FROM _timescaledb_catalog.hypertable AS h
JOIN relation AS r ON r.name = format('%I.%I', h.schema_name, h.table_name)
JOIN pg_extension AS e
    ON e.extname = 'timescaledb' AND string_to_array(substring(e.extversion FROM '^\d+\.\d+'), '.')::integer[] < '{2,23}'
WHERE NOT EXISTS (
    SELECT FROM pg_trigger AS t
    WHERE t.tgrelid = r.oid AND t.tgname = 'ts_insert_blocker' AND t.tgenabled = 'O'
)
