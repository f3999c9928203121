"""Create, close, drop, rename and open a whole database, and clean up after interrupted runs.

Whatever is hidden while a database is closed is kept in its comment (see properties.Marker), written in the
transaction that closes it and removed in the one that opens it. So a run can be killed at any moment:

    target open, a successor beside it    killed before the drop: the successor is dropped
    target blocked with its marker        killed during the drop: the target is opened from its marker
    no target, a successor marked for it  db.drop alone, or killed after the drop: db.create uses the successor
    target with the marker `building`     killed while building: its properties are the marker's
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from dbops import postgres
from dbops.database import properties
from dbops.database.inspection import TIMESCALEDB_FUNCTION, Inspection, Server, impact, inspect
from dbops.database.properties import Database, Marker, Properties
from dbops.errors import ConsentError, DbopsError, Interrupted, NameTakenError, PreflightError, ServerError
from dbops.events import Message, Report, ignore
from dbops.postgres import Connection, Session, lock_key, quoted, run, run_together, sessions_in, try_lock, unlock
from dbops.settings import SCRATCH_PREFIX, Target

SCHEDULER = "TimescaleDB Background Worker Scheduler"
# Pauses between attempts at a statement that another session blocks for a moment, in seconds.
PAUSE = 0.05
SCHEDULER_TIMEOUT = 5.0
RENAME_ATTEMPTS = 5
HINDERED = (
    psycopg.errors.ObjectInUse,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.LockNotAvailable,
)


@dataclass(frozen=True, slots=True)
class DropResult:
    """What a drop did: whether there was a database, and which sessions it ended.

    `successor` is the closed, empty database that keeps the properties, or empty. `seconds` is wall time.
    """

    database: str
    server: str
    environment: str
    existed: bool
    ended: tuple[Session, ...] = ()
    successor: str = ""
    seconds: float = 0.0


# Successors and scratch databases.


def recovered(connection: Connection, target: Target, report: Report = ignore) -> Inspection:
    """Inspect the target over the operator's session, after cleaning up after interrupted runs.

    A blocked target is opened, a superfluous successor dropped; scratch databases of this tool whose operator is gone
    are dropped, for any target.
    """
    found = inspect(connection, target)
    changed = False
    database = found.database
    if database and database.marker and database.marker.kind == "blocked" and not database.invalid:
        open_database(connection, target, report)
        report(Message("INFO", f"opened {target.database}, which an interrupted run had closed"))
        if not restart_scheduler(target):
            report(Message("WARNING", SCHEDULER_STOPPED.format(target.database)))
        changed = True
    for scratch in found.scratch:
        rehearsal = scratch.marker is not None and scratch.marker.kind == "rehearsal"
        superfluous = scratch is found.successor and database is not None
        unneeded = scratch.unmarked or rehearsal or superfluous
        if unneeded and found.server.may_act_for(scratch.catalog.owner):
            changed |= drop_left_over(connection, scratch, report)
    return inspect(connection, target) if changed else found


SCHEDULER_STOPPED = (
    "TimescaleDB's scheduler does not run in {}: "
    "as a superuser, call _timescaledb_functions.start_background_workers() there"
)


def drop_left_over(connection: Connection, scratch: Database, report: Report = ignore) -> bool:
    """Drop a scratch database unless its operator is at work; return whether it was dropped.

    It is looked at once more under the lock: its operator may have marked it as a successor since it was inspected.
    """
    name = scratch.name
    key = lock_key("scratch", name)
    if not try_lock(connection, key):
        return False
    try:
        if properties.find(connection, name) == scratch and drop_scratch(connection, name, report):
            report(Message("INFO", f"dropped {name}, left over from an interrupted run"))
            return True
        return False
    finally:
        unlock(connection, key)


def drop_scratch(connection: Connection, name: str, report: Report) -> bool:
    """Drop a scratch database; False, with a warning, if that is not possible."""
    for force in (True, False, True, False):
        option = sql.SQL(" WITH (FORCE)" if force else "")
        try:
            run(connection, sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)) + option, report)
            return True
        except (psycopg.errors.ObjectInUse, psycopg.errors.InsufficientPrivilege) as error:
            trouble = error
    report(Message("WARNING", f"could not drop the scratch database {name}: {trouble.diag.message_primary}"))
    return False


def create_successor(
    connection: Connection, found: Inspection, wanted: Properties, report: Report = ignore, *, kind: str = "successor"
) -> str:
    """Create a closed, empty, marked database with the wanted properties, and return its name.

    Everything that opening it will take is tried and rolled back. Raises PreflightError, after which there is no
    successor, if the role cannot create such a database.
    """
    target = found.target
    name = SCRATCH_PREFIX + secrets.token_hex(6)
    marker = marker_for(kind, target.database, wanted)
    # Held from before the database exists until it has a marker, so that no other operator takes it for a leftover.
    key = lock_key("scratch", name)
    try_lock(connection, key)
    try:
        properties.create(connection, name, wanted, found.server.template0, report)
        with connection.transaction():
            properties.apply_settings(connection, name, wanted, report)
            with connection.transaction(force_rollback=True):
                created = replace(wanted, acl=None)
                run_together(connection, properties.opening(name, created, wanted), ignore)
                _assert_equal(target, _find(connection, name).properties, wanted)
            run(connection, properties.marking(name, marker), report)
    except BaseException as error:
        with suppress(psycopg.Error):
            drop_scratch(connection, name, report)
        unlock(connection, key)
        if isinstance(error, psycopg.Error):
            exists = found.database is not None
            why = postgres.translate(error, target, target.database).what
            raise PreflightError(
                f"{found.server.role} could not create {target.database}{' again as it is' if exists else ''}: {why}",
                where=str(target),
                hint="Connect as a superuser" + (", or remove that property of the database first." if exists else "."),
                sqlstate=error.sqlstate or "",
                state="Nothing was changed.",
            ) from None
        raise
    if kind == "successor":
        unlock(connection, key)
    return name


def marker_for(kind: str, database: str, hidden: Properties) -> Marker:
    """Return the marker that keeps what closing hides of a database's properties."""
    return Marker(
        kind=kind,
        database=database,
        since=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        connection_limit=hidden.connection_limit,
        allow_connections=hidden.allow_connections,
        acl=hidden.acl,
        comment=hidden.comment,
    )


