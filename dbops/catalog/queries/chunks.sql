-- Where the chunks of a hypertable differ from it: indexes, foreign keys, CHECK constraints, triggers, rules, owner and
-- privileges. TimescaleDB itself adds one CHECK for each dimension. Numbers of chunks are left out of the names, for
-- they differ.
WITH chunk AS MATERIALIZED (
    SELECT
        i.inhrelid AS oid, i.inhparent AS parent, r.object, c.relowner AS owner, c.relacl AS acl,
        c.relrowsecurity OR c.relforcerowsecurity AS has_policies
    FROM known AS k
    JOIN pg_inherits AS i ON i.inhrelid = k.oid
    JOIN relation AS r ON r.oid = i.inhparent
    JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relkind = 'r'
),
-- Where a column was dropped, columns have other numbers in chunks that were made afterwards.
parent AS MATERIALIZED (
    SELECT p.oid, p.object, EXISTS (
        SELECT FROM pg_attribute AS a WHERE a.attrelid = p.oid AND a.attisdropped
    ) AS is_renumbered
    FROM (SELECT DISTINCT c.parent AS oid, c.object FROM chunk AS c) AS p
),
compared AS MATERIALIZED (
    SELECT c.oid, p.is_renumbered FROM chunk AS c JOIN parent AS p ON p.oid = c.parent
    UNION ALL
    SELECT p.oid, p.is_renumbered FROM parent AS p
),
-- What is compared is made of numbers, not of the definitions that PostgreSQL writes: those would lock every chunk.
key AS MATERIALIZED (
    SELECT
        c.oid AS relation, i.indexrelid AS part, c.is_renumbered,
        i.indkey::int2[] AS columns,
        concat_ws(
            ' ', 'index', i.indisprimary, i.indisunique, i.indoption, i.indclass, i.indcollation, i.indnkeyatts,
            i.indpred IS NOT NULL, x.relam
        ) AS detail,
        i.indisvalid AND i.indisready AND i.indislive AS valid
    FROM compared AS c
    JOIN pg_index AS i ON i.indrelid = c.oid
    JOIN pg_class AS x ON x.oid = i.indexrelid
    WHERE i.indexrelid NOT IN (SELECT b.oid FROM being_rebuilt AS b)
    UNION ALL
    SELECT
        c.oid, f.oid, c.is_renumbered, f.conkey,
        concat_ws(' ', f.confrelid, f.confkey, f.confupdtype, f.confdeltype, f.condeferrable),
        f.convalidated AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgconstraint = f.oid AND t.tgenabled <> 'O')
    FROM compared AS c
    JOIN pg_constraint AS f ON f.conrelid = c.oid AND f.contype = 'f'
),
kept AS MATERIALIZED (
    SELECT n.relation, n.shape, count(*) AS number, bool_and(n.valid) AS valid, min(n.part) AS part
    FROM (
        SELECT
            k.relation, k.part, k.valid,
            k.detail || CASE
                WHEN k.is_renumbered
                    THEN (
                        SELECT string_agg(coalesce(a.attname, 'expression'), ', ' ORDER BY u.number)
                        FROM unnest(k.columns) WITH ORDINALITY AS u (attnum, number)
                        LEFT JOIN pg_attribute AS a ON a.attrelid = k.relation AND a.attnum = u.attnum
                    )
                ELSE k.columns::text
            END AS shape
        FROM key AS k
    ) AS n
    GROUP BY n.relation, n.shape
),
-- Few rows, so that each chunk is compared with its own hypertable's parts and not with all others'.
original AS MATERIALIZED (
    SELECT k.* FROM kept AS k JOIN parent AS p ON p.oid = k.relation
),
difference AS MATERIALIZED (
    SELECT c.object, h.part, true AS is_lacking
    FROM chunk AS c
    JOIN original AS h ON h.relation = c.parent AND h.valid
    LEFT JOIN kept AS k ON k.relation = c.oid AND k.shape = h.shape AND k.valid
    WHERE k.number IS DISTINCT FROM h.number
    UNION ALL
    SELECT c.object, k.part, false
    FROM chunk AS c
    JOIN kept AS k ON k.relation = c.oid
    LEFT JOIN original AS h ON h.relation = c.parent AND h.shape = k.shape
    WHERE h.number IS NULL
),
check_of_its_own AS (
    SELECT c.object, c.oid
    FROM chunk AS c
    JOIN pg_constraint AS f ON f.conrelid = c.oid AND f.contype = 'c' AND f.coninhcount = 0
    LEFT JOIN (
        SELECT p.oid, p.object, ARRAY[a.attnum] AS columns, d.column_name
        FROM parent AS p
        JOIN dimension AS d
            ON p.object = format('table %I.%I', d.hypertable_schema, d.hypertable_name)
        JOIN pg_attribute AS a ON a.attrelid = p.oid AND a.attname = d.column_name
    ) AS d ON d.oid = c.parent AND (
        d.columns = f.conkey OR d.column_name = (
            SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = c.oid AND ARRAY[a.attnum] = f.conkey
        )
    )
    GROUP BY c.object, c.oid, f.conkey
    HAVING count(DISTINCT f.oid) > 1 OR count(d.oid) = 0
)
SELECT
    s.object, 10, CASE WHEN s.is_lacking THEN 0 ELSE 1 END,
    CASE WHEN s.is_lacking THEN 'chunks without ' ELSE 'chunks with ' END || s.line
    || CASE WHEN s.is_lacking THEN ': ' ELSE ' of their own: ' END || count(*)
