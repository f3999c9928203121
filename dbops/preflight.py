"""Look before you leap: whatever could fail half-way is looked at, or tried, before anything is destroyed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from dbops import postgres
from dbops.errors import DbopsError, PreflightError
from dbops.events import Report, ignore
from dbops.lifecycle import properties, server, state
from dbops.lifecycle.create import assert_restored
from dbops.lifecycle.ddl import default_properties
from dbops.lifecycle.properties import Found, Properties
from dbops.lifecycle.recovery import wanted_properties
from dbops.lifecycle.scratch import scratch
from dbops.lifecycle.server import Server
from dbops.lifecycle.sessions import Session, sessions
from dbops.postgres import Connection
from dbops.settings import Target

OLDEST_SERVER = 150000
OLDEST_TIMESCALEDB = (2, 10)
NEXT_TIMESCALEDB = (3,)
# A job of TimescaleDB's runs as the superuser, and is over in a moment.
PATIENCE_SECONDS = 3.0
PROTECTED = ("postgres", "template0", "template1")

TIMESCALEDB = """
SELECT v.version, v.trusted, current_setting('timescaledb.max_background_workers', true) IS NOT NULL
FROM pg_available_extensions e
JOIN pg_available_extension_versions v ON v.name = e.name AND v.version = e.default_version
WHERE e.name = 'timescaledb'
"""
PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = %s ORDER BY 1"
SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = %s ORDER BY 1"
SUBSCRIPTIONS = """
SELECT s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = %s ORDER BY 1
"""
MAY_OWN = "SELECT pg_has_role(%s, 'USAGE')"
MAY_GIVE = "SELECT pg_has_role(%s, %s)"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; a refusal has a reason, and a remedy as a full sentence."""

    name: str
    passed: bool
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Preflight:
    """All findings, and the engine that they were made on; `timescaledb` is empty where there is none."""

    findings: tuple[Finding, ...]
    postgresql: str
    timescaledb: str

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """Return the findings that forbid going on."""
        return tuple(finding for finding in self.findings if not finding.passed)

    def assert_passed(self, target: Target) -> None:
        """Raise PreflightError with every refusal, if there is one."""
        refused = self.refusals
        if not refused:
            return
        first = refused[0]
        rest = "" if len(refused) == 1 else f" (and {len(refused) - 1} more)"
        raise PreflightError(
            f"preflight refused: {first.reason}{rest}",
            where=str(target),
            notes=tuple(f"{finding.name}: {finding.reason}. {finding.remedy}" for finding in refused),
            hint=f"Nothing was touched. {first.remedy}",
        )


@dataclass(frozen=True, slots=True)
class _View:
    """What the checks look at."""

    connection: Connection
    target: Target
    server: Server
    found: Found | None
    wanted: Properties
    report: Report


def preflight(
    target: Target,
    state_directory: Path,
    *,
    dropping: bool = True,
    creating: bool = True,
    migrations: Path | None = None,
    report: Report = ignore,
) -> Preflight:
    """Return everything that speaks for or against dropping, creating or both; a directory of migrations is read too.

    A database with the target's properties is created for a moment, and dropped. Raises ServerError if the server
    cannot be reached.
    """
    with postgres.maintenance(target) as connection:
        here = server.read(connection)
        engine: Any = connection.execute(TIMESCALEDB).fetchone()
        found = properties.find(connection, target.database)
        saved, wanted = _state(connection, target, state_directory)
        view = _View(connection, target, here, found, wanted, report)
        findings = [_name(view), _recovery(view), _version(view), saved]
        if dropping and found:
            findings += [_owner(view), _template(view), *_attachments(view), _endable(view)]
        if creating:
            findings += [_createdb(view), *_timescaledb(view)]
        if migrations:
            findings.append(_migrations(migrations))
        if creating and all(finding.passed for finding in findings):
            findings.append(_trial(view))
        return Preflight(tuple(findings), here.version_text, engine[0] if engine else "")


def _finding(name: str, passed: bool, reason: str, remedy: str) -> Finding:
    return Finding(name, True) if passed else Finding(name, False, reason, remedy)


def _name(view: _View) -> Finding:
    name = view.target.database
    return _finding(
        "database name",
        name not in {*PROTECTED, view.target.maintenance_database},
        f"{name} belongs to the server itself",
        "Name a database of your own in DATABASE_URL.",
    )


def _recovery(view: _View) -> Finding:
    return _finding(
        "primary server",
        not view.server.in_recovery,
        "the server is a standby, or still recovering",
        "Connect to the primary server.",
    )


def _version(view: _View) -> Finding:
    return _finding(
        "server version",
        view.server.version >= OLDEST_SERVER,
        f"PostgreSQL {view.server.version_text} is too old",
        "Use PostgreSQL 15 or newer.",
    )


def _state(connection: Connection, target: Target, directory: Path) -> tuple[Finding, Properties]:
    """Return whether properties can be kept, and those that the new database is to have as far as they are known."""
    name = "state directory"
    try:
        state.check_writable(directory)
        return Finding(name, True), wanted_properties(connection, target, directory)
    except DbopsError as error:
        refusal = Finding(name, False, f"{error.what} ({error.where})", error.hint)
    found = properties.find(connection, target.database)
    return refusal, found.properties if found else default_properties(server.read(connection))


