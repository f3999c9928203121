"""One migration of a database at a time, and none while an operator works on the database from outside.

The lock is taken by the session that migrates, in the database itself. Operators take theirs in the maintenance
database before they look for this one; a migration takes this one before it looks for theirs. So one of the two sees
the other, and the migration makes way: it lets go, and waits for the operator to finish.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dbops import postgres
from dbops.errors import DbopsError, Interrupted, PreflightError, ServerError
from dbops.events import Message, Report, ignore
from dbops.postgres import Connection
from dbops.settings import Target

MIGRATION_LOCK = int.from_bytes(b"dbopsmig")
# The sessions (as `a`) that hold the migration lock of a database, as seen from any database of the server.
HOLDING_MIGRATION_LOCK = (
    "a.datname = %s AND a.pid IN ("
    "SELECT l.pid FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_database AS d ON d.oid = l.database"
    " WHERE d.datname = a.datname AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
    f" AND (l.classid::pg_catalog.int8 << 32 | l.objid::pg_catalog.int8) = {MIGRATION_LOCK}::pg_catalog.int8)"
)
# Databases of the server itself, beside the one that operators connect to.
SYSTEM_DATABASES = ("postgres", "template0", "template1")

_POLL_SECONDS = 0.2
# Whether the lock was free and is ours now; then who holds an operator's lock on this database, in whichever database
# he took it. Two statements, since the second must look after the first has the lock.
_TAKE = """
SELECT pg_catalog.pg_try_advisory_lock({migration});
SELECT l.pid FROM pg_catalog.pg_locks AS l
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_catalog.pg_backend_pid()
  AND (l.classid::pg_catalog.int8 << 32 | l.objid::pg_catalog.int8) = {operator}
"""


def refuse_system_database(target: Target) -> None:
    """Raise PreflightError for a database that is part of the server: nothing is built in it."""
    if target.database in {*SYSTEM_DATABASES, target.maintenance_database}:
        raise PreflightError(
            f"{target.database} is a system database: nothing is migrated in it",
            where=str(target),
            hint="Name another database in DATABASE_URL.",
            state="Nothing was applied.",
        )


@contextmanager
def only_session(target: Target, *, patience: float, report: Report = ignore) -> Iterator[Connection]:
    """Yield a session in the target's database that holds its migration lock, while no operator is at work on it.

    Waits up to `patience` seconds, each time in a new session: one that stays would be in the operator's way. Raises
    PreflightError that names who is at work when the time is up, or for a system database.
    """
    refuse_system_database(target)
    ends = time.monotonic() + patience
    said = False
    while True:
        connection, holder = _connected(target)
        if connection:
            break
        if not said:
            report(Message("INFO", f"waiting up to {patience:g} s for {holder[0]}: {holder[1]}"))
            said = True
        if time.monotonic() > ends:
            raise PreflightError(
                f"{holder[0]} is at work on {target.database}: {holder[1]}"
                if holder[0] == OPERATOR
                else f"another migration of this database is running: {holder[1]}",
                where=str(target),
                state="Nothing was applied.",
                hint="Wait for it to end, or wait longer with --timeout.",
            )
        try:
            time.sleep(_POLL_SECONDS)
        except Interrupted as interruption:
            interruption.state = "Nothing was applied."
            raise
    with connection:
        postgres.refuse_standby(connection, target)
        yield connection


OPERATOR = "another operator"


def _connected(target: Target) -> tuple[Connection | None, tuple[str, str]]:
    """Return a session that holds the lock, or None and who is at work, as a kind and in words."""
    key = postgres.lock_key("database", target.database)
    try:
        connection = postgres.connect(target)
    except ServerError:
        # An operator may have closed the database, or may be about to give another one its name.
        if holder := _operator_outside(target, key):
            return None, (OPERATOR, holder)
        raise
    try:
        with postgres.translated(target):
            cursor = connection.execute(_TAKE.format(migration=MIGRATION_LOCK, operator=key).encode())
            (free,) = cursor.fetchall()
            cursor.nextset()
            operators: Any = cursor.fetchall()
            if free == (True,) and not operators:
                return connection, ("", "")
            if operators:
                holder = postgres.session_of(connection, operators[0][0])
                connection.close()
                return None, (OPERATOR, holder)
            holder = postgres.lock_holder(connection, MIGRATION_LOCK)
            connection.close()
            return None, ("another migration", holder)
    except BaseException:
        connection.close()
        raise


def _operator_outside(target: Target, key: int) -> str:
    """Return who works on a database that cannot be connected to; empty if there is no one, or that is not known."""
    try:
        with postgres.maintenance(target) as connection:
            cursor = connection.execute(_TAKE.partition(";")[2].format(operator=key).encode())
            found: Any = cursor.fetchall()
            return postgres.session_of(connection, found[0][0]) if found else ""
    except DbopsError:
        return ""
