"""Measure in a scratch database what pending migrations lock, rewrite and scan, and compare it with their headers."""

from __future__ import annotations

import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg

from dbops import postgres
from dbops.errors import MigrationError
from dbops.events import Progress, Report, ignore, step
from dbops.migrations import chunks, errors, ledger, locks
from dbops.migrations.errors import StatementError
from dbops.migrations.files import Migration
from dbops.migrations.options import MigrationOptions
from dbops.migrations.run import migrate
from dbops.migrations.sqlsplit import Statement
from dbops.postgres import Connection, sql_file
from dbops.settings import Target

# How long a statement that cannot run in a transaction is kept waiting, so that its first locks are seen, in seconds.
_HELD_SECONDS = 0.3
_POLL_SECONDS = 0.002
# A lock of this mode blocks no statement of a client's but for other migrations.
_HARMLESS = "ACCESS SHARE"

# Moves the rows of a table into the chunks of a hypertable.
_MOVES = re.compile(r"\bmigrate_data\b", re.IGNORECASE)

_MODES = sql_file("dbops.migrations", "lock_modes")
# Materialized views and foreign tables cannot be named in LOCK TABLE.
_LOCKABLE = """
SELECT c.oid::int8 FROM pg_catalog.pg_class AS c WHERE c.oid = ANY (%s::oid[]) AND c.relkind IN ('r', 'p')
"""
_FILES = """
SELECT c.oid::int8, c.relfilenode::int8, pg_catalog.pg_stat_get_xact_numscans(c.oid)
FROM pg_catalog.pg_class AS c WHERE c.oid = ANY (%s::oid[])
"""


@dataclass(frozen=True, slots=True)
class MeasuredStatement:
    """What a statement did to tables that its file found: modes by table, tables that it rewrote, and that it read.

    `locks` are those that its file had not taken before. `depends_on_rows` is whether they may be others where there
    are rows.
    """

    sql: str
    line: int
    seconds: float
    locks: dict[str, str]
    rewritten: tuple[str, ...]
    scanned: tuple[str, ...]
    depends_on_rows: bool = False


@dataclass(frozen=True, slots=True)
class MeasuredMigration:
    """What a file did: `locks` as its header should declare them, `problem` if it says less.

    `unmeasured` are the lines of statements that may lock more where there are rows.
    """

    version: int
    name: str
    path: str
    declared: str
    locks: str
    problem: str
    statements: tuple[MeasuredStatement, ...]
    unmeasured: tuple[int, ...] = ()


def rehearse(
    scratch: Target, migrations: tuple[Migration, ...], pending: tuple[Migration, ...], *, report: Report = ignore
) -> tuple[MeasuredMigration, ...]:
    """Apply the files before the pending ones to an empty scratch database, then measure the pending ones there.

    Each file runs in a transaction of its own, as with `--commit file`, unless it runs outside one. Hypertables have
    chunks, an old one and one of today, but no table has a row. Raises MigrationError where a statement fails.
    """
    before = tuple(file for file in migrations if pending and file.version < pending[0].version)
    migrate(scratch, before, MigrationOptions(fresh=True))
    measured: list[MeasuredMigration] = []
    with (
        step(report, "rehearse", f"{len(pending)} to measure", len(pending)) as outcome,
        postgres.translated(scratch),
        postgres.connect(scratch) as connection,
        postgres.connect(scratch) as observer,
    ):
        if not before:
            connection.execute(f"{ledger.CREATE_SCHEMA}; {ledger.CREATE_TABLE}".encode())
        chunks.make_chunks(connection)
        for migration in pending:
            report(Progress("rehearse", len(measured), migration.name))
            measured.append(_measured(connection, observer, migration))
        outcome.append(f"{len(measured)} measured")
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
    """Run a file, and return what its statements did to the tables that were there before."""
    tables = locks.tables_and_chunks(observer)
    statements: list[MeasuredStatement] = []
    statement: Statement | None = None
    transactional = migration.header.transactional
    connection.execute(f"RESET SESSION AUTHORIZATION; SET search_path = public{'; BEGIN' * transactional}".encode())
    try:
        for statement in migration.statements:
            statements.append(_run(connection, observer, statement, tables, transactional=transactional))
        statement = None
        connection.execute("RESET SESSION AUTHORIZATION")
        connection.execute(ledger.record_sql(migration, 0).encode())
        if transactional:
            connection.execute("COMMIT")
        # What a file leaves in its session is taken back before the next one.
        connection.execute("DISCARD ALL")
    except psycopg.Error as error:
        failure = StatementError(migration, error, statement)
        raise errors.failed(failure, "The rehearsal failed; nothing was applied to the target.") from None
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
        problem=locks.undeclared(migration.header.locks, strongest),
        statements=tuple(statements),
        unmeasured=tuple(done.line for done in statements if done.depends_on_rows),
    )


