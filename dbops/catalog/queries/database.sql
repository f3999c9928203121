-- What belongs to the database as a whole. An extension's version is the engine's, not the schema's: it is left out.
-- Rarer kinds: that they are there is what counts. Those with an oid below 16384 come with PostgreSQL.
WITH rare AS (
    SELECT tableoid, oid FROM pg_am UNION ALL SELECT tableoid, oid FROM pg_cast
    UNION ALL SELECT tableoid, oid FROM pg_collation UNION ALL SELECT tableoid, oid FROM pg_conversion
    UNION ALL SELECT tableoid, oid FROM pg_language UNION ALL SELECT tableoid, oid FROM pg_opclass
    UNION ALL SELECT tableoid, oid FROM pg_operator UNION ALL SELECT tableoid, oid FROM pg_opfamily
    UNION ALL SELECT tableoid, oid FROM pg_ts_config UNION ALL SELECT tableoid, oid FROM pg_ts_dict
    UNION ALL SELECT tableoid, oid FROM pg_ts_parser UNION ALL SELECT tableoid, oid FROM pg_ts_template
    UNION ALL SELECT tableoid, oid FROM pg_transform
)
SELECT 'extension ' || quote_ident(e.extname), 0, 0, 'in schema ' || quote_ident(n.nspname)
FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
UNION ALL
SELECT
    'publication ' || quote_ident(p.pubname), 0, 2,
    concat_ws(
        ', ', CASE WHEN p.puballtables THEN 'all tables' END, CASE WHEN p.pubinsert THEN 'insert' END,
        CASE WHEN p.pubupdate THEN 'update' END, CASE WHEN p.pubdelete THEN 'delete' END,
        CASE WHEN p.pubtruncate THEN 'truncate' END, CASE WHEN p.pubviaroot THEN 'via root' END
    )
FROM pg_publication AS p
UNION ALL
SELECT
    'publication ' || quote_ident(p.pubname), 3, 0,
    'table ' || r.prrelid::regclass::text
    || coalesce(' columns ' || (
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
        FROM pg_attribute AS a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)
    ), '')
    || coalesce(' where ' || pg_get_expr(r.prqual, r.prrelid), '')
FROM pg_publication AS p JOIN pg_publication_rel AS r ON r.prpubid = p.oid
UNION ALL
SELECT 'publication ' || quote_ident(p.pubname), 3, 0, 'schema ' || n.pnnspid::regnamespace::text
FROM pg_publication AS p JOIN pg_publication_namespace AS n ON n.pnpubid = p.oid
UNION ALL
SELECT
    'subscription ' || quote_ident(s.subname), 0, 2,
    'to ' || array_to_string(s.subpublications, ', ') || CASE WHEN s.subenabled THEN '' ELSE ' (disabled)' END
FROM pg_subscription AS s
WHERE s.subdbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
UNION ALL
SELECT
    'event trigger ' || quote_ident(e.evtname), 0, 2,
    'on ' || e.evtevent || ' execute ' || e.evtfoid::regprocedure::text
    || coalesce(' when tag in ' || e.evttags::text, '')
    || CASE WHEN e.evtenabled = 'O' THEN '' ELSE ' (enabled: ' || e.evtenabled::text || ')' END
FROM pg_event_trigger AS e
WHERE e.evtenabled <> 'O'
OR NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_event_trigger'::regclass AND m.objid = e.oid)
UNION ALL
SELECT
    'server ' || quote_ident(s.srvname), 0, 2,
    'of ' || quote_ident(f.fdwname) || coalesce(' type ' || quote_literal(s.srvtype), '')
    || coalesce(' version ' || quote_literal(s.srvversion), '') || coalesce(' options ' || s.srvoptions::text, '')
FROM pg_foreign_server AS s JOIN pg_foreign_data_wrapper AS f ON f.oid = s.srvfdw
UNION ALL
SELECT 'foreign-data wrapper ' || quote_ident(f.fdwname), 0, 2, 'options ' || f.fdwoptions::text
FROM pg_foreign_data_wrapper AS f
WHERE f.fdwoptions IS NOT NULL
AND NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_foreign_data_wrapper'::regclass AND m.objid = f.oid)
UNION ALL
SELECT
    i.type || ' ' || i.identity, 0, 2,
    CASE c.castcontext WHEN 'i' THEN 'implicit' WHEN 'a' THEN 'as assignment' ELSE 'explicit' END
    || CASE c.castmethod WHEN 'f' THEN ' with ' || c.castfunc::regprocedure::text WHEN 'i' THEN ' with inout' ELSE '' END
FROM pg_cast AS c CROSS JOIN LATERAL pg_identify_object('pg_cast'::regclass, c.oid, 0) AS i
WHERE c.oid >= 16384 AND i.identity !~ '\mpg_temp(_\d+)?\.'
AND NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_cast'::regclass AND m.objid = c.oid)
UNION ALL
-- The column with an ICU locale has another name in each version.
SELECT
    i.type || ' ' || i.identity, 0, 2,
    concat_ws(
        ', ', 'provider ' || c.collprovider::text,
        'locale ' || coalesce(v.fields ->> 'colllocale', v.fields ->> 'colliculocale'),
        'collate ' || c.collcollate, 'ctype ' || c.collctype, 'rules ' || (v.fields ->> 'collicurules'),
        CASE WHEN NOT c.collisdeterministic THEN 'not deterministic' END
    )
FROM pg_collation AS c
CROSS JOIN LATERAL to_jsonb(c) AS v (fields)
CROSS JOIN LATERAL pg_identify_object('pg_collation'::regclass, c.oid, 0) AS i
WHERE c.oid >= 16384
AND NOT EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_collation'::regclass AND m.objid = c.oid)
UNION ALL
SELECT i.type || ' ' || i.identity, 0, 0, NULL
FROM rare AS r CROSS JOIN LATERAL pg_identify_object(r.tableoid, r.oid, 0) AS i
WHERE r.oid >= 16384
AND NOT EXISTS (SELECT FROM member AS m WHERE m.classid = r.tableoid AND m.objid = r.oid)
AND i.identity !~ '\mpg_temp(_\d+)?\.'
UNION ALL
-- Settings with which rows are not what the schema says: triggers and foreign keys are off, hypertables take no rows.
SELECT 'database', 0, 0, 'setting ' || s.setting || coalesce(' of role ' || r.name, '')
FROM (
    SELECT d.setrole, d.setdatabase, unnest(d.setconfig) AS setting
    FROM pg_db_role_setting AS d
    WHERE d.setdatabase IN (0, (SELECT b.oid FROM pg_database AS b WHERE b.datname = current_database()))
    UNION
    SELECT 0, b.oid, 'timescaledb.restoring=' || current_setting('timescaledb.restoring', true)
    FROM pg_database AS b WHERE b.datname = current_database()
) AS s
LEFT JOIN role AS r ON r.oid = s.setrole AND r.oid <> 0
WHERE s.setting ~* '^timescaledb\.restoring=(on|t|tr|tru|true|y|ye|yes|1)$'
OR s.setdatabase <> 0 AND s.setting ~* '^session_replication_role=replica$'
