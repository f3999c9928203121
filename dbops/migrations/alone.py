"""One migration of a database at a time, and none while an operator works on the database from outside.

The lock is taken by the session that migrates, in the database itself. Operators take theirs in the maintenance
database before they look for this one; a migration takes this one before it looks for theirs. So one of the two sees
the other, and the migration makes way: it lets go, and waits for the operator to finish.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dbops import postgres
from dbops.errors import DbopsError, Interrupted, PreflightError, ServerError
from dbops.events import Message, Report, ignore
from dbops.postgres import HOLDING, Connection
from dbops.settings import Target

MIGRATION_LOCK = int.from_bytes(b"dbopsmig")
# The sessions (as `a`) that hold the migration lock of a database, as seen from any database of the server.
HOLDING_MIGRATION_LOCK = (
    f"a.datname = %s AND a.pid IN ({HOLDING.replace('%s', str(MIGRATION_LOCK))} AND l.database = a.datid)"
)

OPERATOR = "another operator"
MIGRATION = "another migration"
_POLL_SECONDS = 0.2
# Who holds an operator's lock, by its key, in whichever database he took it.
_OPERATORS = f"{HOLDING} AND l.pid <> pg_catalog.pg_backend_pid()"


def refuse_system_database(target: Target) -> None:
    """Raise PreflightError for a database that is part of the server: nothing is built in it."""
    if target.is_system_database:
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
    said = False
    try:
        for _ in postgres.attempts(patience, _POLL_SECONDS):
            connection, at_work = _connected(target)
            if connection:
                break
            if not said:
                report(Message("INFO", f"waiting up to {patience:g} s for {at_work[0]}: {at_work[1]}"))
                said = True
        else:
            raise refused(target, *at_work)
    except Interrupted as interruption:
        interruption.state = "Nothing was applied."
        raise
    with connection:
        postgres.refuse_standby(connection, target)
        yield connection


def _connected(target: Target) -> tuple[Connection | None, tuple[str, str]]:
    """Return a session that holds the lock, or None and who is at work, as a kind and in words."""
    key = postgres.lock_key("database", target.database)
    try:
        connection = postgres.connect(target)
    except ServerError as error:
        # An operator may have closed the database, or may be about to give another one its name.
        try:
            with postgres.maintenance(target) as outside:
                found: list[Any] = outside.execute(_OPERATORS, [key]).fetchall()
                if found:
                    return None, (OPERATOR, postgres.session_of(outside, found[0][0]))
        except DbopsError:
            raise error from None
        # One who was at work may just have finished.
        connection = postgres.connect(target)
    try:
        with postgres.translated(target):
            # In this order: who takes the lock now is seen by operators that look for it later.
            locked = postgres.try_lock(connection, MIGRATION_LOCK)
            operators: list[Any] = connection.execute(_OPERATORS, [key]).fetchall()
            if operators:
                at_work = OPERATOR, postgres.session_of(connection, operators[0][0])
            elif locked:
                return connection, ("", "")
            else:
                at_work = MIGRATION, postgres.lock_holder(connection, MIGRATION_LOCK)
        connection.close()
    except BaseException:
        connection.close()
        raise
    return None, at_work


def refused(target: Target, kind: str, holder: str) -> PreflightError:
    """Return the error for a database on which another session is at work: what kind of session, and which."""
    return PreflightError(
        f"{kind} is at work on {target.database}: {holder}"
        if kind == OPERATOR
        else f"another migration of this database is running: {holder}",
        where=str(target),
        state="Nothing was applied.",
        hint="Wait for it to end, or wait longer with --timeout.",
    )
