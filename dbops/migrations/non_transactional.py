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
from dbops.migrations import files, ledger
from dbops.migrations.errors import StatementError
from dbops.migrations.files import IndexBuild, Migration
from dbops.migrations.names import ALTER_TABLE, TABLE, qualified, stored
from dbops.migrations.session import LOCK_TIMEOUT, Command, Session, texts
from dbops.migrations.sqlsplit import split, without_comments
from dbops.migrations.work import AppliedMigration, Work
from dbops.postgres import Connection

_MAY_BE_THERE = (
    "an earlier run began this file, and may have completed it before it was interrupted: "
    "if what it creates exists, write IF NOT EXISTS (or IF EXISTS) in the file"
)
# Without those that another session is building: it holds this lock on their table meanwhile, which every role may see,
# while pg_stat_progress_create_index hides other roles' builds. The cast cuts a name to 63 bytes, as CREATE INDEX does;
# a table without a schema is in public, as for migrations.
_INVALID = """
SELECT i.indexrelid::int8, n.nspname::text, c.relname::text, coalesce(
    c.relname = (pg_catalog.parse_ident(%(name)s))[1]::pg_catalog.name AND i.indrelid = pg_catalog.to_regclass(
        CASE WHEN pg_catalog.cardinality(pg_catalog.parse_ident(%(table)s)) = 1 THEN 'public.' ELSE '' END || %(table)s
    ), false)
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_locks AS l WHERE l.locktype = 'relation' AND l.relation = i.indrelid AND l.granted
    AND l.mode = 'ShareUpdateExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid()
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
)
ORDER BY 2, 3
"""


# Whether a detach that was interrupted waits to be completed.
_PENDING_DETACH = """
SELECT i.inhdetachpending FROM pg_catalog.pg_inherits AS i
WHERE i.inhparent = pg_catalog.to_regclass(%s) AND i.inhrelid = pg_catalog.to_regclass(%s)
"""
_DETACHES = re.compile(rf"\s*DETACH\s+PARTITION\s+{TABLE}\s+CONCURRENTLY\s*;?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is not valid; `own` is whether it is the one that a file builds."""

    oid: int
    schema: str
    name: str
    own: bool

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def apply(work: Work, migration: Migration, *, again: bool) -> None:
    """Apply a file of one statement; `again` if an earlier run began it. Its row stays unfinished if it fails."""
    session = work.session
    statement = next(split(migration.text))
    work.first_attempt()
    _record(work, migration, "NULL")
    work.doubt = f"{migration.name} was begun outside a transaction: see `invoke db.status` before anything else."
    began = time.monotonic()
    # The statement runs as the database's owner, with no settings but ours; what it leaves behind is taken back.
    session.script(*session.reset_sql(local=False))
    try:
        _build(work, Command(statement.text, migration, statement), again=again)
    finally:
        if not session.connection.closed:
            session.script(*session.reset_sql(local=False), "SET ROLE NONE")
    spent = time.monotonic() - began
    _record(work, migration, str(round(spent * 1000)))
    work.doubt = ""
    session.outgoing.clean = False
    session.incoming.done += 1
    work.committed.append(AppliedMigration(migration.version, migration.name, 1, spent))


def _record(work: Work, migration: Migration, duration_ms: str) -> None:
    """Write the file's row in a transaction of its own."""
    session = work.session
    settings = f"SELECT {session.settings(migration, 'pg_catalog', local=True)}"
    try:
        session.script("BEGIN READ WRITE", *session.owner_sql(local=True), settings, *work.creating_ledger())
        cursor = session.connection.execute(ledger.record_sql(migration, duration_ms).encode())
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


def _build(work: Work, command: Command, *, again: bool) -> None:
    """Run the statement, again where a lock could not be acquired and no invalid index of another name is left."""
    session, migration = work.session, command.migration
    build = files.index_build(command.sql)
    ours = f"SELECT {session.settings(migration, 'pg_catalog', local=False)}"
    limit = session.options.statement_timeout_for(migration)
    theirs = f"SELECT {session.settings(migration, 'public', local=False, statement_timeout=limit)}"
    before = _invalid_indexes(session.connection, build)
    while True:
        try:
            if again or session.attempt > 1:
                _drop_leftover(session, migration, build)
                command = _finalizing(session, command)
            session.script(theirs)
            session.run(command)
            session.script(ours)
            break
        except StatementError as failure:
            if session.connection.closed:
                work.doubt = f"{migration.name} was begun outside a transaction; its progress is not known."
                raise work.error(failure) from None
            session.script(ours)
            left = [index for index in _invalid_indexes(session.connection, build) if index not in before]
            if (build or not left) and work.again(failure):
                continue
            follows = "the next run drops and rebuilds it" if build else "drop it with DROP INDEX CONCURRENTLY"
            notes = [f"left behind: {index}, an invalid index; {follows}" for index in left]
            work.doubt = ""
            work.doubt = f"{work.state()} {migration.name} ran outside a transaction: the ledger has it as unfinished."
            raise work.error(failure, (*notes, *([_MAY_BE_THERE] if again else []))) from None
    # Those that IF NOT EXISTS passed over, and those that were valid before.
    invalid = _invalid_indexes(session.connection, build)
    if own := next((index for index in invalid if index.own), None):
        raise MigrationError(
            f"migration {migration.name} ran, but {own} is an invalid index, which IF NOT EXISTS passed over",
            where=migration.label,
            state="The file stays unfinished.",
            hint="Run `invoke db.migrate` again: it drops the index and builds it anew.",
        )
    if names := [str(index) for index in invalid if index not in before]:
        raise MigrationError(
            f"migration {migration.name} ran, and left invalid indexes: {', '.join(names)}",
            where=migration.label,
            state="The file stays unfinished.",
            hint="Use DROP INDEX CONCURRENTLY on them, and run `invoke db.migrate` again.",
        )


def _invalid_indexes(connection: Connection, build: IndexBuild | None) -> tuple[Index, ...]:
    """Return the indexes of this database that are not valid, without those that other sessions are building."""
    names = {"name": build and build.name, "table": build and build.table}
    rows: list[Any] = connection.execute(_INVALID.encode(), names).fetchall()
    return tuple(Index(*row) for row in rows)


def _finalizing(session: Session, command: Command) -> Command:
    """Return what completes a DETACH PARTITION CONCURRENTLY that an earlier attempt began; else the command itself."""
    altered = ALTER_TABLE.fullmatch(without_comments(command.sql))
    detached = altered and _DETACHES.fullmatch(altered["actions"])
    if not altered or not detached:
        return command
    written = (altered["table"], detached["table"])
    names = [name if qualified(name) == stored(name) else f"public.{name}" for name in written]
    if session.connection.execute(_PENDING_DETACH, names).fetchall() != [(True,)]:
        return command
    text = f"completes the detaching of {names[1]} that an earlier attempt began"
    session.report(Message("WARNING", text, command.migration.label))
    finalize = f"ALTER TABLE {altered['table']} DETACH PARTITION {detached['table']} FINALIZE"
    return Command(finalize, command.migration, command.statement)


def _drop_leftover(session: Session, migration: Migration, build: IndexBuild | None) -> None:
    """Drop the invalid index that an earlier attempt at this very statement left; StatementError if that fails."""
    connection = session.connection
    index = next((index for index in _invalid_indexes(connection, build) if index.own), None)
    if index is None:
        return
    text = f"drops the invalid index {index} that an earlier attempt left"
    session.report(Message("WARNING", text, migration.label))
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
