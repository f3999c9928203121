"""The operator's lock: one operator per database, across machines; and who holds a lock."""

from __future__ import annotations

import hashlib
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from dbops.errors import Interrupted, PreflightError
from dbops.events import Message, Report, ignore
from dbops.postgres.connection import APPLICATION, Connection, maintenance, run_together
from dbops.postgres.sessions import sessions
from dbops.postgres.sqlfiles import sql_file
from dbops.settings import Target

# How long to wait for another operator of the same database, and for the sessions of a database to end, in seconds.
TIMEOUT = 30.0

# The processes that hold a session's advisory lock with a key, in whichever database.
HOLDING = """
SELECT l.pid FROM pg_catalog.pg_locks AS l
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND (l.classid::pg_catalog.int8 << 32 | l.objid::pg_catalog.int8) = %s::pg_catalog.int8
"""


def lock_key(kind: str, name: str) -> int:
    """Return the advisory lock's key for a name: 64 bits, signed, the same on every machine."""
    digest = hashlib.sha256(f"kapman-dbops/{kind}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def try_lock(connection: Connection, key: int) -> bool:
    """Take an advisory lock for the session if it is free."""
    row: Any = connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", [key]).fetchone()
    return bool(row[0])


def unlock(connection: Connection, key: int) -> None:
    """Release an advisory lock, unless the session has already ended, which releases it too."""
    with suppress(psycopg.Error):
        connection.execute("SELECT pg_catalog.pg_advisory_unlock(%s)", [key])


def refuse_standby(connection: Connection, target: Target) -> None:
    """Raise PreflightError on a server that cannot be written to; it says so when a session begins."""
    if connection.info.parameter_status("in_hot_standby") == "on":
        raise PreflightError(
            "the server is a standby, or is still recovering",
            where=target.server,
            hint="Connect to the primary server.",
            state="Nothing was changed.",
        )


@contextmanager
def operator_session(target: Target, *, timeout: float = TIMEOUT, report: Report = ignore) -> Iterator[Connection]:
    """Yield the session that works on the target's database from outside, and that holds the operator's lock on it.

    The lock is held as long as the session lives, so losing the connection stops the operation. Waits up to `timeout`
    seconds for another operator, and then as long for any other lock. Raises PreflightError when the time is up, naming
    the holder, on a standby, and where `connect` does.
    """
    key = lock_key("database", target.database)
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    # What others who wait for the lock are told of its holder.
    application = f"{APPLICATION} {user}@{socket.gethostname()}:{os.getpid()}"
    with maintenance(target, application) as connection:
        refuse_standby(connection, target)
        limit = f"SET lock_timeout = {max(1, round(timeout * 1000))}"
        trying = f"SELECT pg_catalog.pg_try_advisory_lock({key})"
        if run_together(connection, (), ignore, before=[limit, trying]).fetchone() != (True,):
            try:
                holder = lock_holder(connection, key)
                waiting = f"waiting up to {timeout:g} s for {target.database}, which is locked by {holder}"
                report(Message("INFO", waiting))
                connection.execute("SELECT pg_catalog.pg_advisory_lock(%s)", [key])
            except psycopg.errors.LockNotAvailable:
                raise PreflightError(
                    f"another operator is at work on {target.database}",
                    where=target.server,
                    notes=(f"held by {lock_holder(connection, key)}",),
                    hint="Wait for it to finish, or wait longer with --timeout.",
                ) from None
            except Interrupted as interruption:
                interruption.state = f"{target.database} was not changed."
                raise
        try:
            yield connection
        finally:
            unlock(connection, key)


def lock_holder(connection: Connection, key: int) -> str:
    """Return who holds a session advisory lock of this database."""
    here = "a.datname = pg_catalog.current_database()"
    found = sessions(connection, f"{here} AND a.pid IN ({HOLDING} AND l.database = a.datid)", key)
    return str(found[0]) if found else "a session that has just ended"


def tables_locked_against_reading(connection: Connection) -> tuple[str, ...]:
    """Return up to five sentences on tables of the connected database that cannot be read now, and who locks them.

    A read waits only for an ACCESS EXCLUSIVE lock, or behind a session that waits for one.
    """
    locks: list[Any] = connection.execute(sql_file("dbops.postgres", "locked_tables").encode()).fetchall()
    holders = {s.pid: s for s in sessions(connection, "a.pid = ANY (%s)", [pid for _, _, pid in locks])}
    return tuple(
        f"{table} is {'locked' if granted else 'about to be locked'} by {holders.get(pid, f'process {pid}')}"
        for table, granted, pid in locks
    )
