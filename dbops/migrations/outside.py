"""Apply a file that cannot run in a transaction: its row says "begun" before and "finished" after."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from dbops.errors import MigrationError
from dbops.events import Message
from dbops.migrations import files, indexes, ledger
from dbops.migrations.files import Migration
from dbops.migrations.indexes import Build, Index
from dbops.migrations.place import LineCounter
from dbops.migrations.statements import Statement, split
from dbops.migrations.work import TRIES, AppliedMigration, RefusedError, Work

_MAY_BE_THERE = (
    "an earlier run began this file, and may have finished it without living to say so: "
    "if what it makes is there, write IF NOT EXISTS (or IF EXISTS) in the file"
)


def apply(work: Work, migration: Migration, *, again: bool) -> None:
    """Apply a file of one statement; `again` if an earlier run began it. Its row stays unfinished if it fails."""
    text = files.read(migration)
    statement = next(split(text))
    build = indexes.build_of(text[statement.start : statement.end])
    work.announce(migration)
    _record(work, migration, None)
    work.doubt = f"{migration.name} was begun outside a transaction: see `invoke db.status` before anything else."
    began = time.monotonic()
    with _surroundings(work, migration):
        before = indexes.invalid_indexes(work.session.connection)
        _try(work, migration, text, statement, build, before, again=again)
        _refuse_invalid(work, migration, build, before)
    spent = time.monotonic() - began
    _record(work, migration, round(spent * 1000))
    work.doubt = ""
    work.committed.append(AppliedMigration(migration.version, migration.name, 1, spent))


@contextmanager
def _surroundings(work: Work, migration: Migration) -> Iterator[None]:
    """Set the session up for a migration, and back."""
    work.session.prepare(migration, local=False)
    try:
        yield
    finally:
        if not work.session.connection.closed:
            work.session.script("RESET SESSION AUTHORIZATION", "RESET ALL", "RESET ROLE")


def _record(work: Work, migration: Migration, duration_ms: int | None) -> None:
    """Write the file's row in a transaction of its own."""
    work.session.script("BEGIN READ WRITE")
    work.ensure_ledger()
    work.session.as_owner(ledger.record(migration, duration_ms), "COMMIT")
    work.has_ledger = True


def _try(
    work: Work,
    migration: Migration,
    text: str,
    statement: Statement,
    build: Build | None,
    before: frozenset[Index],
    *,
    again: bool,
) -> None:
    """Run the statement, again where a lock was not to be had and nothing is left that the next try would add to."""
    connection = work.session.connection
    for attempt in range(1, TRIES + 1):
        if again or attempt > 1:
            _clear_away(work, migration, build)
        try:
            work.run(migration, text, statement, LineCounter(text).line_at(statement.start))
            return
        except RefusedError as failure:
            if connection.closed:
                work.doubt = f"{migration.name} was begun outside a transaction; how far it came is not known."
                raise work.refusal(failure) from None
            left = indexes.invalid_indexes(connection) - before
            if not failure.passing or attempt == TRIES or (left and not build):
                extra = (_MAY_BE_THERE,) if again else ()
                raise _refusal(work, failure, build, left, attempt, extra) from None
            work.pause(failure, attempt)


def _refusal(
    work: Work, failure: RefusedError, build: Build | None, left: frozenset[Index], attempt: int, extra: tuple[str, ...]
) -> MigrationError:
    """Return the error that ends the run, with what the statement left behind."""
    follows = "the next run drops and rebuilds it" if build else "drop it with DROP INDEX CONCURRENTLY"
    found = tuple(f"left behind: {index}, an invalid index; {follows}" for index in sorted(map(str, left)))
    work.doubt = ""
    work.doubt = f"{work.state()} {failure.migration.name} ran outside a transaction: the ledger has it as unfinished."
    return work.refusal(failure, attempt, (*found, *extra))


def _clear_away(work: Work, migration: Migration, build: Build | None) -> None:
    """Drop the invalid index that an earlier try at this very statement left."""
    connection = work.session.connection
    index = indexes.leftover(connection, build)
    if index is None:
        return
    text = f"drops the invalid index {index} that an earlier try left"
    work.session.report(Message("WARNING", text, migration.label))
    try:
        indexes.drop(connection, index)
    except psycopg.Error as error:
        raise work.refusal(RefusedError(migration, error)) from None


def _refuse_invalid(work: Work, migration: Migration, build: Build | None, before: frozenset[Index]) -> None:
    """Raise MigrationError if an index is invalid that IF NOT EXISTS passed over, or that was valid before."""
    connection = work.session.connection
    if index := indexes.leftover(connection, build):
        raise MigrationError(
            f"migration {migration.name} ran, but {index} is an invalid index, which IF NOT EXISTS passed over",
            where=migration.label,
            hint="The file stays unfinished. Run `invoke db.migrate` again: it drops the index and builds it anew.",
        )
    if left := sorted(map(str, indexes.invalid_indexes(connection) - before)):
        raise MigrationError(
            f"migration {migration.name} ran, and left invalid indexes: {', '.join(left)}",
            where=migration.label,
            hint="The file stays unfinished. Use DROP INDEX CONCURRENTLY on them, and run `invoke db.migrate` again.",
        )