def _owner(view: _View) -> Finding:
    assert view.found  # noqa: S101
    owner = view.found.properties.owner
    row: Any = view.connection.execute(MAY_OWN, [owner]).fetchone()
    return _finding(
        "right to drop",
        view.server.superuser or bool(row[0]),
        f"{view.target.database} belongs to {owner}, and {view.server.role} may not drop it",
        f"Connect as {owner} or as a superuser.",
    )


def _template(view: _View) -> Finding:
    name = view.target.database
    return _finding(
        "no template",
        not (view.found and view.found.template),
        f"{name} is marked as a template",
        f'If it is none, run ALTER DATABASE "{name}" IS_TEMPLATE false.',
    )


def _attachments(view: _View) -> Iterator[Finding]:
    """Yield what blocks a drop, or would silently go with it."""
    kinds = (
        ("prepared transactions", PREPARED, "Commit or roll back each: COMMIT PREPARED '...' in that database."),
        ("replication slots", SLOTS, "Drop each when nobody reads from it: SELECT pg_drop_replication_slot('...')."),
        ("subscriptions", SUBSCRIPTIONS, "Drop each, connected to that database: DROP SUBSCRIPTION ..."),
    )
    for kind, query, remedy in kinds:
        rows: list[Any] = view.connection.execute(query, [view.target.database]).fetchall()
        names = ", ".join(str(row[0]) for row in rows)
        yield _finding(f"no {kind}", not rows, f"there are {kind} in {view.target.database}: {names}", remedy)


def _endable(view: _View) -> Finding:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (left := _unendable(view)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return _finding(
        "sessions can be ended",
        not left,
        f"{view.server.role} may not end " + "; ".join(str(session) for session in left),
        "Ask their owners to disconnect, or connect as a superuser or as a member of pg_signal_backend.",
    )


def _unendable(view: _View) -> list[Session]:
    inside = sessions(view.connection, view.target.database)
    return [session for session in inside if not session.endable]


def _createdb(view: _View) -> Finding:
    role, owner = view.server.role, view.wanted.owner
    if not (view.server.superuser or view.server.createdb):
        remedy = f'As a superuser, run ALTER ROLE "{role}" CREATEDB.'
        return Finding("right to create", False, f"{role} may not create databases", remedy)
    privilege = "SET" if view.server.version >= 160000 else "MEMBER"
    try:
        row: Any = view.connection.execute(MAY_GIVE, [owner, privilege]).fetchone()
    except psycopg.errors.UndefinedObject:
        remedy = f'Create it: CREATE ROLE "{owner}".'
        return Finding("right to create", False, f"the owner to be, {owner}, does not exist any more", remedy)
    return _finding(
        "right to create",
        bool(row[0]),
        f"{role} may not give a database to {owner}",
        f"Connect as {owner} or as a superuser.",
    )


def _timescaledb(view: _View) -> Iterator[Finding]:
    row: Any = view.connection.execute(TIMESCALEDB).fetchone()
    missing = Finding(
        "TimescaleDB available",
        False,
        "TimescaleDB is not installed on the server",
        "Install it there, or use a server that has it: `invoke server.install`, `invoke server.up`.",
    )
    if row is None:
        yield missing
        return
    version, trusted, preloaded = row
    yield Finding("TimescaleDB available", True)
    number = tuple(int(part) for part in version.split("-")[0].split(".")[:2])
    yield _finding(
        "TimescaleDB version",
        OLDEST_TIMESCALEDB <= number < NEXT_TIMESCALEDB,
        f"TimescaleDB {version} is not supported",
        "Install TimescaleDB 2.10 or a newer 2.x.",
    )
    yield _finding(
        "TimescaleDB preloaded",
        preloaded,
        "TimescaleDB is installed, but the server does not load it",
        "Add timescaledb to shared_preload_libraries and restart the server.",
    )
    yield _finding(
        "right to create TimescaleDB",
        view.server.superuser or trusted,
        f"only a superuser may create the extension here, and {view.server.role} is none",
        "Connect as a superuser.",
    )


def _migrations(directory: Path) -> Finding:
    from dbops.migrations import discover

    try:
        found = discover(directory)
    except DbopsError as error:
        notes = "; ".join((f"{error.what} ({error.source or error.where})", *error.notes))
        return Finding("migration files", False, notes, error.hint)
    return _finding("migration files", bool(found), f"there are none in {directory}", "Write one with `invoke db.new`.")


def _trial(view: _View) -> Finding:
    """Create a database like the one to be, for a moment: that finds what no look at rights and settings can."""
    name = "properties can be restored"
    steps: tuple[Callable[[str], None], ...] = (
        lambda scratch_name: properties.restore(view.connection, scratch_name, view.wanted, view.report),
        lambda scratch_name: assert_restored(view.connection, view.target, scratch_name, view.wanted),
    )
    try:
        with postgres.translated(view.target), scratch(view.target, properties=view.wanted, report=view.report) as made:
            for step in steps:
                step(made.database)
    except DbopsError as error:
        reason = f"{view.server.role} could not create {view.target.database} again as it is: {error.what}"
        return Finding(name, False, reason, "Connect as a superuser, or take that property away first.")
    return Finding(name, True)