def _find(connection: Connection, name: str) -> Database:
    """Return a database that must be there."""
    found = properties.find(connection, name)
    if found is None:
        raise ServerError(
            f"the database {name} was dropped by another session",
            where=f"database {name}",
            hint="Run `invoke db.rebuild` again.",
        )
    return found


def _assert_equal(target: Target, found: Properties, wanted: Properties) -> None:
    """Raise ServerError if a database does not have the properties that it should have."""
    if different := properties.differences(found, wanted):
        raise ServerError(
            f"{target.database} would have another {', '.join(different)} than before",
            where=str(target),
            hint="Its properties are kept: set them by hand, or run `invoke db.create` to try again.",
        )


def name_successor(connection: Connection, found: Inspection, successor: str, report: Report = ignore) -> None:
    """Give a successor the target's name, in one transaction: it stays closed to other roles until it is verified.

    Superusers, and TimescaleDB's scheduler, may connect to it; where the operator is not a superuser, members of its
    role may. Raises NameTakenError if another session took the name meanwhile.
    """
    name = found.target.database
    database = sql.Identifier(name)
    statements = [
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(successor), database),
        properties.marking(name, marker_for("building", name, found.wanted)),
        sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(database),
    ]
    if found.server.superuser:
        statements.append(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 0").format(database))
    else:
        statements.append(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(database))
        statements.append(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(database))
    for attempt in range(1, RENAME_ATTEMPTS + 1):
        try:
            with connection.transaction():
                run_together(connection, statements, report)
            return
        except psycopg.errors.DuplicateDatabase:
            raise NameTakenError(
                f"{name} was created by another session just now, after it was dropped",
                where=str(found.target),
                notes=(f"the empty database {successor} keeps the properties that {name} had",),
                hint=f"Stop what creates it, run DROP DATABASE {quoted(name)}, then `invoke db.rebuild`. While "
                "the new database exists, a rebuild keeps its properties.",
                state=f"The new {name} was not changed.",
            ) from None
        except psycopg.errors.ObjectInUse:
            # Autovacuum may be looking into it.
            if attempt == RENAME_ATTEMPTS:
                raise
            time.sleep(PAUSE)


def kept_out(server: Server) -> str:
    """Return whom a database that is being built is closed to."""
    return "all but superusers" if server.superuser else f"all but superusers and members of {server.role}"


def open_database(connection: Connection, target: Target, report: Report = ignore) -> None:
    """Open a closed database with the properties that its marker keeps, in one transaction.

    Raises ServerError, after which it is closed as before, if one of them cannot be applied.
    """
    with connection.transaction():
        found = _find(connection, target.database)
        if found.marker:
            run_together(connection, properties.opening(found.name, found.catalog, found.properties), report)
            _assert_equal(target, _find(connection, target.database).properties, found.properties)


@contextmanager
def scratch(connection: Connection, found: Inspection, wanted: Properties, report: Report = ignore) -> Iterator[Target]:
    """Yield an empty database with a scratch name, with the wanted properties, and drop it afterwards."""
    name = create_successor(connection, found, wanted, report, kind="rehearsal")
    try:
        opening = [
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(sql.Identifier(name)),
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)),
        ]
        with connection.transaction():
            run_together(connection, opening, report)
        yield replace(found.target, database=name)
    finally:
        with suppress(psycopg.Error):
            drop_scratch(connection, name, report)
            unlock(connection, lock_key("scratch", name))


