"""Drop a whole database, against clients that reconnect, and leave it as it was if that fails."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg import sql

from dbops import postgres
from dbops.errors import ConsentError, DbopsError, PreflightError
from dbops.events import Message, Report, ignore
from dbops.lifecycle import server, state
from dbops.lifecycle.fence import PAUSE, Fence, lift_quietly
from dbops.lifecycle.properties import Found, find
from dbops.lifecycle.recovery import reconcile
from dbops.lifecycle.rows import any_row
from dbops.lifecycle.sessions import Session, sessions
from dbops.lock import DEFAULT_TIMEOUT, OperatorLock
from dbops.postgres import Connection, maintenance, run
from dbops.settings import Target

RETRIED = (
    psycopg.errors.ObjectInUse,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.LockNotAvailable,
)


@dataclass(frozen=True, slots=True)
class DropResult:
    """What a drop did: whether there was a database, and which sessions it ended."""

    database: str
    server: str
    environment: str
    existed: bool
    ended: tuple[Session, ...] = ()
    seconds: float = 0.0


def drop(
    lock: OperatorLock,
    state_directory: Path,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    only_if_empty: bool = False,
    report: Report = ignore,
) -> DropResult:
    """Drop the locked database, ending all sessions in it; its properties are kept in the state directory.

    With `only_if_empty` its rows are looked for once more behind the fence: ConsentError if there are any. Raises
    PreflightError, with the database working as before, if it can't be dropped within `timeout` seconds.
    """
    target = lock.target
    place = (target.database, target.server, target.environment)
    began = time.monotonic()
    with maintenance(target) as connection:
        lock.assert_held()
        before = reconcile(connection, target, state_directory, report)
        found = find(connection, target.database)
        if found is None:
            return DropResult(*place, existed=False)
        _remember(connection, target, state_directory, found, before)
        fence = Fence(connection, target, report)
        if found.invalid:
            run(connection, _statement(target, force=False), report)
        else:
            _fenced(fence, lock, state_directory, found, began + timeout, only_if_empty)
        return DropResult(*place, True, tuple(fence.ended.values()), time.monotonic() - began)


def _remember(
    connection: Connection, target: Target, directory: Path, found: Found, before: state.State | None
) -> None:
    """Save the properties to restore: those of an unfinished run, else those that are there."""
    if before is None:
        identifier = server.read(connection).system_identifier
        before = state.State(identifier, target.database, found.properties)
    state.save(directory, replace(before, old_oid=found.oid))


def _fenced(
    fence: Fence, lock: OperatorLock, directory: Path, found: Found, deadline: float, only_if_empty: bool
) -> None:
    """Drop behind a fence; on any failure or interruption lift it again."""
    target = lock.target
    inside = postgres.connect(target) if only_if_empty and found.properties.allow_connections else None
    try:
        fence.own = (inside.info.backend_pid,) if inside else ()
        fence.raise_up()
        left = fence.clear(deadline)
        if inside:
            _assert_empty(inside, target)
            inside.close()
        if left:
            raise _refused(target, "sessions in it do not end", left)
        lock.assert_held()
        _drop(fence, deadline)
    except BaseException as error:
        if inside:
            inside.close()
        _give_up(error, target, directory, found, fence.report)
        raise


def _assert_empty(inside: Connection, target: Target) -> None:
    """Raise ConsentError if a row came in after the operator was not asked."""
    if (found := any_row(inside)) is not None:
        what = f"rows were written to {target.database} just now: {found.text} is no longer empty"
        raise ConsentError(
            what if found.seen else f"{target.database} may hold rows by now: {found.text}",
            where=str(target),
            hint="Nothing was dropped. Stop what writes there, or run the command again and agree to lose the rows.",
        )


def _drop(fence: Fence, deadline: float) -> None:
    """Try until it works or the time is up; what a moment may cure is tried again."""
    connection, target = fence.connection, fence.target
    force = True
    while True:
        wait = max(1, round((deadline - time.monotonic()) * 1000))
        connection.execute(f"SET lock_timeout = {wait}")
        try:
            run(connection, _statement(target, force=force), fence.report)
        except RETRIED as error:
            if time.monotonic() > deadline:
                raise _refused(target, _words(error, target), sessions(connection, target.database)) from None
            fence.report(Message("DEBUG", f"drop tried again: {error.diag.message_primary}"))
            # A plain DROP ends autovacuum's workers, which a role that is no superuser may not end by force.
            force = not (force and isinstance(error, psycopg.errors.InsufficientPrivilege))
            time.sleep(PAUSE)
            fence.clear(deadline)
        else:
            return


def _words(error: psycopg.Error, target: Target) -> str:
    """Return what the server said, with its detail."""
    parts = (error.diag.message_primary or str(error), error.diag.message_detail)
    return postgres.redact(": ".join(part for part in parts if part), target)


def _statement(target: Target, *, force: bool) -> sql.Composable:
    option = sql.SQL(" WITH (FORCE)" if force else "")
    return sql.SQL("DROP DATABASE {}").format(sql.Identifier(target.database)) + option


def _refused(target: Target, why: str, left: tuple[Session, ...]) -> PreflightError:
    return PreflightError(
        f"cannot drop {target.database}: {why}",
        where=str(target),
        notes=tuple(str(session) for session in left),
        hint="Nothing was dropped and the database works as before. End what stands in the way, "
        "or give it more time with --timeout.",
    )


def _give_up(error: BaseException, target: Target, directory: Path, found: Found, report: Report) -> None:
    """Lift the fence if the database is still there, and tell the error in which state things are."""
    name = target.database
    try:
        with maintenance(target) as connection:
            now = find(connection, name)
            if now is None or now.oid != found.oid or now.invalid:
                _tell(error, f"{name} is dropped, its properties are kept: `invoke db.rebuild` continues.")
                return
            trouble = lift_quietly(target, report) if found.properties.allow_connections else ""
            reconcile(connection, target, directory, report)
    except DbopsError as second:
        trouble = f"it is still fenced ({second.what}): run the same command again"
    except KeyboardInterrupt as second:
        second.add_note(f"{name} may still be fenced: run the same command again to finish or to lift it.")
        raise
    _tell(error, f"{name} was not dropped" + (f"; {trouble}." if trouble else " and works as before."))


def _tell(error: BaseException, text: str) -> None:
    """Add what the operator must know to an error or an interruption."""
    if isinstance(error, DbopsError):
        error.notes = (*error.notes, text)
    else:
        error.add_note(text)
