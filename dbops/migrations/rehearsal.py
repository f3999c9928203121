"""Measure in a scratch database what pending migrations lock, rewrite and scan, and compare it with their headers."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg

from dbops import postgres
from dbops.errors import MigrationError
from dbops.events import Progress, Report, StepFinished, StepStarted, ignore
from dbops.migrations import errors, ledger, locks
from dbops.migrations.errors import StatementError
from dbops.migrations.files import Migration
from dbops.migrations.run import migrate
from dbops.migrations.session import Options
from dbops.migrations.sqlsplit import Statement, split
from dbops.postgres import Connection
from dbops.settings import Target

# How long a statement that cannot run in a transaction is kept waiting, so that its first locks are seen, in seconds.
_HELD_SECONDS = 0.3
_POLL_SECONDS = 0.002
# A lock of this mode blocks no statement of a client's but for other migrations.
_HARMLESS = "ACCESS SHARE"

_MODES = """
SELECT l.relation::int8, pg_catalog.upper(pg_catalog.regexp_replace(
    pg_catalog.regexp_replace(l.mode, 'Lock$', ''), '(?<=[a-z])(?=[A-Z])', ' ', 'g'))
FROM pg_catalog.pg_locks AS l
WHERE l.pid = %s AND l.locktype = 'relation' AND l.relation = ANY (%s::oid[])
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
"""
_FILES = """
SELECT c.oid::int8, c.relfilenode::int8, pg_catalog.pg_stat_get_xact_numscans(c.oid)
FROM pg_catalog.pg_class AS c WHERE c.oid = ANY (%s::oid[])
"""


@dataclass(frozen=True, slots=True)
class MeasuredStatement:
    """What a statement did to tables that its file found: modes by table, tables that it rewrote, and that it read."""

    sql: str
    line: int
    seconds: float
    locks: dict[str, str]
    rewritten: tuple[str, ...]
    scanned: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MeasuredMigration:
    """What a file did: `locks` as its header should declare them, `problem` if it says less."""

    version: int
    name: str
    path: str
    declared: str
    locks: str
    problem: str
    statements: tuple[MeasuredStatement, ...]


def rehearse(
    scratch: Target, migrations: tuple[Migration, ...], pending: tuple[Migration, ...], *, report: Report = ignore
) -> tuple[MeasuredMigration, ...]:
    """Apply the files before the pending ones to an empty scratch database, then measure the pending ones there.

    Each statement runs in a transaction of its own, so that what it locks is not hidden by the ones before it. Raises
    MigrationError where one fails.
    """
    began = time.monotonic()
    before = tuple(file for file in migrations if pending and file.version < pending[0].version)
    migrate(scratch, before, Options(fresh=True))
    report(StepStarted("rehearse", f"{len(pending)} to measure", len(pending)))
    measured: list[MeasuredMigration] = []
    with postgres.translated(scratch), postgres.connect(scratch) as connection, postgres.connect(scratch) as observer:
        if not before:
            connection.execute("; ".join([ledger.CREATE_SCHEMA, *ledger.CREATE_TABLE]).encode())
        connection.execute("SET search_path = public")
        for migration in pending:
            report(Progress("rehearse", len(measured), migration.name))
            measured.append(_measured(connection, observer, migration))
    report(StepFinished("rehearse", f"{len(measured)} measured", time.monotonic() - began))
    return tuple(measured)


def assert_declared(measured: tuple[MeasuredMigration, ...]) -> None:
    """Raise MigrationError if a header declares less than what was measured."""
    wrong = [migration for migration in measured if migration.problem]
    if wrong:
        raise MigrationError(
            f"migration {wrong[0].name}: {wrong[0].problem}"
            if len(wrong) == 1
            else f"{len(wrong)} migrations lock more than their headers say",
            where=wrong[0].path,
            notes=tuple(f"{migration.path}: -- Locks: {migration.locks}" for migration in wrong),
            state="Nothing was applied to the target.",
            hint="Paste the measured line into the header, and decide again whether the file may run on live data.",
        )


def _measured(connection: Connection, observer: Connection, migration: Migration) -> MeasuredMigration:
    """Run a file's statements one by one, and return what they did to the tables that were there before."""
    tables = locks.tables(observer)
    statements: list[MeasuredStatement] = []
    for statement in split(migration.text):
        try:
            if migration.header.transactional:
                statements.append(_run_in_transaction(connection, statement, tables))
            else:
                statements.append(_run_alone(connection, observer, statement, tables))
        except psycopg.Error as error:
            failure = StatementError(migration, error, statement)
            raise errors.failed(failure, "The rehearsal failed; nothing was applied to the target.") from None
    connection.execute(ledger.record(migration, "0").encode())
    strongest: dict[str, str] = {}
    for done in statements:
        for table, mode in done.locks.items():
            if mode != _HARMLESS:
                strongest[table] = locks.stronger(mode, strongest.get(table))
    return MeasuredMigration(
        version=migration.version,
        name=migration.name,
        path=migration.label,
        declared=migration.header.locks,
        locks=locks.described(strongest),
        problem=_problem(migration, strongest),
        statements=tuple(statements),
    )