@contextmanager
def scratch_database(target: Target, report: Report = ignore) -> Iterator[Target]:
    """Yield an empty database with a scratch name and the server's defaults, over a session of its own; drop it.

    Raises PreflightError if the role may not create databases.
    """
    with postgres.maintenance(target) as connection:
        found = inspect(connection, target, inside=False)
        with scratch(connection, found, found.server.template0, report) as made:
            yield made


# Drop.


def drop(
    connection: Connection,
    found: Inspection,
    *,
    timeout: float,
    successor: str = "",
    report: Report = ignore,
) -> DropResult:
    """Drop the database, ending all sessions in it, over the operator's session.

    Where the inspection found no row, it searches again after the database is closed: ConsentError if there
    are any. Raises PreflightError if it cannot be dropped within `timeout` seconds. Run it within `unharmed`.
    """
    target = found.target
    names = (target.database, target.server, target.environment)
    began = time.monotonic()
    if found.database is None:
        return DropResult(*names, existed=False, successor=successor)
    ended: dict[int, Session] = {}
    if found.database.invalid:
        run(connection, _drop_statement(target, force=False), report)
    else:
        inside = None
        if not found.impact.rows and found.database.accepts_connections:
            inside = postgres.connect(target)
        try:
            block(connection, target, found.database, report)
            own = (inside.info.backend_pid,) if inside else ()
            left = _end_sessions(connection, target, ended, own, began + timeout, report)
            if inside:
                _assert_no_rows(inside, target)
        finally:
            if inside:
                inside.close()
        if left:
            raise _given_up(target, "sessions in it do not end", left)
        _drop(connection, target, ended, began + timeout, report)
    return DropResult(*names, True, tuple(ended.values()), successor, time.monotonic() - began)


@contextmanager
def unharmed(connection: Connection, found: Inspection, report: Report) -> Iterator[None]:
    """Restore the target if the body fails or is interrupted, and say so in the error's state."""
    try:
        with postgres.translated(found.target):
            yield
    except BaseException as error:
        state = _put_back(connection, found, report)
        if isinstance(error, DbopsError | Interrupted):
            error.state = error.state or state
        raise


def _put_back(connection: Connection, found: Inspection, report: Report) -> str:
    """Open the target again and drop its successor; return the resulting state as a sentence."""
    name = found.target.database
    try:
        if connection.closed or connection.broken:
            with postgres.operator(found.target, timeout=SCHEDULER_TIMEOUT) as another:
                now = recovered(another, found.target, report)
        else:
            now = recovered(connection, found.target, report)
    except (DbopsError, psycopg.Error, Interrupted) as error:
        what = str(error) or "interrupted"
        return f"{name} may be closed ({what}): the same command, or `invoke db.create`, opens it."
    if now.database is None and now.successor is None:
        return f"There is no database {name}: `invoke db.rebuild` builds it."
    if now.database is None or now.database.invalid:
        return f"{name} is dropped; its properties are kept: `invoke db.rebuild` continues."
    if not restart_scheduler(found.target):
        return f"{name} was not dropped; {SCHEDULER_STOPPED.format(name)}."
    return f"{name} was not dropped and works as before."


def block(connection: Connection, target: Target, database: Database, report: Report) -> None:
    """Close a database to all roles, superusers included, with its marker, in one transaction.

    Raises PreflightError if it is another one by now, or has other properties: neither consent nor the successor would
    be for what is dropped.
    """
    with connection.transaction():
        if _find(connection, database.name) != database:
            raise PreflightError(
                f"{database.name} was replaced, or its properties were changed, by another session just now",
                where=str(target),
                hint="Run the command again.",
            )
        marker = marker_for("blocked", database.name, database.properties)
        closing = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(database.name))
        run_together(connection, [properties.marking(database.name, marker), closing], report)


def _end_sessions(
    connection: Connection,
    target: Target,
    ended: dict[int, Session],
    own: tuple[int, ...],
    deadline: float,
    report: Report,
) -> tuple[Session, ...]:
    """End all sessions in the database and wait until they are gone; return those left at the deadline."""
    while True:
        left = sessions_in(connection, target.database, except_for=own)
        for session in left:
            if session.endable and session.pid not in ended and postgres.end(connection, session):
                ended[session.pid] = session
                report(Message("DEBUG", f"ended {session}"))
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(PAUSE)


