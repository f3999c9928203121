-- Nothing in the database acts by itself: what runs, and when, is decided outside. What TimescaleDB brings
-- (what its script made, its trigger on hypertables, and jobs with an id below 1000) and the internal triggers of
-- foreign keys are ignored. A member that ALTER EXTENSION ... ADD made is the database's own.
WITH member (class, object) AS MATERIALIZED (
    SELECT
        dependency.classid,
        dependency.objid
    FROM pg_catalog.pg_depend AS dependency
    WHERE
        dependency.refclassid = 'pg_catalog.pg_extension'::regclass
        AND dependency.deptype = 'e'
        AND NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_depend AS original
            WHERE
                original.classid = dependency.classid
                AND original.objid = dependency.objid
                AND original.deptype = 'n'
                AND age(original.xmin) > age(dependency.xmin)
        )
        AND NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_namespace AS namespace
            WHERE
                dependency.classid = 'pg_catalog.pg_namespace'::regclass
                AND namespace.oid = dependency.objid
                AND age(namespace.xmin) > age(dependency.xmin)
        )
),

relation (object, name, row_security) AS MATERIALIZED (
    SELECT
        class.oid,
        namespace.nspname || '.' || class.relname,
        class.relrowsecurity OR class.relforcerowsecurity
    FROM pg_catalog.pg_class AS class
    INNER JOIN pg_catalog.pg_namespace AS namespace ON class.relnamespace = namespace.oid
    WHERE
        class.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND class.relpersistence != 't'
        AND class.oid >= 16384
        AND NOT EXISTS (
            SELECT
            FROM member
            WHERE member.class = 'pg_catalog.pg_class'::regclass AND member.object = class.oid
        )
),

found (kind, name) AS (
    SELECT
        'triggers',
        trigger_of.tgname || ' on ' || relation.name
    FROM pg_catalog.pg_trigger AS trigger_of
    INNER JOIN relation ON trigger_of.tgrelid = relation.object
    WHERE
        NOT trigger_of.tgisinternal
        AND NOT (
            trigger_of.tgname = 'ts_insert_blocker'
            AND trigger_of.tgenabled = 'O'
            AND trigger_of.tgfoid IN (
                SELECT routine.oid
                FROM pg_catalog.pg_proc AS routine
                INNER JOIN member ON routine.oid = member.object AND member.class = 'pg_catalog.pg_proc'::regclass
                WHERE routine.proname = 'insert_blocker'
            )
            AND relation.name IN (
                SELECT hypertable.schema_name || '.' || hypertable.table_name
                FROM _timescaledb_catalog.hypertable AS hypertable
            )
        )
    UNION ALL
    SELECT
        'rules',
        rule.rulename || ' on ' || relation.name
    FROM pg_catalog.pg_rewrite AS rule
    INNER JOIN relation ON rule.ev_class = relation.object
    WHERE rule.rulename != '_RETURN'
    UNION ALL
    SELECT
        'row-level security',
        relation.name
    FROM relation
    WHERE relation.row_security
    UNION ALL
    SELECT
        'row-level security',
        policy.polname || ' on ' || relation.name
    FROM pg_catalog.pg_policy AS policy
    INNER JOIN relation ON policy.polrelid = relation.object
    UNION ALL
    SELECT
        'event triggers',
        event_trigger.evtname
    FROM pg_catalog.pg_event_trigger AS event_trigger
    WHERE
        NOT EXISTS (
            SELECT
            FROM member
            WHERE member.class = 'pg_catalog.pg_event_trigger'::regclass AND member.object = event_trigger.oid
        )
    UNION ALL
    SELECT
        'disabled event triggers',
        event_trigger.evtname
    FROM pg_catalog.pg_event_trigger AS event_trigger
    WHERE event_trigger.evtenabled != 'O'
    UNION ALL
    SELECT
        'default privileges',
        concat_ws(
            ' ', 'for ' || pg_get_userbyid(default_acl.defaclrole), 'in schema ' || namespace.nspname,
            'on objects of kind ' || default_acl.defaclobjtype::text
        )
    FROM pg_catalog.pg_default_acl AS default_acl
    LEFT JOIN pg_catalog.pg_namespace AS namespace ON default_acl.defaclnamespace = namespace.oid
    UNION ALL
    SELECT DISTINCT
        'settings that switch off triggers and inserts',
        setting.name
    FROM (
        SELECT
            unnest(role_setting.setconfig),
            role_setting.setdatabase
        FROM pg_catalog.pg_db_role_setting AS role_setting
        LEFT JOIN pg_catalog.pg_database AS database ON role_setting.setdatabase = database.oid
        WHERE role_setting.setdatabase = 0 OR database.datname = current_database()
        UNION
        SELECT
            'timescaledb.restoring=' || current_setting('timescaledb.restoring', true),
            0
    ) AS setting (name, database)
    WHERE
        setting.name ~* '^timescaledb\.restoring=(on|t|tr|tru|true|y|ye|yes|1)$'
        OR (setting.database != 0 AND setting.name ~* '^session_replication_role=replica$')
    UNION ALL
    SELECT
        'publications',
        publication.pubname
    FROM pg_catalog.pg_publication AS publication
    UNION ALL
    SELECT
        'subscriptions',
        subscription.subname
    FROM pg_catalog.pg_subscription AS subscription
    INNER JOIN pg_catalog.pg_database AS database ON subscription.subdbid = database.oid
    WHERE database.datname = current_database()
    UNION ALL
    SELECT
        'jobs and policies of TimescaleDB',
        concat_ws(' ', job.job_id, job.proc_schema || '.' || job.proc_name, 'on ' || job.hypertable_name)
    FROM timescaledb_information.jobs AS job
    WHERE job.job_id >= 1000
    UNION ALL
    SELECT
        'compression or columnstore settings',
        hypertable.hypertable_schema || '.' || hypertable.hypertable_name
    FROM timescaledb_information.hypertables AS hypertable
    WHERE hypertable.compression_enabled
    UNION ALL
    SELECT
        'continuous aggregates',
        aggregate.view_schema || '.' || aggregate.view_name
    FROM timescaledb_information.continuous_aggregates AS aggregate
),

expected (kind) AS (
    VALUES
    ('triggers'),
    ('rules'),
    ('row-level security'),
    ('event triggers'),
    ('disabled event triggers'),
    ('default privileges'),
    ('settings that switch off triggers and inserts'),
    ('publications'),
    ('subscriptions'),
    ('jobs and policies of TimescaleDB'),
    ('compression or columnstore settings'),
    ('continuous aggregates')
)

SELECT
    'no ' || expected.kind AS check_name,
    count(found.name) = 0 AS passed,
    'none' AS expected,
    coalesce(string_agg(found.name, ', ' ORDER BY found.name), 'none') AS actual
FROM expected
LEFT JOIN found ON expected.kind = found.kind
GROUP BY expected.kind
ORDER BY check_name;
