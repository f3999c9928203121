"""What a verification found."""

from __future__ import annotations

from dataclasses import dataclass

from dbops.errors import Location


@dataclass(frozen=True, slots=True)
class Check:
    """One row of a check file, or what kept the file from giving one.

    `file` is relative to the directory of checks; `seconds` is this row's share of the time that the server
    spent on the file; `place` is set when the file itself is at fault; None in a text is SQL's NULL.
    """

    file: str
    name: str
    passed: bool
    expected: str | None
    actual: str | None
    seconds: float = 0.0
    place: Location | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """Every check of one run, in the order of the files; `seconds` is the wall time of the run."""

    checks: tuple[Check, ...]
    seconds: float

    @property
    def failed(self) -> tuple[Check, ...]:
        """Return the checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def passed(self) -> bool:
        """Return whether there was something to check and all of it passed."""
        return bool(self.checks) and not self.failed

    @property
    def summary(self) -> str:
        """Return the counts in words."""
        total, failed = len(self.checks), len(self.failed)
        checks = "check" if total == 1 else "checks"
        return f"{failed} of {total} {checks} failed" if failed else f"{total} {checks} passed"