FROM (
    SELECT
        d.object, d.is_lacking,
        concat_ws(
            ' ', 'index', CASE WHEN i.indisprimary THEN 'primary' WHEN i.indisunique THEN 'unique' END, m.amname,
            '(' || (
                SELECT string_agg(coalesce(quote_ident(a.attname), 'expression'), ', ' ORDER BY u.number)
                FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u (attnum, number)
                LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
            ) || ')', CASE WHEN i.indpred IS NOT NULL THEN 'partial' END
        ) AS line
    FROM difference AS d
    JOIN pg_index AS i ON i.indexrelid = d.part
    JOIN pg_class AS x ON x.oid = i.indexrelid
    JOIN pg_am AS m ON m.oid = x.relam
    UNION ALL
    SELECT
        d.object, d.is_lacking,
        'foreign key (' || (
            SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.number)
            FROM unnest(f.conkey) WITH ORDINALITY AS u (attnum, number)
            JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = u.attnum
        ) || ') to ' || f.confrelid::regclass::text
    FROM difference AS d
    JOIN pg_constraint AS f ON f.oid = d.part
) AS s
GROUP BY s.object, s.is_lacking, s.line
UNION ALL
SELECT s.object, 10, 2, 'chunks with CHECK constraints of their own: ' || count(DISTINCT s.oid)
FROM check_of_its_own AS s
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
            c.acl IS DISTINCT FROM h.relacl AND EXISTS (
                SELECT a.grantee, a.privilege_type, a.is_grantable FROM aclexplode(c.acl) AS a WHERE a.grantee <> c.owner
                EXCEPT
                SELECT a.grantee, a.privilege_type, a.is_grantable FROM aclexplode(h.relacl) AS a
            ) OR c.oid IN (SELECT g.relation FROM column_acl AS g)
            AND h.oid NOT IN (SELECT g.relation FROM column_acl AS g)
        )
    ) AS x (what, is_so)
    WHERE x.is_so
) AS s
GROUP BY s.object, s.what
UNION ALL
-- TimescaleDB takes a table for a hypertable by its name: one that replaced another has no chunk or trigger.
SELECT r.object, 10, 5, 'chunks in the catalog alone: ' || count(*)
FROM catalogued_chunk AS c
JOIN _timescaledb_catalog.hypertable AS h ON h.id = c.hypertable_id
JOIN relation AS r ON r.name = format('%I.%I', h.schema_name, h.table_name)
LEFT JOIN (
    SELECT i.inhparent, format('%I.%I', n.space, n.name) AS name
    FROM pg_inherits AS i JOIN named AS n ON n.oid = i.inhrelid
) AS i ON i.inhparent = r.oid AND i.name = c.name
WHERE NOT c.is_dropped AND NOT c.is_elsewhere AND i.name IS NULL
GROUP BY r.object