def _assert_no_rows(inside: Connection, target: Target) -> None:
    """Raise ConsentError if a row was written after the inspection."""
    now = impact(inside)
    if now.rows:
        what = f"rows were written to {target.database} just now: {now.evidence} is no longer empty"
        raise ConsentError(
            what if now.seen else f"{target.database} may hold rows by now: {now.evidence}",
            where=str(target),
            hint="Stop what writes there, or run the command again and agree to lose the rows.",
        )


def _drop(connection: Connection, target: Target, ended: dict[int, Session], deadline: float, report: Report) -> None:
    """Run DROP DATABASE until it succeeds or the time is up; retry while another session blocks it."""
    force = True
    while True:
        wait = max(1, round((deadline - time.monotonic()) * 1000))
        connection.execute(f"SET lock_timeout = {wait}")
        try:
            run(connection, _drop_statement(target, force=force), report)
            connection.execute("SET lock_timeout = 0")
            return
        except HINDERED as error:
            if time.monotonic() > deadline:
                connection.execute("SET lock_timeout = 0")
                words = ": ".join(part for part in (error.diag.message_primary, error.diag.message_detail) if part)
                left = sessions_in(connection, target.database)
                raise _given_up(target, postgres.redact(words, target), left) from None
            report(Message("DEBUG", f"DROP DATABASE retried: {error.diag.message_primary}"))
            # A plain DROP ends autovacuum's workers, which a role that is not a superuser may not end by force.
            force = not (force and isinstance(error, psycopg.errors.InsufficientPrivilege))
            time.sleep(PAUSE)
            _end_sessions(connection, target, ended, (), deadline, report)


def _drop_statement(target: Target, *, force: bool) -> sql.Composable:
    option = sql.SQL(" WITH (FORCE)" if force else "")
    return sql.SQL("DROP DATABASE {}").format(sql.Identifier(target.database)) + option


def _given_up(target: Target, why: str, left: tuple[Session, ...]) -> PreflightError:
    return PreflightError(
        f"cannot drop {target.database}: {why}",
        where=str(target),
        notes=tuple(str(session) for session in left),
        hint="End what blocks the drop, or give it more time with --timeout.",
    )


# TimescaleDB's scheduler: a DROP or RENAME stops it, even one that fails, and it does not come back by itself.

_SCHEDULER_RUNS = (
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS a WHERE a.datname = %s AND a.application_name = %s)"
)


def restart_scheduler(target: Target) -> bool:
    """Start the scheduler of the target's database again; True if it runs, or if there is nothing to run.

    Starting takes a superuser: for any other role it is only waited for.
    """
    deadline = time.monotonic() + SCHEDULER_TIMEOUT
    try:
        with postgres.connect(target) as connection:
            found: Any = connection.execute(TIMESCALEDB_FUNCTION, ["start_background_workers"]).fetchone()
            if found is None:
                return True
            start = sql.SQL("SELECT {}()").format(sql.Identifier(found[0], "start_background_workers"))
            while True:
                row: Any = connection.execute(_SCHEDULER_RUNS, [target.database, SCHEDULER]).fetchone()
                if row[0] or time.monotonic() > deadline:
                    return bool(row[0])
                with suppress(psycopg.errors.InsufficientPrivilege):
                    connection.execute(start)
                time.sleep(0.1)
    except (DbopsError, psycopg.Error):
        return False


# The state of a database, as sentences.


def explain_missing(target: Target) -> str:
    """Return a sentence on a missing database and its successor; nothing if it exists, or if that is not known."""
    name = target.database
    try:
        with (
            postgres.reader(target, target.maintenance_database) as connection,
            postgres.reading(connection),
        ):
            (answer,) = postgres.ask(connection, [properties.databases_query(name)])
            found = properties.databases(answer.fetched())
    except (DbopsError, psycopg.Error):
        return ""
    if any(database.name == name for database in found):
        return ""
    for database in found:
        if database.marker and (database.marker.kind, database.marker.database) == ("successor", name):
            return (
                f"{name} was dropped; the empty database {database.name} keeps its properties since "
                f"{database.marker.since}. `invoke db.create` continues, `invoke db.rebuild` builds it anew."
            )
    return f"There is no database {name}: `invoke db.rebuild` builds it; or correct the name in DATABASE_URL."


def refuse_closed(database: Database | None, target: Target) -> None:
    """Raise PreflightError if the database is closed: a run is building or dropping it, or was interrupted."""
    if database is None or database.marker is None:
        return
    kind = {"building": "not yet open: a run that builds it", "blocked": "closed: a run that drops it"}
    raise PreflightError(
        f"{target.database} is {kind.get(database.marker.kind, 'closed: a run')} is at work, or was interrupted",
        where=str(target),
        notes=(f"since {database.marker.since}",),
        hint="If no run is at work, `invoke db.create` opens it as it is, and `invoke db.rebuild` starts over.",
    )
