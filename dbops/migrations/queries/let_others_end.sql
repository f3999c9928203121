-- Wait for the transactions of this database that are open now: what they have made is not seen until they end.
DO $$
DECLARE
    others xid[] := ARRAY(
        SELECT l.transactionid FROM pg_catalog.pg_locks AS l
        LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
        LEFT JOIN pg_catalog.pg_prepared_xacts AS p ON p.transaction = l.transactionid
        WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
          AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
          AND pg_catalog.current_database() IN (a.datname, p.database));
    patience interval := nullif(pg_catalog.current_setting('lock_timeout'), '0');
    pids text;
BEGIN
    LOOP
        SELECT pg_catalog.string_agg(DISTINCT coalesce('process ' || l.pid, 'a prepared transaction'), ', ') INTO pids
        FROM pg_catalog.pg_locks AS l
        WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
          AND l.transactionid = ANY (others);
        EXIT WHEN pids IS NULL;
        IF pg_catalog.clock_timestamp() > pg_catalog.statement_timestamp() + patience THEN
            RAISE lock_not_available USING MESSAGE =
                'transactions in the database must end before code of other roles can be excluded: ' || pids;
        END IF;
        PERFORM pg_catalog.pg_sleep(0.01);
    END LOOP;
END $$
