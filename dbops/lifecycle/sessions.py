"""Who is connected to a database, and ending those that may be ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from dbops.postgres import Connection

# Another role's session shows neither type nor query to a role without rights; its application name it does show.
LIST = """
SELECT a.pid, coalesce(a.usename, ''), a.application_name, coalesce(host(a.client_addr), 'local'),
       coalesce(a.state, 'unknown'), coalesce(a.state_change::text, a.backend_start::text, 'unknown'),
       me.rolsuper OR (NOT coalesce(r.rolsuper, TRUE) AND
           (pg_has_role(a.usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE')))
FROM pg_stat_activity a
JOIN pg_roles me ON me.rolname = current_user
LEFT JOIN pg_roles r ON r.oid = a.usesysid
WHERE a.datname = %s AND a.pid <> pg_backend_pid() AND a.usesysid IS NOT NULL
  AND coalesce(a.backend_type, 'client backend') IN ('client backend', 'walsender', 'background worker')
  AND a.application_name NOT LIKE 'TimescaleDB Background Worker%%'
ORDER BY a.backend_start, a.pid
"""


@dataclass(frozen=True, slots=True)
class Session:
    """One session in a database; `endable` is whether the connecting role may end it."""

    pid: int
    user: str
    application: str
    address: str
    state: str
    since: str
    endable: bool

    def __str__(self) -> str:
        name = f", {self.application}" if self.application else ""
        return f"process {self.pid}: role {self.user}{name}, from {self.address}, {self.state} since {self.since}"


def sessions(connection: Connection, database: str, *, own: tuple[int, ...] = ()) -> tuple[Session, ...]:
    """Return the sessions in a database, TimescaleDB's scheduler, autovacuum and our own aside."""
    rows: list[Any] = connection.execute(LIST, [database]).fetchall()
    return tuple(Session(*row) for row in rows if row[0] not in own)


def end(connection: Connection, session: Session) -> bool:
    """End a session; False if it is gone already or may not be ended."""
    try:
        row: Any = connection.execute("SELECT pg_terminate_backend(%s)", [session.pid]).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return False
    return bool(row[0])
