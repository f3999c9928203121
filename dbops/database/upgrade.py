"""Bring TimescaleDB in a database to the version that its server has installed.

A session loads the library of the database's version at its first statement, and keeps it: ALTER EXTENSION is refused
there, and after the update it would work on a new catalog with old code. So the update is the first statement of a
session of its own, and the other sessions are ended. The update is one statement: it happens as a whole or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from dbops import label, postgres
from dbops.database import schema
from dbops.database.consent import Ask, assert_environment, question
from dbops.database.inspection import EXTENSION_VERSION, inspect, is_newer
from dbops.database.operator import Operator, Outcome, refuse_closed
from dbops.database.preflight import (
    Condition,
    assert_passed,
    judged,
    preflight,
    sessions_can_be_ended,
    timescaledb,
)
from dbops.errors import CheckError, ConsentError, DbopsError, Interrupted, PreflightError, ServerError, count
from dbops.events import Header, Message, Report, StatementFinished, ignore, step
from dbops.migrations.files import discover, first_of
from dbops.postgres import TIMEOUT, UNLOADED, Connection, Session, sessions_in, sessions_that_stay, sql_file
from dbops.postgres.connection import ADDED
from dbops.settings import MIGRATIONS, Target

# How long one attempt waits for locks, which TimescaleDB's own jobs may hold for a moment, and the pause after it, in
# seconds.
ATTEMPT = 2.0
PAUSE = 0.2
# How long a session that was closed by its client may take to be gone, in seconds.
GONE = 1.0
HINDERED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
_INSIDE = sql_file("dbops.database", "extension")


@dataclass(frozen=True, slots=True)
class UpgradePlan:
    """The version that the database has, the one that its server has installed, and what an update would meet."""

    database: str
    server: str
    environment: str
    before: str
    after: str
    sessions: tuple[Session, ...]
    conditions: tuple[Condition, ...]

    @property
    def current(self) -> bool:
        """Return whether there is nothing to update."""
        return self.before == self.after


@dataclass(frozen=True, slots=True)
class UpgradeOptions:
    """How to update: seconds to wait, whether to verify before, whether sessions may be ended without being asked.

    `ask` puts a question and returns what was typed, or None; it is None without a terminal.
    """

    timeout: float = TIMEOUT
    verify: bool = True
    yes: bool = False
    ask: Ask | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeResult(Outcome):
    """What was updated; `before` and `after` are equal where nothing was to be done.

    `checks` counts those that passed afterwards, and `scheduler` is whether TimescaleDB's scheduler runs.
    """

    before: str
    after: str
    checks: int
    scheduler: bool


def plan(target: Target) -> UpgradePlan:
    """Return what an update would do, and which conditions are not met; reads only."""
    with postgres.maintenance(target) as connection:
        return _plan(connection, target)


def upgrade(target: Target, options: UpgradeOptions, *, report: Report = ignore) -> UpgradeResult:
    """Update TimescaleDB in the target's database, verified before and after.

    The plan is reported before anything is done. Raises PreflightError, ConsentError, CheckError or ServerError;
    these and Interrupted say in their state which version the database has.
    """
    began = time.monotonic()
    checks, scheduler = 0, True
    with postgres.operator_session(target, timeout=options.timeout, report=report) as connection:
        operator = Operator(connection, target, options.timeout, report)
        operator.began_at = began
        planned = _plan(connection, target)
        report(Header(planned))
        assert_passed(planned.conditions, target)
        if not planned.current:
            with _version_in_state(target):
                if options.verify:
                    _verify(target, report, "before the update")
                agreed = options.yes
                if planned.sessions and not agreed and (left := sessions_that_stay(connection, target.database, GONE)):
                    asked = f"This ends the sessions above.\n{question(target.database)}"
                    if options.ask is None or options.ask(asked) != target.database:
                        raise _not_agreed(target, left)
                    agreed = True
                try:
                    with step(report, "update", f"from {planned.before} to {planned.after}") as outcome:
                        _update(operator, planned, began + options.timeout, agreed=agreed)
                        outcome += [f"TimescaleDB {planned.after}", f"{count(len(operator.ended), 'session')} ended"]
                finally:
                    # The update stops it, and one that fails does not always bring it back.
                    scheduler = operator.restart_scheduler()
                checks = _verify(target, report, "after the update")
    return UpgradeResult(
        **operator.outcome(), before=planned.before, after=planned.after, checks=checks, scheduler=scheduler
    )


def _plan(connection: Connection, target: Target) -> UpgradePlan:
    """Return the plan, read over a session outside of the target and one inside that does not load TimescaleDB."""
    found = inspect(connection, target)
    refuse_closed(found.database, target)
    server = found.server
    with postgres.reader(target, settings=UNLOADED) as inside, postgres.reading(inside):
        row: Any = inside.execute(_INSIDE, [server.timescaledb]).fetchone()
        labelled = label.read(inside)
    if row is None:
        raise PreflightError(
            f"TimescaleDB is not in the database {target.database}",
            where=str(target),
            hint="`invoke db.migrate` creates the extension with the first migration.",
        )
    assert_environment(labelled, target)
    before, owner, may_act, path = row
    after = server.timescaledb
    conditions = list(preflight(found, dropping=False, creating=False))
    if before != after:
        conditions += timescaledb(after, preloaded=server.timescaledb_preloaded)
    if after and before != after:
        conditions += [
            judged(
                "newer version installed",
                is_newer(after, before),
                f"the server has TimescaleDB {after} installed, and {target.database} has {before}",
                f"Install TimescaleDB {before} or a newer version on the server.",
            ),
            judged(
                "way from one version to the other",
                path or not is_newer(after, before),
                f"TimescaleDB {after} cannot update {before} in one step",
                f"Update to a version in between first, which names {before} among those that it updates.",
            ),
            judged(
                "right to update",
                may_act and server.may_create_timescaledb,
                f"the extension belongs to {owner}, and {server.role} may not update it",
                "Connect as a superuser" + (f", or as {owner}." if server.may_create_timescaledb else "."),
            ),
            sessions_can_be_ended(found),
        ]
    return UpgradePlan(
        database=target.database,
        server=target.server,
        environment=target.environment,
        before=before,
        after=after,
        sessions=found.sessions,
        conditions=tuple(conditions),
    )


def _verify(target: Target, report: Report, when: str) -> int:
    """Return how many checks passed; raise CheckError if one failed.

    Before the update the database's version may not be there any more: then nothing can be read, which is reported.
    """
    try:
        result = schema.verify(target, discover(MIGRATIONS, allow_empty=True), report=report)
    except ServerError as error:
        if error.sqlstate != postgres.UNDEFINED_FILE or when != "before the update":
            raise
        report(Message("WARNING", f"not verified {when}: {error.what}"))
        return 0
    if result.failed:
        raise CheckError(
            f"{len(result.failed)} of {len(result.checks)} checks fail {when}",
            where=str(target),
            notes=result.notes,
            hint="See `invoke db.verify`. With --no-verify the database is verified only after the update."
            if when == "before the update"
            else "See `invoke db.verify`, and the release notes of TimescaleDB for what changed.",
        )
    return len(result.checks)


def _not_agreed(target: Target, sessions: tuple[Session, ...]) -> ConsentError:
    return ConsentError(
        f"updating TimescaleDB ends {count(len(sessions), 'session')} in {target.database}, which was not confirmed",
        where=f"{target.server}, database {target.database}",
        notes=first_of(tuple(str(session) for session in sessions)),
        hint="Add --yes to end them, or run the command again when they have disconnected.",
    )


def _update(operator: Operator, planned: UpgradePlan, deadline: float, *, agreed: bool) -> None:
    """Update, and end the sessions that began before that was committed; while others hold the locks, try again.

    If it is agreed that sessions are ended, only this tool's own, which have just been closed, get a moment to end by
    themselves.
    """
    connection, target = operator.connection, operator.target
    statement = sql.SQL("ALTER EXTENSION timescaledb UPDATE TO {}").format(sql.Literal(planned.after))
    settings = {"lock_timeout": str(round(ATTEMPT * 1000))}
    if connection.info.server_version >= 170000:
        settings |= ADDED
    while True:
        left = sessions_that_stay(connection, target.database, GONE, only_ours=agreed)
        if left and not agreed:
            raise _not_agreed(target, left)
        operator.end(left)
        began = time.monotonic()
        try:
            # As the first statement of all.
            with postgres.fresh(target, settings=settings) as fresh:
                fresh.execute(statement)
            break
        except HINDERED as error:
            if time.monotonic() > deadline:
                raise PreflightError(
                    f"TimescaleDB could not be updated: {error.diag.message_primary}",
                    where=str(target),
                    notes=first_of(tuple(str(session) for session in sessions_in(connection, target.database))),
                    hint="End what holds the locks, a prepared transaction perhaps, or wait longer with --timeout.",
                ) from None
            time.sleep(PAUSE)
        except psycopg.Error as error:
            diag = error.diag
            raise ServerError(
                postgres.redact(f"TimescaleDB was not updated: {diag.message_primary or error}", target),
                where=f"{target.server}, database {target.database}",
                notes=tuple(text for text in (diag.message_detail, diag.message_hint) if text),
                hint=f"Check that TimescaleDB {planned.after} is installed completely, and that the server was "
                "restarted if the release notes ask for it; then run `invoke db.upgrade` again.",
                sqlstate=error.sqlstate or "",
            ) from None
    operator.report(StatementFinished(statement.as_string(), time.monotonic() - began, target.database))
    before = sessions_that_stay(connection, target.database, GONE, only_ours=agreed)
    if agreed:
        left = operator.end_sessions(time.monotonic() + TIMEOUT, {session.pid for session in before})
        if left:
            operator.report(Message("WARNING", f"did not end: {'; '.join(str(session) for session in left)}"))
    else:
        for session in before:
            what = f"began before the update and has to connect again: {session}"
            operator.report(Message("WARNING", what))


@contextmanager
def _version_in_state(target: Target) -> Iterator[None]:
    """Say in the state of a failure or an interruption which version the database has."""
    try:
        with postgres.translated(target):
            yield
    except (DbopsError, Interrupted) as error:
        if not error.state:
            try:
                with postgres.reader(target, settings=UNLOADED) as inside, postgres.reading(inside):
                    row: Any = inside.execute(EXTENSION_VERSION).fetchone()
                error.state = f"{target.database} has TimescaleDB {row[0]}."
            except (DbopsError, psycopg.Error):
                error.state = f"It is not known which version of TimescaleDB {target.database} has."
        raise
