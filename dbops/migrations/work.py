"""A run as it goes: what is committed, what is open, and what to say when something fails."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import psycopg
from psycopg.pq import TransactionStatus

from dbops import events
from dbops.errors import Location, MigrationError
from dbops.lifecycle import label
from dbops.migrations import failures, ledger, place
from dbops.migrations.files import Migration
from dbops.migrations.headers import seconds
from dbops.migrations.session import Session
from dbops.migrations.statements import Statement

TRIES = 5
MAX_PAUSE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """A file that this run applied, and its seconds."""

    version: int
    name: str
    statements: int
    seconds: float


class RefusedError(Exception):
    """The server's refusal of something in a migration, before anyone has decided what follows from it."""

    def __init__(self, migration: Migration, error: psycopg.Error, location: Location | None = None) -> None:
        super().__init__(str(error))
        self.migration = migration
        self.error = error
        self.location = location

    @property
    def passing(self) -> bool:
        """Tell whether the same may work a little later: a lock timeout or a deadlock."""
        return self.error.sqlstate in ("55P03", "40P01")


@dataclass(slots=True)
class Work:
    """A run: files that are committed, files in the open transaction, tries; `doubt` says what is not known."""

    session: Session
    has_ledger: bool
    committed: list[AppliedMigration] = field(default_factory=list)
    open: list[AppliedMigration] = field(default_factory=list)
    transactions: int = 0
    retries: int = 0
    doubt: str = ""

    def state(self) -> str:
        """Return in a sentence what the database has of what this run was to apply."""
        if self.doubt:
            return self.doubt
        if not self.committed:
            return "Nothing was applied."
        names = [self.committed[0].name, self.committed[-1].name]
        if len(self.committed) == 1:
            return f"{names[0]} was applied by this run and stays; nothing after it was."
        return f"{names[0]} to {names[1]} were applied by this run and stay; nothing after them was."

    def announce(self, migration: Migration, more: int = 0) -> None:
        """Report how many files are done, and which one is next."""
        self.session.where = migration.label
        self.session.report(events.Progress("migrate", len(self.committed) + len(self.open) + more, migration.name))

    def run(self, migration: Migration, text: str, statement: Statement, line: int) -> None:
        """Run one statement of a file, which begins in this line; RefusedError says where in the file it failed."""
        self.session.where = f"{migration.label}:{line}"
        sql = text[statement.start : statement.end]
        try:
            spent = self.session.run(sql.encode(), migration)
        except psycopg.Error as error:
            offset = place.offset_of(text, statement, error.diag, counts_bytes=self.session.counts_bytes)
            raise RefusedError(migration, error, place.place_at(text, offset, migration.label)) from None
        self.session.report(events.Statement(sql, spent, self.session.where))

    def ensure_ledger(self) -> None:
        """Create the ledger in the open transaction, if there is none, with the environment that it is in.

        Rows come in as soon as there are tables: from then on the database must say where it belongs.
        """
        if not self.has_ledger:
            self.session.as_owner()
            ledger.create(self.session.connection)
            label.write(self.session.connection, self.session.target.environment)

    def roll_back(self) -> None:
        """End whatever transaction is open; a connection that is in the middle of something is given up."""
        connection = self.session.connection
        self.open = []
        if connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            connection.execute("ROLLBACK")
        elif connection.info.transaction_status == TransactionStatus.ACTIVE:
            connection.close()

    def pause(self, failure: RefusedError, attempt: int) -> None:
        """Let those pass who queued up behind this session, for as long as it made them wait."""
        self.retries += 1
        wait = min(seconds(self.session.timeouts.lock_for(failure.migration)) or 1.0, MAX_PAUSE_SECONDS)
        who = "; ".join(self.session.watch.blockers) or "a session that was not seen"
        what = failure.error.diag.message_primary
        text = f"{what}; held by {who}; try {attempt + 1} of {TRIES} in {wait:g} s"
        where = str(failure.location or failure.migration.label)
        self.session.report(events.Message("WARNING", text, where))
        time.sleep(wait)

    def refusal(self, failure: RefusedError, tries: int = 1, extra: tuple[str, ...] = ()) -> MigrationError:
        """Return the operator's error for a failure that ends the run."""
        migration, error, source = failure.migration, failure.error, failure.location
        if self.session.connection.closed:
            return failures.lost(migration, error, self.state(), source)
        if failure.passing:
            return failures.busy(migration, error, self.state(), source, self.session.watch.blockers, tries, extra)
        return failures.failed(migration, error, self.state(), source, extra)