def _run_in_transaction(connection: Connection, statement: Statement, tables: dict[int, str]) -> MeasuredStatement:
    """Run a statement in a transaction, and read what it holds at its end."""
    oids = list(tables)
    connection.execute("BEGIN")
    before = {oid: (file, scans) for oid, file, scans in _rows(connection, _FILES, oids)}
    began = time.monotonic()
    connection.execute(statement.text.encode())
    spent = time.monotonic() - began
    modes: dict[str, str] = {}
    for oid, mode in _rows(connection, _MODES, connection.info.backend_pid, oids):
        modes[tables[oid]] = locks.stronger(mode, modes.get(tables[oid]))
    after = _rows(connection, _FILES, oids)
    connection.execute("COMMIT")
    rewritten = sorted(tables[oid] for oid, file, _ in after if file != before[oid][0])
    # Scans are counted since the server last collected them, which may have been some transactions ago.
    scanned = sorted(tables[oid] for oid, _, scans in after if scans > before[oid][1])
    return MeasuredStatement(statement.text, statement.line, spent, modes, tuple(rewritten), tuple(scanned))


def _run_alone(
    connection: Connection, observer: Connection, statement: Statement, tables: dict[int, str]
) -> MeasuredStatement:
    """Run a statement that cannot run in a transaction while the observer looks at its locks.

    The observer keeps the tables locked at first, so that the statement is seen waiting for what it locks.
    """
    oids, pid = list(tables), connection.info.backend_pid
    modes: dict[str, str] = {}
    files = {oid: file for oid, file, _ in _rows(observer, _FILES, oids)}
    observer.execute("BEGIN")
    if tables:
        observer.execute(f"LOCK TABLE {', '.join(tables.values())} IN EXCLUSIVE MODE".encode())
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        running: Future[object] = pool.submit(connection.execute, statement.text.encode())
        held = True
        while not running.done():
            for oid, mode in _rows(observer, _MODES, pid, oids):
                modes[tables[oid]] = locks.stronger(mode, modes.get(tables[oid]))
            if held and time.monotonic() - began > _HELD_SECONDS:
                observer.execute("ROLLBACK")
                held = False
            time.sleep(_POLL_SECONDS)
        if held:
            observer.execute("ROLLBACK")
        spent = max(0.0, time.monotonic() - began - _HELD_SECONDS)
        running.result()
    after = _rows(observer, _FILES, oids)
    rewritten = sorted(tables[oid] for oid, file, _ in after if file != files.get(oid))
    return MeasuredStatement(statement.text, statement.line, spent, modes, tuple(rewritten), ())


def _rows(connection: Connection, query: str, *parameters: object) -> list[Any]:
    return connection.execute(query.encode(), parameters).fetchall()


def _problem(migration: Migration, measured: dict[str, str]) -> str:
    """Return what the header leaves out; empty if it declares all that was measured."""
    try:
        declared = locks.parse(migration.header.locks)
    except ValueError as error:
        return str(error)
    if declared is None:
        return "its header declares no locks"
    less = [
        f"{mode} on {table}"
        for table, mode in sorted(measured.items())
        if locks.stronger(mode, declared.get(table)) != declared.get(table)
    ]
    return f"its header does not declare {'; '.join(less)}" if less else ""
