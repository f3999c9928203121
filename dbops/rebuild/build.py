"""Migrate and verify an empty database, and say what came out: the same for a rehearsal and for the real one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dbops import postgres
from dbops.errors import CheckError
from dbops.events import Event, Message, Progress, Report, StepFinished, StepStarted
from dbops.rebuild.model import StepSeconds
from dbops.settings import Target

if TYPE_CHECKING:
    from dbops.verification import Verification

SHOWN_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Built:
    """A database that was migrated and verified."""

    migrations: int
    checks: int
    fingerprint: str


@dataclass(slots=True)
class Steps:
    """Times the steps, and reports those that do not report themselves."""

    report: Report
    seconds: list[StepSeconds] = field(default_factory=list)

    @contextmanager
    def timed(self, name: str, *, quiet: bool = False) -> Iterator[list[str]]:
        """Time a step; what is put into the yielded list is reported as its outcome."""
        outcome: list[str] = []
        began = time.monotonic()
        if not quiet:
            self.report(StepStarted(name))
        yield outcome
        spent = time.monotonic() - began
        self.seconds.append(StepSeconds(name, spent))
        if not quiet:
            self.report(StepFinished(name, "; ".join(outcome), spent))


def within(step: str, report: Report) -> Report:
    """Return a report for work that is a part of a step: the steps of that work become the step's progress."""

    def tell(event: Event) -> None:
        match event:
            case StepStarted():
                report(Progress(step, 0, event.step))
            case Progress():
                report(Progress(step, event.done, f"{event.step} {event.item}"))
            case StepFinished():
                report(Message("DEBUG", f"{event.step}: {event.detail}", step))
            case _:
                report(event)

    return tell


def build(target: Target, migrations: Path, checks: Path, steps: Steps) -> Built:
    """Migrate and verify the target's database; MigrationError or CheckError if it does not come out right."""
    from dbops import catalog
    from dbops.migrations import discover, migrate
    from dbops.verification import verify

    with steps.timed("migrate", quiet=True):
        migrated = migrate(target, discover(migrations), fresh=True, report=steps.report)
    with steps.timed("verify", quiet=True):
        verified = verify(target, checks, baseline=True, report=steps.report)
    _assert_passed(target, verified)
    with steps.timed("fingerprint", quiet=True), postgres.connect(target) as connection, postgres.translated(target):
        fingerprint = catalog.fingerprint(catalog.schema_text(connection))
    return Built(len(migrated.applied), len(verified.checks), fingerprint)


def _assert_passed(target: Target, verified: Verification) -> None:
    """Raise CheckError that names what failed, with what was expected and what is there."""
    if verified.passed:
        return
    failed = verified.failed
    lines = [f"{check.name}: expected {check.expected}, is {check.actual}" for check in failed[:SHOWN_FAILURES]]
    if len(failed) > SHOWN_FAILURES:
        lines.append(f"and {len(failed) - SHOWN_FAILURES} more")
    raise CheckError(
        f"{len(failed)} of {len(verified.checks)} checks failed on what the migrations built",
        where=str(target),
        notes=tuple(lines),
        hint="Fix the migration or the check, then run `invoke db.rebuild` again.",
    )
