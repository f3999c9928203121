"""Measure in a scratch database what pending migrations lock, rewrite and scan, and compare it with their headers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
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
from dbops.migrations.sqlsplit import LineCounter, Statement, location_at, split
from dbops.postgres import Connection
from dbops.settings import Target

# How long a statement that cannot run in a transaction is kept waiting, so that its first locks are seen, in seconds.
_HELD_SECONDS = 0.3
_POLL_SECONDS = 0.002
# A lock of this mode blocks no statement of a client's but for other migrations.
_HARMLESS = "ACCESS SHARE"

_EXISTING = """
SELECT c.oid::int8, pg_catalog.format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname <> 'dbops' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend AS d WHERE d.deptype = 'e' AND (
        (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid)
        OR (d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.objid = n.oid)))
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""
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
    """Apply the files that are not pending to an empty scratch database, then measure the pending ones there.

    Each statement runs in a transaction of its own, so that what it locks is not hidden by the ones before it. Raises
    MigrationError where one fails.
    """
    began = time.monotonic()
    before = tuple(migration for migration in migrations if migration not in pending)
    migrate(scratch, before, fresh=True, report=lambda event: None)
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
    rows: list[Any] = observer.execute(_EXISTING.encode()).fetchall()
    tables: dict[int, str] = dict(rows)
    statements: list[MeasuredStatement] = []
    lines = LineCounter(migration.text)
    for statement in split(migration.text):
        sql = migration.text[statement.start : statement.end]
        line = lines.line_at(statement.start)
        with _failing(migration, statement):
            if migration.header.transactional:
                statements.append(_run_in_transaction(connection, sql, line, tables))
            else:
                statements.append(_run_alone(connection, observer, sql, line, tables))
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


@contextmanager
def _failing(migration: Migration, statement: Statement) -> Iterator[None]:
    """Turn the server's error into a MigrationError at its location."""
    try:
        yield
    except psycopg.Error as error:
        location = location_at(migration.text, errors.offset_of(migration.text, statement, error.diag), migration.label)
        raise errors.failed(
            StatementError(migration, error, location), "The rehearsal failed; nothing was applied to the target."
        ) from None


def _run_in_transaction(connection: Connection, sql: str, line: int, tables: dict[int, str]) -> MeasuredStatement:
    """Run a statement in a transaction, and read what it holds at its end."""
    oids = list(tables)
    connection.execute("BEGIN")
    before = {oid: (file, scans) for oid, file, scans in _rows(connection, _FILES, oids)}
    began = time.monotonic()
    connection.execute(sql.encode())
    spent = time.monotonic() - began
    modes: dict[str, str] = {}
    for oid, mode in _rows(connection, _MODES, connection.info.backend_pid, oids):
        modes[tables[oid]] = locks.stronger(mode, modes.get(tables[oid]))
    after = _rows(connection, _FILES, oids)
    connection.execute("COMMIT")
    rewritten = sorted(tables[oid] for oid, file, _ in after if file != before[oid][0])
    # Scans are counted since the server last collected them, which may have been some transactions ago.
    scanned = sorted(tables[oid] for oid, _, scans in after if scans > before[oid][1])
    return MeasuredStatement(sql, line, spent, modes, tuple(rewritten), tuple(scanned))


def _run_alone(
    connection: Connection, observer: Connection, sql: str, line: int, tables: dict[int, str]
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
        running: Future[object] = pool.submit(connection.execute, sql.encode())
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
    return MeasuredStatement(sql, line, spent, modes, tuple(rewritten), ())


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
