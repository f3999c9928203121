"""Apply pending migrations: all or nothing, each with its row in the ledger, alone, and honest when it fails."""

from __future__ import annotations

import time
from dataclasses import dataclass

from dbops import postgres
from dbops.events import Message, Report, StepFinished, StepStarted, ignore
from dbops.migrations import batch, outside, session
from dbops.migrations.files import Migration
from dbops.migrations.plan import batches, checked_timeouts, lawful_status, refuse_uncheckable, up_to
from dbops.migrations.state import LedgerStatus, State
from dbops.migrations.work import AppliedMigration, Work
from dbops.settings import Target

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What a run did: `before` counts what was applied already, `pending` what is left; `rolled_back` for a check."""

    database: str
    applied: tuple[AppliedMigration, ...]
    before: int
    pending: int
    transactions: int
    retries: int
    rolled_back: bool
    seconds: float


def migrate(
    target: Target,
    migrations: tuple[Migration, ...],
    *,
    to: int | None = None,
    lock_timeout: str = "",
    statement_timeout: str = "",
    fresh: bool = False,
    check: bool = False,
    patience: float = PATIENCE_SECONDS,
    report: Report = ignore,
) -> MigrationResult:
    """Apply what is pending, and return what was applied once it is committed.

    `to` is the last version to apply; timeouts are durations such as `5s`, and override the files' headers;
    `fresh` allows commits in between, on a database that this run has created; `check` rolls everything back;
    `patience` is how many seconds to wait for another migration of the same database. Raises UsageError,
    PreflightError or MigrationError; a KeyboardInterrupt carries the state of the database as its note.
    """
    timeouts = checked_timeouts(lock_timeout, statement_timeout)
    began = time.monotonic()
    with postgres.translated(target), session.opened(target, timeouts, report) as opened:
        session.wait_alone(opened, patience)
        found = lawful_status(opened.connection, target, migrations)
        chosen = up_to(found.pending, migrations, to)
        if check:
            refuse_uncheckable(chosen)
        work = Work(opened, has_ledger=found.has_ledger)
        _apply(work, found, chosen, fresh=fresh, check=check)
    return MigrationResult(
        database=target.database,
        applied=tuple(work.open if check else work.committed),
        before=len(found.having(State.APPLIED)),
        pending=len(found.pending) - len(work.committed),
        transactions=work.transactions,
        retries=work.retries,
        rolled_back=check,
        seconds=time.monotonic() - began,
    )


def _apply(work: Work, found: LedgerStatus, chosen: tuple[Migration, ...], *, fresh: bool, check: bool) -> None:
    """Apply the chosen files, a transaction's worth at a time, and report."""
    report = work.session.report
    unfinished = {item.version for item in found.having(State.UNFINISHED)}
    began = time.monotonic()
    # Who has just created the database has said where it is, and that all is pending.
    report(Message("DEBUG" if fresh else "INFO", f"{found.engine}; {found.summary}", str(work.session.target)))
    report(StepStarted("migrate", f"{len(chosen)} to apply", len(chosen)))
    try:
        for files in batches(chosen, fresh=fresh):
            if files[0].header.transactional:
                batch.apply(work, files, check=check)
            else:
                outside.apply(work, files[0], again=files[0].version in unfinished)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(work.state())
        raise
    done = f"{len(work.open)} applied and rolled back" if check else f"{len(work.committed)} applied"
    report(StepFinished("migrate", done, time.monotonic() - began))
