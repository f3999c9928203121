"""What a run of migrations is asked to do, and the limits that follow from it for each file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from dbops.errors import UsageError
from dbops.migrations.files import Migration
from dbops.migrations.sqlsplit import without_comments
from dbops.postgres import Connection
from dbops.settings import parse_duration, seconds

# A session that waits for a strong lock blocks all sessions queued behind it: hence many short attempts, the first of
# 100 ms, each of the next twice as long, up to the timeout.
LOCK_TIMEOUT = "1s"
FIRST_LOCK_SECONDS = 0.1
LOCK_BUDGET = "5min"
# What is made for tables in use blocks no reader or writer while it waits, and a timeout leaves an invalid index.
PATIENT_LOCK_TIMEOUT = "10min"
_PATIENT = re.compile(
    r"\s*(?:(?:CREATE|DROP|REINDEX|ALTER|REFRESH)\b[^'$]*\bCONCURRENTLY|ANALYZE|VACUUM(?!.*\bFULL\b))\b",
    re.IGNORECASE | re.DOTALL,
)
PATIENCE_SECONDS = 60.0


class Custody(Protocol):
    """Keeps a database that is being built away from its owner-to-be, but for the transactions that build it."""

    def hand_over_sql(self) -> tuple[str, ...]:
        """Return the statements that begin a transaction of the owner's."""

    def take_back(self, inside: Connection) -> None:
        """End it, before its commit, over the session that migrates."""


@dataclass(frozen=True, slots=True)
class MigrationOptions:
    """What a run was asked to do; UsageError for an invalid value.

    `to` is the last version to apply. Timeouts and the lock budget are durations such as `5s`, and override the files'
    headers: on the night that needs it, a released file can no longer be edited. `commit` is "all" for one transaction
    or "file" for one each; `fresh` allows commits in between, on a database that this run has created; `check` rolls
    everything back, all in one transaction. `patience` is how many seconds to wait for another migration of the same
    database. `owner` is the role that what is made is to belong to; empty, it is the database's owner where the
    connecting role may act as it, else the connecting role. `custody` is for a database that belongs to that owner only
    within the transactions.
    """

    to: int | None = None
    lock_timeout: str = ""
    statement_timeout: str = ""
    lock_budget: str = ""
    commit: str = "all"
    fresh: bool = False
    check: bool = False
    patience: float = PATIENCE_SECONDS
    owner: str = ""
    custody: Custody | None = None

    def __post_init__(self) -> None:
        for option, value in (
            ("--lock-timeout", self.lock_timeout),
            ("--statement-timeout", self.statement_timeout),
            ("--lock-budget", self.lock_budget),
        ):
            seconds(option, value or "0")
        if self.commit not in ("all", "file"):
            raise UsageError(f'invalid value "{self.commit}"', where="--commit", hint="Write all or file.")

    def lock_timeout_for(self, migration: Migration) -> str:
        """Return how long a migration may wait for a lock at a time."""
        if chosen := self.lock_timeout or migration.header.lock_timeout:
            return chosen
        patient = not migration.header.transactional and _PATIENT.match(without_comments(migration.text))
        return PATIENT_LOCK_TIMEOUT if patient else LOCK_TIMEOUT

    def attempt_seconds(self, migration: Migration, attempt: int) -> float:
        """Return how long an attempt (from 1) may wait for locks in all, and for one of them; 0 is no limit.

        It grows up to the lock timeout, unless that was chosen, or no session can be waiting.
        """
        limit = parse_duration(self.lock_timeout_for(migration))
        chosen = self.fresh or self.lock_timeout or migration.header.lock_timeout or not migration.header.transactional
        return limit if chosen else min(limit, FIRST_LOCK_SECONDS * 2 ** (attempt - 1))

    def statement_timeout_for(self, migration: Migration) -> str:
        """Return how long one of a migration's statements may take."""
        return self.statement_timeout or migration.header.statement_timeout or "0"

    def lock_budget_for(self, migration: Migration) -> str:
        """Return how long to go on trying to acquire a migration's locks."""
        return self.lock_budget or migration.header.lock_budget or LOCK_BUDGET


DEFAULTS = MigrationOptions()