def _run(
    connection: Connection, observer: Connection, statement: Statement, tables: dict[int, str], *, transactional: bool
) -> MeasuredStatement:
    """Run a statement in the open transaction, and read what that holds now and did not hold before.

    One that cannot run in a transaction is looked at by the observer while it runs. The observer keeps the tables
    locked at first, so that the statement is seen waiting for what it locks.
    """
    oids, pid = list(tables), connection.info.backend_pid
    modes: dict[str, str] = {}
    held = set(_rows(observer, _MODES, pid, oids))
    before = {oid: (file, scans) for oid, file, scans in _rows(connection, _FILES, oids)}

    def look() -> None:
        for oid, mode in set(_rows(observer, _MODES, pid, oids)) - held:
            modes[tables[oid]] = locks.stronger(mode, modes.get(tables[oid]))

    began = time.monotonic()
    if transactional:
        connection.execute(statement.text.encode())
        spent = time.monotonic() - began
        look()
    else:
        # The statement is kept waiting twice: for its first locks, and, where it takes a stronger one of a table at its
        # end as DETACH PARTITION ... CONCURRENTLY does of the partition, for that.
        inherited = set(_rows(observer, "SELECT inhparent::int8 FROM pg_catalog.pg_inherits"))
        lockable = {oid: tables[oid] for (oid,) in _rows(observer, _LOCKABLE, oids)}
        leaves = sorted({table for oid, table in lockable.items() if (oid,) not in inherited})
        observer.execute("BEGIN")
        if leaves:
            observer.execute(f"LOCK TABLE ONLY {', ONLY '.join(leaves)} IN ACCESS SHARE MODE".encode())
        observer.execute("SAVEPOINT held")
        if lockable:
            observer.execute(f"LOCK TABLE {', '.join(sorted(set(lockable.values())))} IN EXCLUSIVE MODE".encode())
        began = time.monotonic()
        steps = [(_HELD_SECONDS, "ROLLBACK TO SAVEPOINT held"), (2 * _HELD_SECONDS, "ROLLBACK")]
        with ThreadPoolExecutor(1) as pool:
            running: Future[object] = pool.submit(connection.execute, statement.text.encode())
            while not running.done():
                look()
                if steps and time.monotonic() - began > steps[0][0]:
                    observer.execute(steps.pop(0)[1].encode())
                time.sleep(_POLL_SECONDS)
            if steps:
                observer.execute("ROLLBACK")
            spent = max(0.0, time.monotonic() - began - 2 * _HELD_SECONDS)
            running.result()
    after = [row for row in _rows(connection, _FILES, oids) if row[0] in before]
    rewritten = {tables[oid] for oid, file, _ in after if file != before[oid][0]}
    # Scans are counted since the server last collected them, which may have been some transactions ago.
    scanned = {tables[oid] for oid, _, scans in after if scans > before[oid][1] and transactional}
    # What a statement locks may depend on rows where it runs code, or moves rows that are there.
    depends = statement.begins("DO") or statement.begins("CALL") or _MOVES.search(statement.text) is not None
    return MeasuredStatement(
        statement.text, statement.line, spent, modes, tuple(sorted(rewritten)), tuple(sorted(scanned)), depends
    )


def _rows(connection: Connection, query: str, *parameters: object) -> list[Any]:
    return connection.execute(query.encode(), parameters).fetchall()
