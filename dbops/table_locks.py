"""Who keeps readers from a table."""

from __future__ import annotations

from dbops.postgres import Connection

# A read only ever waits for an access exclusive lock, or behind somebody who waits for one.
HOLDERS = """
SELECT format(
    '%I.%I is %s by process %s (%s)', n.nspname, c.relname,
    CASE WHEN l.granted THEN 'locked' ELSE 'about to be locked' END, l.pid,
    concat_ws(', ', 'role ' || a.usename, 'application ' || nullif(a.application_name, ''))
)
FROM pg_catalog.pg_locks AS l
JOIN pg_catalog.pg_class AS c ON c.oid = l.relation AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
WHERE l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
ORDER BY 1 LIMIT 5
"""


def holders(connection: Connection) -> tuple[str, ...]:
    """Return up to five sentences on tables of the connected database that are locked against readers, and by whom."""
    return tuple(str(row[0]) for row in connection.execute(HOLDERS).fetchall())
