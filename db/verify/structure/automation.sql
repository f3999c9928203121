-- Nothing in the database acts by itself: what runs, and when, is decided outside. What TimescaleDB brings
-- (members of the extension, and jobs with an id below 1000) and the internal triggers of foreign keys are
-- looked past.
WITH member (class, object) AS MATERIALIZED (
    SELECT
        classid,
        objid
    FROM pg_catalog.pg_depend
    WHERE refclassid = 'pg_catalog.pg_extension'::regclass AND deptype = 'e'
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
        AND NOT EXISTS (
            SELECT
            FROM member
            WHERE member.class = 'pg_catalog.pg_proc'::regclass AND member.object = trigger_of.tgfoid
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
