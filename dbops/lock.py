"""One operator at a time: a session lock on the maintenance database, per name, across machines."""

from __future__ import annotations

import hashlib
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from dbops import postgres
from dbops.errors import PreflightError, UsageError
from dbops.events import Message, Report, ignore
from dbops.postgres import Connection
from dbops.settings import Target

DEFAULT_TIMEOUT = 30.0
HOLDER = """
SELECT a.pid, a.usename, a.application_name, coalesce(host(a.client_addr), ''), a.backend_start::text
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::int8 << 32 | l.objid::int8) = %s::int8
"""


@dataclass(frozen=True, slots=True)
class OperatorLock:
    """The right to change one database, held as long as its session lives."""

    target: Target
    connection: Connection
    key: int
    pid: int

    def assert_held(self) -> None:
        """Raise PreflightError if the session that holds the lock is gone, or is no longer the same one."""
        with suppress(psycopg.Error):
            row: Any = self.connection.execute("SELECT pg_backend_pid()").fetchone()
            if row[0] == self.pid and _holder_pid(self.connection, self.key) == self.pid:
                return
        raise PreflightError(
            f"the operator's lock on {self.target.database} is lost",
            where=self.target.server,
            hint="Another operator may be at work by now: run `invoke db.status`, then the same command again.",
        )


def lock_key(kind: str, name: str) -> int:
    """Return the advisory lock's key for a name: 64 bits, signed, the same on every machine."""
    digest = hashlib.sha256(f"kapman-dbops/{kind}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def try_lock(connection: Connection, key: int) -> bool:
    """Take an advisory lock for the session if nobody has it."""
    row: Any = connection.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone()
    return bool(row[0])


def unlock(connection: Connection, key: int) -> None:
    """Give an advisory lock back, unless the session has already ended, which did the same."""
    with suppress(psycopg.Error):
        connection.execute("SELECT pg_advisory_unlock(%s)", [key])


@contextmanager
def operator_lock(
    target: Target, *, timeout: float = DEFAULT_TIMEOUT, report: Report = ignore
) -> Iterator[OperatorLock]:
    """Hold the lock of the target's database; wait up to `timeout` seconds for whoever has it.

    Raises PreflightError when the time is up, naming the holder, and when a pooler stands in between: the lock
    would belong to the pooler's session, not to this one; UsageError for more than one host: each connection may
    end at another server.
    """
    if any("," in target.parameters.get(name, "") for name in ("host", "hostaddr", "port")):
        raise UsageError(
            "more than one host is named, and the next connection may end at another server",
            where=target.server,
            hint="Name the one host whose database is meant in DATABASE_URL.",
        )
    key = lock_key("database", target.database)
    with postgres.maintenance(target) as connection:
        pid = direct_pid(connection, target)
        name = f"kapman-dbops {_whoami()}"
        connection.execute(sql.SQL("SET application_name = {}").format(sql.Literal(name)))
        if not try_lock(connection, key):
            try:
                _wait(connection, key, target, timeout, report)
            except KeyboardInterrupt as interrupt:
                interrupt.add_note(f"{target.database} was not touched.")
                raise
        try:
            yield OperatorLock(target, connection, key, pid)
        finally:
            unlock(connection, key)


def direct_pid(connection: Connection, target: Target) -> int:
    """Return the server's process behind a connection; PreflightError if it isn't the one that answered first."""
    row: Any = connection.execute("SELECT pg_backend_pid()").fetchone()
    pid = int(row[0])
    if pid == connection.info.backend_pid:
        return pid
    raise PreflightError(
        "the connection goes through a pooler, which cannot hold a lock for one operator",
        where=target.server,
        hint="Connect to PostgreSQL directly: put its own host and port into DATABASE_URL.",
    )


def _wait(connection: Connection, key: int, target: Target, timeout: float, report: Report) -> None:
    """Wait for the lock, telling who has it."""
    holder = _holder(connection, key)
    report(Message("INFO", f"waiting up to {timeout:g} s for {target.database}: {holder} is at work on it"))
    connection.execute(f"SET lock_timeout = {max(1, round(timeout * 1000))}")
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", [key])
    except psycopg.errors.LockNotAvailable:
        raise PreflightError(
            f"another operator is at work on {target.database}",
            where=target.server,
            notes=(f"held by {_holder(connection, key)}",),
            hint="Wait for it to finish, or wait longer with --timeout.",
        ) from None
    connection.execute("SET lock_timeout = 0")


def _holder(connection: Connection, key: int) -> str:
    """Return who holds the lock: user and machine, the server's process, since when."""
    row: Any = connection.execute(HOLDER, [key]).fetchone()
    if row is None:
        return "somebody who just finished"
    pid, role, application, address, since = row
    place = f" from {address}" if address else ""
    return f"{application.removeprefix('kapman-dbops ')} (role {role}{place}, process {pid}, since {since})"


def _holder_pid(connection: Connection, key: int) -> int | None:
    row: Any = connection.execute(HOLDER, [key]).fetchone()
    return None if row is None else int(row[0])


def _whoami() -> str:
    """Return this process for people: user@machine:pid."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"
