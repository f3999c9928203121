"""What each lint rule must find and what it must leave alone: read from tests/data/lint, one file for each rule.

A file begins with a comment that explains the rule, followed by texts that are introduced by `-- bad: note` or
`-- good: note`. The explanation and the first text of each kind are the rule's section in docs/lint.md:
`python -m tests.support.lint_cases` writes them there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dbops.settings import ROOT

DATA = Path(__file__).parents[1] / "data" / "lint"
PAGE = ROOT / "docs" / "lint.md"
# The path that a case is given: after every migration of this repository.
CASE = ROOT / "db" / "migrations" / "9999_lint_case.sql"
HEADER = "-- Why: a test.\n-- Needs: nothing.\n-- Locks: none.\n"
_MARK = re.compile(r"^-- (bad|good): (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Case:
    """A text of SQL, whether the rule must find something in it, and why."""

    rule: str
    bad: bool
    note: str
    sql: str

    @property
    def text(self) -> str:
        """Return the text as a file; a directive at its beginning becomes part of the header."""
        if self.rule == "KM01":
            return self.sql
        return HEADER + ("" if self.sql.startswith("-- migrate:") else "\n") + self.sql

    def __str__(self) -> str:
        return f"{self.rule}-{'bad' if self.bad else 'good'}-{self.note.replace(' ', '_')}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, its explanation and its cases."""

    name: str
    about: str
    cases: tuple[Case, ...]

    def section(self, title: str) -> str:
        """Return the rule's section of the page."""
        bad, good = next(c for c in self.cases if c.bad), next(c for c in self.cases if not c.bad)
        shown = "\n".join(
            f"{kind}: {case.note}.\n\n```sql\n{case.sql}```\n" for kind, case in (("Bad", bad), ("Good", good))
        )
        return f"### {title}\n\n{self.about}\n\n{shown}"


@cache
def rules() -> dict[str, Rule]:
    """Return the rules that have cases, in the order of the page: our own first."""
    found = (_rule(path) for path in sorted(DATA.glob("*.sql")))
    return {rule.name: rule for rule in found}


def cases() -> list[Case]:
    """Return the cases of all rules."""
    return [case for rule in rules().values() for case in rule.cases]


def page() -> str:
    """Return the page as it should be: its beginning as it is, its sections made from the cases."""
    # Only the page needs sqlfluff; integration tests run without it.
    from sqlfluff.core.plugin.host import get_plugin_manager

    from dbops.lint import get_rules

    get_plugin_manager()
    start = PAGE.read_text().split("\n## Our own rules\n")[0]
    titles = {rule.__name__.removeprefix("Rule_"): rule.name for rule in get_rules()}
    own = [rule.section(f"{rule.name} {titles[rule.name]}") for rule in rules().values() if rule.name in titles]
    others = [rule.section(rule.name) for rule in rules().values() if rule.name not in titles]
    parts = [start, "## Our own rules\n", *own]
    return "\n".join([*parts, "## Rules of squawk\n", *others] if others else parts)


def _rule(path: Path) -> Rule:
    about, *parts = _MARK.split(path.read_text())
    lines = [line.removeprefix("--").strip() for line in about.strip().splitlines()]
    found = []
    for kind, note, sql in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        found.append(Case(path.stem, kind == "bad", note, sql.strip() + "\n"))
    return Rule(path.stem, "\n".join(lines), tuple(found))


if __name__ == "__main__":
    PAGE.write_text(page())
