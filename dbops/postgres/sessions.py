"""Sessions: which are connected, which block another one, and how to end one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from dbops.postgres.connection import APPLICATION, Connection
from dbops.postgres.sqlfiles import sql_file
from dbops.postgres.waiting import attempts


@dataclass(frozen=True, slots=True)
class Session:
    """One session; `endable` is whether the connecting role may end it; `since` is when its state began.

    Another role's session shows neither its state nor its query to a role without rights; a query that may hold a
    password is not shown at all.
    """

    pid: int
    user: str
    application: str
    address: str
    state: str
    since: str
    query: str
    endable: bool

    def __str__(self) -> str:
        application = f", application {self.application}" if self.application else ""
        address = "" if self.address == "local" else f", from {self.address}"
        query = f": {self.query}" if self.query else ""
        return f"process {self.pid} (role {self.user}{application}{address}, {self.state} since {self.since}{query})"


def sessions_query(condition: str) -> str:
    """Return the query for the sessions of pg_stat_activity (as `a`) for which a condition of ours holds."""
    return sql_file("dbops.postgres", "sessions").replace("{condition}", condition)


def sessions(connection: Connection, condition: str, *parameters: object) -> tuple[Session, ...]:
    """Return the sessions of pg_stat_activity (as `a`) for which a condition of ours holds, the oldest first."""
    rows: list[Any] = connection.execute(sessions_query(condition).encode(), parameters).fetchall()
    return tuple(Session(*row) for row in rows)


def session_of(connection: Connection, pid: int) -> str:
    """Return in words the session of a process."""
    found = sessions(connection, "a.pid = %s", pid)
    return str(found[0]) if found else "a session that has just ended"


# Of a database, but for some processes: without TimescaleDB's workers and autovacuum.
IN_DATABASE = (
    "a.datname = %s AND a.pid <> pg_catalog.pg_backend_pid() AND a.pid <> ALL (%s) AND a.usesysid IS NOT NULL"
    " AND coalesce(a.backend_type, 'client backend') IN ('client backend', 'walsender', 'background worker')"
    " AND a.application_name NOT LIKE 'TimescaleDB Background Worker%%'"
)


def sessions_in(connection: Connection, database: str, *, except_for: tuple[int, ...] = ()) -> tuple[Session, ...]:
    """Return the sessions in a database, without TimescaleDB's workers, autovacuum and some processes of ours."""
    return sessions(connection, IN_DATABASE, database, list(except_for))


def sessions_that_stay(
    connection: Connection, database: str, seconds: float, *, only_ours: bool = False
) -> tuple[Session, ...]:
    """Return the sessions in a database; those that have just been closed get so many seconds to be gone.

    With `only_ours` it is only this tool's own sessions that are waited for.
    """
    left: tuple[Session, ...] = ()
    for _ in attempts(seconds, 0.05):
        left = sessions_in(connection, database)
        if not any(session.application == APPLICATION or not only_ours for session in left):
            break
    return left


def sessions_blocking(connection: Connection, pid: int) -> tuple[str, ...]:
    """Return who holds the locks that a session waits for, in words."""
    found = sessions(connection, "a.pid = ANY (pg_catalog.pg_blocking_pids(%s))", pid)
    row: Any = connection.execute("SELECT 0 = ANY (pg_catalog.pg_blocking_pids(%s))", [pid]).fetchone()
    return (*(str(session) for session in found), *(("a prepared transaction",) if row[0] else ()))


def end(connection: Connection, session: Session) -> bool:
    """End a session; False if it is gone already or may not be ended."""
    try:
        row: Any = connection.execute("SELECT pg_catalog.pg_terminate_backend(%s)", [session.pid]).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return False
    return bool(row[0])
