-- Lock the catalogs that have a row for whatever can run. Readers, and writers of tables, are not hindered; what creates
-- such an object in another session waits, and so does a new chunk of a hypertable.
LOCK TABLE
    pg_catalog.pg_proc, pg_catalog.pg_operator, pg_catalog.pg_cast, pg_catalog.pg_rewrite, pg_catalog.pg_trigger,
    pg_catalog.pg_event_trigger, pg_catalog.pg_policy, pg_catalog.pg_constraint, pg_catalog.pg_attrdef,
    pg_catalog.pg_index, pg_catalog.pg_statistic_ext
IN SHARE MODE
