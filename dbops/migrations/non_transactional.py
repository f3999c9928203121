"""Apply a file that cannot run in a transaction: its row says "begun" before and "finished" after.

What CREATE INDEX leaves behind when it fails there is an index that is invalid, and in the way. That is CREATE INDEX
CONCURRENTLY, and on a hypertable CREATE INDEX ... WITH (timescaledb.transaction_per_chunk).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from dbops.errors import MigrationError
from dbops.events import Message
from dbops.migrations import files, ledger
from dbops.migrations.errors import StatementError
from dbops.migrations.files import IndexBuild, Migration
from dbops.migrations.session import LOCK_TIMEOUT, Command, texts
from dbops.migrations.sqlsplit import LineCounter, split
from dbops.migrations.work import AppliedMigration, Attempts, Work
from dbops.postgres import Connection

_MAY_BE_THERE = (
    "an earlier run began this file, and may have completed it before it was interrupted: "
    "if what it creates exists, write IF NOT EXISTS (or IF EXISTS) in the file"
)
# Without those that another session is building: it holds this lock on their table meanwhile, which every role may see,
# while pg_stat_progress_create_index hides other roles' builds.
_INVALID = """
SELECT i.indexrelid::int8, n.nspname::text, c.relname::text
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_locks AS l WHERE l.locktype = 'relation' AND l.relation = i.indrelid AND l.granted
    AND l.mode = 'ShareUpdateExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid()
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
)
"""
# The cast cuts a name to 63 bytes, as CREATE INDEX does; a table without a schema is in public, as for migrations.
_ITS_OWN = (
    _INVALID
    + """
AND c.relname = (pg_catalog.parse_ident(%s))[1]::pg_catalog.name
AND i.indrelid = pg_catalog.to_regclass(
    CASE WHEN pg_catalog.cardinality(pg_catalog.parse_ident(%s)) = 1 THEN 'public.' ELSE '' END || %s)
"""
)


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is not valid."""

    oid: int
    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def apply(work: Work, migration: Migration, *, again: bool) -> None:
    """Apply a file of one statement; `again` if an earlier run began it. Its row stays unfinished if it fails."""
    session = work.session
    statement = next(split(migration.text))
    sql_text = migration.text[statement.start : statement.end]
    line = LineCounter(migration.text).line_at(statement.start)
    command = Command(sql_text, migration, statement, line)
    work.announce(command)
    _record(work, migration, "NULL")
    work.doubt = f"{migration.name} was begun outside a transaction: see `invoke db.status` before anything else."
    began = time.monotonic()
    with _prepared(work):
        _build(work, command, files.index_build(sql_text), again=again)
    spent = time.monotonic() - began
    _record(work, migration, str(round(spent * 1000)))
    work.doubt = ""
    session.clean = False
    work.committed.append(AppliedMigration(migration.version, migration.name, 1, spent))


@contextmanager
def _prepared(work: Work) -> Iterator[None]:
    """Make the session the database owner's, with no settings but ours, and take back what the file leaves in it."""
    session = work.session
    session.script(*session.resetting(local=False))
    try:
        yield
    finally:
        if not session.connection.closed:
            session.script(*session.resetting(local=False), "RESET ROLE")


def _record(work: Work, migration: Migration, duration_ms: str) -> None:
    """Write the file's row in a transaction of its own."""
    session = work.session
    settings = f"SELECT {session.settings(migration, 'pg_catalog', local=True)}"
    try:
        session.script("BEGIN READ WRITE", *session.as_owner(local=True), settings, *work.creating_ledger())
        cursor = session.connection.execute(ledger.record(migration, duration_ms).encode())
        ledger.assert_recorded(migration, texts(cursor.pgresult))
    except psycopg.Error as error:
        failure = StatementError(migration, error)
        work.roll_back()
        raise work.error(failure) from None
    except MigrationError:
        work.roll_back()
        raise
    session.script("COMMIT")
    work.has_ledger = True
    work.rows[migration.version] = (migration.name, migration.checksum, duration_ms != "NULL")


