"""Apply files in one transaction with their ledger rows, again from its start where a lock was not to be had."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg import sql

from dbops import postgres
from dbops.errors import DbopsError, MigrationError
from dbops.migrations import failures, files, ledger, session
from dbops.migrations.files import Migration
from dbops.migrations.place import LineCounter
from dbops.migrations.statements import split
from dbops.migrations.work import TRIES, AppliedMigration, RefusedError, Work

_DEFERS = re.compile("deferrable", re.IGNORECASE)
_SETTLE_SECONDS = 5.0


def apply(work: Work, batch: tuple[Migration, ...], *, check: bool = False) -> None:
    """Apply files and commit; with `check`, roll back instead and keep what was done in `work.open`.

    Raises MigrationError, after which nothing of the batch is applied unless it says so.
    """
    for attempt in range(1, TRIES + 1):
        try:
            _attempt(work, batch, check=check)
            return
        except RefusedError as failure:
            work.roll_back()
            if not failure.passing or attempt == TRIES:
                raise work.refusal(failure, attempt) from None
            work.pause(failure, attempt)
        except BaseException:
            work.roll_back()
            raise


def _attempt(work: Work, batch: tuple[Migration, ...], *, check: bool) -> None:
    """Try once to apply the files in one transaction."""
    work.open = []
    work.session.may_defer = True
    work.session.script("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
    work.ensure_ledger()
    for migration in batch:
        _apply_file(work, migration)
    work.transactions += 1
    if check:
        work.session.script("ROLLBACK")
        return
    _commit(work, batch)
    work.has_ledger = True


def _apply_file(work: Work, migration: Migration) -> None:
    """Run a file's statements, and write its ledger row, in the open transaction."""
    began = time.monotonic()
    work.announce(migration)
    text = files.read(migration)
    _as_part_of(migration, lambda: work.session.prepare(migration))
    lines = LineCounter(text)
    for statement in split(text):
        work.run(migration, text, statement, lines.line_at(statement.start))
    if not work.session.in_transaction:
        raise MigrationError(
            f"migration {migration.name} ended the runner's transaction",
            where=migration.label,
            hint="The runner owns the transaction: take its control out of the file, and see `invoke db.status`.",
        )
    spent = time.monotonic() - began
    work.session.may_defer |= _DEFERS.search(text) is not None
    row = ledger.record(migration, round(spent * 1000))
    # Deferred constraints are checked while it is still known which file broke them.
    _as_part_of(migration, lambda: _finish(work, row))
    work.open.append(AppliedMigration(migration.version, migration.name, migration.statements, spent))


def _finish(work: Work, row: sql.Composed) -> None:
    """Check what the file deferred, and write its row."""
    if work.session.may_defer:
        work.session.as_owner()
        work.session.check_constraints()
    work.session.as_owner(row)


def _as_part_of(migration: Migration, action: Callable[[], None]) -> None:
    """Run something of the runner's that fails, if it does, on a migration's account."""
    try:
        action()
    except psycopg.Error as error:
        raise RefusedError(migration, error) from None


def _commit(work: Work, batch: tuple[Migration, ...]) -> None:
    """Commit, and find out what became of it if the answer was lost."""
    try:
        work.session.script("COMMIT")
    except psycopg.Error as error:
        if not work.session.connection.closed:
            raise RefusedError(batch[-1], error) from None
        _settle(work, batch[-1].version)
        raise failures.lost(None, error, work.state(), None) from None
    except KeyboardInterrupt:
        _settle(work, batch[-1].version)
        raise
    work.committed += work.open
    work.open = []


def _settle(work: Work, version: int) -> None:
    """Learn in a new connection whether the last version was committed, and keep that for the message."""
    work.session.connection.close()
    committed = _is_committed(work, version)
    if committed:
        work.committed += work.open
    elif committed is None:
        work.doubt = "It is not known whether the last transaction was committed: see `invoke db.status`."
    work.open = []


def _is_committed(work: Work, version: int) -> bool | None:
    """Tell whether the ledger has a version, once the session that was to write it is gone; None if that stays open.

    That session held the migration lock, so whoever gets the lock sees what it left.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        with suppress(psycopg.Error, DbopsError), postgres.connect(work.session.target) as connection:
            if session.try_lock(connection):
                found = ledger.read(connection) if ledger.exists(connection) else ()
                return version in {entry.version for entry in found}
        time.sleep(0.1)
    return None
