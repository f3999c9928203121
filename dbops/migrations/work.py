"""The state of a run: what is committed, what is open, its attempts, and the error when it fails."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import psycopg
from psycopg.pq import TransactionStatus

from dbops import events, label
from dbops.errors import MigrationError
from dbops.migrations import errors, ledger
from dbops.migrations.errors import StatementError
from dbops.migrations.files import seconds
from dbops.migrations.ledger import LedgerStatus
from dbops.migrations.session import Session

PAUSE_GROWTH = 1.5
PAUSE_JITTER = 0.25
MAX_PAUSE_SECONDS = 30.0
# Attempts where another session changed the same objects: it does so in a moment, or the failure does not pass.
MOST_CONCURRENT = 5


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """A file that this run applied, and its seconds."""

    version: int
    name: str
    statements: int
    seconds: float


class Work:
    """A run on a database whose ledger was `found`: files that are committed, and files in the open transaction.

    `rows` are what the ledger is to hold: name, checksum and whether it is finished, by version. `defers` is whether a
    constraint may be deferred. `doubt` says what is not known.
    """

    def __init__(self, session: Session, found: LedgerStatus) -> None:
        entries = [item.entry for item in found.items if item.entry]
        self.session = session
        self.found = found
        self.has_ledger = found.has_ledger
        self.defers = found.defers
        self.rows = {entry.version: (entry.name, entry.checksum, entry.finished) for entry in entries}
        self.committed: list[AppliedMigration] = []
        self.open: list[AppliedMigration] = []
        self.transactions = 0
        self.retries = 0
        self.doubt = ""
        self._began = 0.0

    def state(self) -> str:
        """Return in a sentence what the database has of what this run was to apply."""
        if self.doubt:
            return self.doubt
        if not self.committed:
            return "Nothing was applied."
        first, last = self.committed[0].name, self.committed[-1].name
        where = self.session.target.database
        if len(self.committed) == 1:
            return f"{first} is committed in {where}; nothing after it was applied."
        return f"{first} to {last} are committed in {where}; nothing after them was applied."

    def creating_ledger(self) -> list[str]:
        """Return what creates the ledger, if there is none, with the environment that the database is in.

        Tables can hold rows as soon as they exist: from then on the database must carry its environment.
        """
        if self.has_ledger:
            return []
        named = label.statement(self.session.target.environment, self.found.system_identifier)
        return [*([] if self.found.has_schema else [ledger.CREATE_SCHEMA]), *ledger.CREATE_TABLE, named]

    def roll_back(self) -> None:
        """End an open transaction; a connection that is still busy is closed."""
        connection = self.session.connection
        self.open = []
        self.session.incoming.done = len(self.committed)
        self.session.incoming.command = None
        self.session.outgoing.clean = False
        if connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            connection.execute("ROLLBACK")
        elif connection.info.transaction_status == TransactionStatus.ACTIVE:
            connection.close()

    def commit(self) -> None:
        """Note that what is open is committed."""
        self.committed += self.open
        self.open = []
        self.has_ledger = True

    def error(self, failure: StatementError, notes: tuple[str, ...] = ()) -> MigrationError:
        """Return the operator's error for a failure that ends the run."""
        if self.session.connection.closed and not isinstance(failure.error, psycopg.errors.FeatureNotSupported):
            return errors.lost(failure, self.state())
        holders = self.session.watch.blockers
        return errors.failed(failure, self.state(), holders=holders, attempts=self.session.attempt, notes=notes)

    def first_attempt(self) -> None:
        """Begin to try a transaction: its lock budget is counted from now."""
        self._began = time.monotonic()
        self.session.watch.told = False
        self._attempt(1)

    def again(self, failure: StatementError) -> bool:
        """Pause and begin another attempt; False at once if the failure does not pass, or the lock budget is spent.

        Sessions queued behind this one proceed meanwhile. Pauses grow and are randomized, so that attempts do not
        keep coinciding with the sessions that hold the lock.
        """
        session, attempt = self.session, self.session.attempt
        if not failure.transient or session.connection.closed:
            return False
        if failure.concurrent and attempt >= MOST_CONCURRENT:
            return False
        waited = session.options.attempt_seconds(failure.migration, attempt) or 1.0
        pause = min(waited * PAUSE_GROWTH ** (attempt - 1), MAX_PAUSE_SECONDS)
        pause *= random.uniform(1 - PAUSE_JITTER, 1 + PAUSE_JITTER)  # noqa: S311
        budget = seconds(session.options.lock_budget_for(failure.migration))
        if budget and time.monotonic() - self._began + pause > budget:
            return False
        self.retries += 1
        blockers = session.watch.blockers
        holder = "still waiting" if session.watch.told else f"held by {'; '.join(blockers) or 'an unknown session'}"
        session.watch.told |= bool(blockers)
        holder = "by another session" if failure.concurrent else holder
        text = f"{failure.words}; {holder}; attempt {attempt + 1} in {pause:.1f} s"
        session.report(events.Message("WARNING", text, str(failure.location or failure.migration.label)))
        time.sleep(pause)
        self._attempt(attempt + 1)
        return True

    def _attempt(self, number: int) -> None:
        """Begin an attempt, which may wait for locks for longer than the one before."""
        self.session.attempt = number
        self.session.watch.new_attempt()
