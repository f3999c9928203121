"""What a look at server, role and database found."""

from __future__ import annotations

from dataclasses import dataclass

from dbops.errors import PreflightError
from dbops.events import Report
from dbops.lifecycle.properties import Found, Properties
from dbops.lifecycle.server import Server
from dbops.postgres import Connection
from dbops.settings import Target


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; a refusal has a reason, and a remedy as a full sentence."""

    name: str
    passed: bool
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Preflight:
    """All findings, and the engine that they were made on; `timescaledb` is empty where there is none."""

    findings: tuple[Finding, ...]
    postgresql: str
    timescaledb: str

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """Return the findings that forbid going on."""
        return tuple(finding for finding in self.findings if not finding.passed)

    def assert_passed(self, target: Target) -> None:
        """Raise PreflightError with every refusal, if there is one."""
        refused = self.refusals
        if not refused:
            return
        first = refused[0]
        rest = "" if len(refused) == 1 else f" (and {len(refused) - 1} more)"
        raise PreflightError(
            f"preflight refused: {first.reason}{rest}",
            where=str(target),
            notes=tuple(f"{finding.name}: {finding.reason}. {finding.remedy}" for finding in refused if rest),
            hint=f"Nothing was touched. {first.remedy}",
        )


@dataclass(frozen=True, slots=True)
class View:
    """What the checks look at."""

    connection: Connection
    target: Target
    server: Server
    found: Found | None
    wanted: Properties
    report: Report


def judged(name: str, passed: bool, reason: str, remedy: str) -> Finding:
    """Return a finding, with its reason and remedy only if it forbids going on."""
    return Finding(name, True) if passed else Finding(name, False, reason, remedy)