def _build(work: Work, command: Command, build: IndexBuild | None, *, again: bool) -> None:
    """Run the statement, again where a lock could not be acquired and no invalid index is left."""
    session, migration = work.session, command.migration
    connection = session.connection
    before = invalid_indexes(connection)
    attempts = Attempts(work)
    while True:
        try:
            if again or attempts.count > 1:
                _drop_leftover(work, migration, build)
            session.script(_settings(work, migration, "public"))
            session.run(work.timed([command]), lambda _: None)
            session.script(_settings(work, migration, "pg_catalog"))
            break
        except StatementError as failure:
            if connection.closed:
                work.doubt = f"{migration.name} was begun outside a transaction; its progress is not known."
                raise work.error(failure) from None
            session.script(_settings(work, migration, "pg_catalog"))
            left = invalid_indexes(connection) - before
            if (left and not build) or not attempts.again(failure):
                raise _error(work, failure, build, left, attempts.count, again=again) from None
    _assert_valid(work, migration, build, before)


def _settings(work: Work, migration: Migration, path: str) -> str:
    limit = work.session.limits.statement_for(migration) if path == "public" else "0"
    return f"SELECT {work.session.settings(migration, path, local=False, statement_timeout=limit)}"


def _error(
    work: Work, failure: StatementError, build: IndexBuild | None, left: frozenset[Index], attempts: int, *, again: bool
) -> MigrationError:
    """Return the error that ends the run, with what the statement left behind."""
    follows = "the next run drops and rebuilds it" if build else "drop it with DROP INDEX CONCURRENTLY"
    notes = [f"left behind: {index}, an invalid index; {follows}" for index in sorted(map(str, left))]
    if again:
        notes.append(_MAY_BE_THERE)
    work.doubt = ""
    work.doubt = f"{work.state()} {failure.migration.name} ran outside a transaction: the ledger has it as unfinished."
    return work.error(failure, attempts, tuple(notes))


def invalid_indexes(connection: Connection) -> frozenset[Index]:
    """Return the indexes of this database that are not valid, without those that other sessions are building."""
    return frozenset(Index(*row) for row in _rows(connection, _INVALID))


def _leftover(connection: Connection, build: IndexBuild | None) -> Index | None:
    """Return the invalid index that an earlier attempt at a build left."""
    rows = _rows(connection, _ITS_OWN, build.name, build.table, build.table) if build else []
    return Index(*rows[0]) if rows else None


def _rows(connection: Connection, query: str, *parameters: str) -> list[Any]:
    return connection.execute(query.encode(), parameters or None).fetchall()


def _drop_leftover(work: Work, migration: Migration, build: IndexBuild | None) -> None:
    """Drop the invalid index that an earlier attempt at this very statement left; StatementError if that fails."""
    connection = work.session.connection
    index = _leftover(connection, build)
    if index is None:
        return
    text = f"drops the invalid index {index} that an earlier attempt left"
    work.session.report(Message("WARNING", text, migration.label))
    name = sql.Identifier(index.schema, index.name)
    try:
        try:
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(name))
        except psycopg.errors.FeatureNotSupported:
            # TimescaleDB refuses that for a hypertable. This one locks the table: for a moment, and in short attempts.
            timeout = sql.Literal(LOCK_TIMEOUT)
            connection.execute(
                sql.SQL("BEGIN; SET LOCAL lock_timeout = {}; DROP INDEX {}; COMMIT").format(timeout, name)
            )
    except psycopg.Error as error:
        if not connection.closed:
            connection.execute("ROLLBACK")
        raise StatementError(migration, error) from None


def _assert_valid(work: Work, migration: Migration, build: IndexBuild | None, before: frozenset[Index]) -> None:
    """Raise MigrationError if an index is invalid that IF NOT EXISTS passed over, or that was valid before."""
    connection = work.session.connection
    if index := _leftover(connection, build):
        raise MigrationError(
            f"migration {migration.name} ran, but {index} is an invalid index, which IF NOT EXISTS passed over",
            where=migration.label,
            state="The file stays unfinished.",
            hint="Run `invoke db.migrate` again: it drops the index and builds it anew.",
        )
    if left := sorted(map(str, invalid_indexes(connection) - before)):
        raise MigrationError(
            f"migration {migration.name} ran, and left invalid indexes: {', '.join(left)}",
            where=migration.label,
            state="The file stays unfinished.",
            hint="Use DROP INDEX CONCURRENTLY on them, and run `invoke db.migrate` again.",
        )
