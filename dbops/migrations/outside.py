"""Apply a file that cannot run in a transaction: its row says "begun" before and "finished" after.

What makes that hard is CREATE INDEX CONCURRENTLY: when it fails it leaves an index that is invalid, and in the way.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dbops.errors import MigrationError
from dbops.events import Message
from dbops.migrations import files, ledger
from dbops.migrations.files import Migration
from dbops.migrations.statements import Statement, split
from dbops.migrations.work import TRIES, AppliedMigration, RefusedError, Work
from dbops.postgres import Connection

_INVALID = """
SELECT i.indexrelid::bigint, n.nspname::text, c.relname::text
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' ORDER BY 1
"""


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
    text = files.read(migration)
    statement = next(split(text))
    work.announce(migration)
    _record(work, migration, None)
    work.doubt = f"{migration.name} was begun outside a transaction: see `invoke db.status` before anything else."
    for attempt in range(1, TRIES + 1):
        if again or attempt > 1:
            _clear_away(work, migration, statement)
        before = invalid_indexes(work.session.connection)
        began = time.monotonic()
        try:
            _run(work, migration, text, statement)
            break
        except RefusedError as failure:
            _after_failure(work, failure, statement, before, attempt)
    spent = time.monotonic() - began
    _refuse_invalid(work, migration, statement)
    _record(work, migration, round(spent * 1000))
    work.doubt = ""
    work.committed.append(AppliedMigration(migration.version, migration.name, 1, spent))


def _run(work: Work, migration: Migration, text: str, statement: Statement) -> None:
    work.session.prepare(migration, local=False)
    try:
        work.run(migration, text, statement)
    finally:
        if not work.session.connection.closed:
            work.session.script("RESET SESSION AUTHORIZATION", "RESET ALL", "RESET ROLE")


def _record(work: Work, migration: Migration, duration_ms: int | None) -> None:
    """Write the file's row in a transaction of its own."""
    work.session.script("BEGIN READ WRITE")
    work.ensure_ledger()
    work.session.as_owner(ledger.record(migration, duration_ms), "COMMIT")
    work.has_ledger = True


def _after_failure(
    work: Work, failure: RefusedError, statement: Statement, before: frozenset[Index], attempt: int
) -> None:
    """Wait for the next try, or raise what ends the run, and say what the statement left behind."""
    name = failure.migration.name
    connection = work.session.connection
    if connection.closed:
        work.doubt = f"{name} was begun outside a transaction, and how far it came is not known."
        raise work.refusal(failure) from None
    left = sorted(str(index) for index in invalid_indexes(connection) - before)
    if failure.passing and attempt < TRIES:
        work.pause(failure, attempt)
        return
    own = index_built(statement) is not None
    follows = "the next run drops and rebuilds it" if own else "drop it with DROP INDEX CONCURRENTLY"
    extra = tuple(f"left behind: {index}, an invalid index; {follows}" for index in left)
    work.doubt = ""
    work.doubt = f"{work.state()} {name} ran outside a transaction, and stays in the ledger as unfinished."
    raise work.refusal(failure, attempt, extra) from None


def _clear_away(work: Work, migration: Migration, statement: Statement) -> None:
    """Drop the invalid index that an earlier try at this very statement left."""
    name = index_built(statement)
    for index in invalid_indexes(work.session.connection):
        if index.name == name:
            work.session.report(
                Message("WARNING", f"drops the invalid index {index} that an earlier try left", migration.label)
            )
            work.session.prepare(migration, local=False)
            drop = sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(index.schema, index.name))
            try:
                work.session.connection.execute(drop)
            except psycopg.Error as error:
                raise work.refusal(RefusedError(migration, error)) from None


def _refuse_invalid(work: Work, migration: Migration, statement: Statement) -> None:
    """Raise MigrationError if IF NOT EXISTS passed over an index that is there but invalid."""
    name = index_built(statement)
    found = [str(index) for index in invalid_indexes(work.session.connection) if index.name == name]
    if found:
        raise MigrationError(
            f"migration {migration.name} ran, but {found[0]} is an invalid index, which IF NOT EXISTS passed over",
            where=migration.label,
            hint="The file stays unfinished. Run `invoke db.migrate` again: it drops the index and builds it anew.",
        )


def invalid_indexes(connection: Connection) -> frozenset[Index]:
    """Return the indexes of this database that are not valid."""
    rows = connection.execute(_INVALID).fetchall()
    return frozenset(Index(int(str(oid)), str(schema), str(name)) for oid, schema, name in rows)


def index_built(statement: Statement) -> str | None:
    """Return the name of the index that a statement builds concurrently, as PostgreSQL folds it; None for others."""
    words = [word for word in statement.words if word not in ("UNIQUE", "IF", "NOT", "EXISTS")]
    if words[:3] != ["CREATE", "INDEX", "CONCURRENTLY"] or len(words) < 4 or words[3] == "ON":
        return None
    word = words[3]
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()
