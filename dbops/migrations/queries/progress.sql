-- What a session, by its process ID, builds or copies now: the phase, and how much of how much is done.
SELECT p.phase, p.done, p.total FROM (
    SELECT pid, phase, blocks_done + tuples_done, blocks_total + tuples_total
    FROM pg_catalog.pg_stat_progress_create_index
    UNION ALL SELECT pid, phase, heap_blks_scanned, heap_blks_total FROM pg_catalog.pg_stat_progress_cluster
    UNION ALL SELECT pid, 'copying', bytes_processed, bytes_total FROM pg_catalog.pg_stat_progress_copy
) AS p (pid, phase, done, total) WHERE p.pid = %s
