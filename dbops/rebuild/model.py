"""How to rebuild, what is planned, what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dbops.lifecycle import consent
from dbops.lifecycle.consent import Ask
from dbops.lifecycle.sessions import Session
from dbops.lifecycle.stakes import Stakes
from dbops.lock import DEFAULT_TIMEOUT
from dbops.preflight import Finding, Preflight
from dbops.settings import Target


@dataclass(frozen=True, slots=True)
class Options:
    """How to rebuild: where the SQL and the state are, how long to wait, and what the operator agreed to."""

    migrations: Path
    verify: Path
    state: Path
    timeout: float = DEFAULT_TIMEOUT
    rehearse: bool = True
    yes: bool = False
    confirm: str = ""
    ask: Ask = consent.nobody


@dataclass(frozen=True, slots=True)
class RebuildPlan:
    """What a rebuild is about to do; shown as a header before it does anything. `began` is in UTC.

    `belonging` is whether the database belongs to the environment chosen, `consent` says how to agree to the loss.
    """

    began: datetime
    database: str
    server: str
    environment: str
    preflight: Preflight
    stakes: Stakes
    belonging: Finding
    consent: str
    migrations: tuple[str, ...]
    rehearse: bool

    @property
    def refused(self) -> bool:
        """Return whether a rebuild would not begin."""
        return bool(self.preflight.refusals) or not self.belonging.passed

    def assert_possible(self, target: Target) -> None:
        """Raise what a rebuild would raise before it asks for consent: PreflightError or ConsentError."""
        self.preflight.assert_passed(target)
        consent.check_label(self.stakes)


@dataclass(frozen=True, slots=True)
class StepSeconds:
    """How long one step took."""

    step: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """What was built and proved.

    `kept_out` says whom the fence kept out until then, `rehearsed` whether the build was tried before the drop,
    `rows` counts what the new database holds: no ingestion has run.
    """

    database: str
    server: str
    environment: str
    migrations: int
    checks: int
    fingerprint: str
    rehearsed: bool
    ended: tuple[Session, ...]
    kept_out: str
    rows: int
    steps: tuple[StepSeconds, ...]
    seconds: float
