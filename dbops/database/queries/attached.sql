-- What blocks a drop of a database, even by force.
SELECT 'prepared transactions', p.gid FROM pg_catalog.pg_prepared_xacts AS p WHERE p.database = %s
UNION ALL
SELECT 'replication slots', s.slot_name FROM pg_catalog.pg_replication_slots AS s WHERE s.database = %s
UNION ALL
SELECT 'subscriptions', s.subname FROM pg_catalog.pg_subscription AS s
JOIN pg_catalog.pg_database AS d ON d.oid = s.subdbid WHERE d.datname = %s
ORDER BY 1, 2
