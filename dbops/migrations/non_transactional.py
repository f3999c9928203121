"""Apply a file that cannot run in a transaction: its row says "begun" before and "finished" after.

What CREATE INDEX leaves behind when it fails there is an index that is invalid, and in the way. That is CREATE INDEX
CONCURRENTLY, and on a hypertable CREATE INDEX ... WITH (timescaledb.transaction_per_chunk).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from dbops.errors import MigrationError
from dbops.events import Message
from dbops.migrations import files
from dbops.migrations.errors import StatementError
from dbops.migrations.files import IndexBuild, Migration
from dbops.migrations.options import LOCK_TIMEOUT
from dbops.migrations.session import Command, MigrationSession
from dbops.migrations.statements import NAMED, Tokens
from dbops.migrations.tokens import read
from dbops.postgres import Connection, sql_file

_MAY_BE_THERE = (
    "an earlier run began this file, and may have completed it before it was interrupted: "
    "if what it creates exists, write IF NOT EXISTS (or IF EXISTS) in the file"
)
# Whether a detach that was interrupted waits to be completed.
_PENDING_DETACH = """
SELECT i.inhdetachpending FROM pg_catalog.pg_inherits AS i
WHERE i.inhparent = pg_catalog.to_regclass(%s) AND i.inhrelid = pg_catalog.to_regclass(%s)
"""
_DETACHES = re.compile(rf"DETACH PARTITION {NAMED} CONCURRENTLY ")


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is not valid; `own` is whether it is the one that a file builds."""

    oid: int
    schema: str
    name: str
    own: bool

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def apply(session: MigrationSession, migration: Migration, *, again: bool) -> None:
    """Apply a file of one statement, again while a lock cannot be acquired; `again` if an earlier run began it.

    Its row says that it has begun, and stays so if the file fails. Raises MigrationError.
    """
    session.first_attempt()
    (statement,) = migration.statements
    command = Command(statement.text, migration, statement)
    build = files.index_build(statement.text)
    definition = _commit_row(session, migration)
    session.doubt = f"{migration.name} was begun outside a transaction: see `invoke db.status` before anything else."
    began = time.monotonic()
    with session.outside_transaction(migration):
        before = _invalid_indexes(session.connection, build)
        while True:
            try:
                if again or session.attempt > 1:
                    command = _resumed(session, command, build)
                session.run(command)
                break
            except StatementError as failure:
                if session.connection.closed:
                    session.doubt = f"{migration.name} was begun outside a transaction; its progress is not known."
                    raise session.error(failure) from None
                left = [index for index in _invalid_indexes(session.connection, build) if index not in before]
                # The next attempt drops what a CREATE INDEX has left.
                if (build or not left) and session.again(failure):
                    continue
                session.doubt = ""
                ran = f"{migration.name} ran outside a transaction: the ledger has it as unfinished."
                session.doubt = f"{session.state()} {ran}"
                follows = "the next run drops and rebuilds it" if build else "drop it with DROP INDEX CONCURRENTLY"
                notes = [f"left behind: {index}, an invalid index; {follows}" for index in left]
                raise session.error(failure, (*notes, *([_MAY_BE_THERE] if again else []))) from None
        # Those that IF NOT EXISTS passed over, and those that were valid before.
        invalid = [i for i in _invalid_indexes(session.connection, build) if i.own or i not in before]
    if own := next((index for index in invalid if index.own), None):
        raise MigrationError(
            f"migration {migration.name} ran, but {own} is an invalid index, which IF NOT EXISTS passed over",
            where=migration.label,
            state="The file stays unfinished.",
            hint="Run `invoke db.migrate` again: it drops the index and builds it anew.",
        )
    if invalid:
        raise MigrationError(
            f"migration {migration.name} ran, and left invalid indexes: {', '.join(map(str, invalid))}",
            where=migration.label,
            state="The file stays unfinished.",
            hint="Use DROP INDEX CONCURRENTLY on them, and run `invoke db.migrate` again.",
        )
    _commit_row(session, migration, definition, round((time.monotonic() - began) * 1000))


def _commit_row(
    session: MigrationSession, migration: Migration, definition: str = "", duration_ms: int | None = None
) -> str:
    """Write the file's row in a transaction of its own, and return the ledger's definition, which is to be as given."""
    try:
        with session.transaction(migration) as found:
            session.record(migration, duration_ms)
            session.assert_ledger([migration], definition or found, finished=duration_ms is not None)
            session.commit(migration)
    except (psycopg.Error, StatementError) as error:
        failure = error if isinstance(error, StatementError) else StatementError(migration, error)
        raise session.error(failure) from None
    return found


def _invalid_indexes(connection: Connection, build: IndexBuild | None) -> tuple[Index, ...]:
    """Return the indexes of this database that are not valid, without those that other sessions are building."""
    names = {"name": build and build.name, "table": build and build.table}
    rows: list[Any] = connection.execute(sql_file("dbops.migrations", "invalid_indexes").encode(), names).fetchall()
    return tuple(Index(*row) for row in rows)


def _resumed(session: MigrationSession, command: Command, build: IndexBuild | None) -> Command:
    """Return the command that goes on where an earlier attempt at this very statement ended.

    The invalid index that a CREATE INDEX left is dropped; a DETACH PARTITION CONCURRENTLY that has begun is completed.
    Raises StatementError if that fails.
    """
    connection, migration = session.connection, command.migration
    if index := next((index for index in _invalid_indexes(connection, build) if index.own), None):
        text = f"drops the invalid index {index} that an earlier attempt left"
        session.report(Message("WARNING", text, migration.label))
        name = sql.Identifier(index.schema, index.name)
        try:
            try:
                connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(name))
            except psycopg.errors.FeatureNotSupported:
                # TimescaleDB refuses that for a hypertable. This one locks the table: for a moment, in short attempts.
                timeout = sql.Literal(LOCK_TIMEOUT)
                connection.execute(
                    sql.SQL("BEGIN; SET LOCAL lock_timeout = {}; DROP INDEX {}; COMMIT").format(timeout, name)
                )
        except psycopg.Error as error:
            if not connection.closed:
                connection.execute("ROLLBACK")
            raise StatementError(migration, error) from None
    altering = Tokens(read(command.sql, 0))
    for action in altering.actions:
        if match := _DETACHES.fullmatch(action.form):
            partition = action.name(match)
            names = [sql.Identifier(*name.split(".", 1)).as_string() for name in (altering.altered, partition)]
            if connection.execute(_PENDING_DETACH, names).fetchall() == [(True,)]:
                text = f"completes the detaching of {partition} that an earlier attempt began"
                session.report(Message("WARNING", text, migration.label))
                finalize = f"ALTER TABLE {names[0]} DETACH PARTITION {names[1]} FINALIZE"
                return Command(finalize, migration, command.statement)
    return command
