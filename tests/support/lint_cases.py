"""What each lint rule must find and what it must leave alone: the examples of its record, and more in tests/data/lint.

A file there belongs to one rule, and has texts that are introduced by `-- bad: note` or `-- good: note`.
docs/lint.md is made from the records: `python -m tests.support.lint_cases` writes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dbops.lint.rules import RULES, Rule
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
        directive = re.match(r"-- (?:migrate|lock-timeout):", self.sql)
        return HEADER + ("" if directive else "\n") + self.sql

    def __str__(self) -> str:
        return f"{self.rule}-{'bad' if self.bad else 'good'}-{self.note.replace(' ', '_')}"


def cases() -> list[Case]:
    """Return the cases of all rules."""
    found = [
        Case(rule.code, kind == "bad", note, sql)
        for rule in RULES
        for kind, (note, sql) in (("bad", rule.bad), ("good", rule.good))
    ]
    for path in sorted(DATA.glob("*.sql")):
        parts = _MARK.split(path.read_text())[1:]
        for kind, note, sql in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            case = Case(path.stem, kind == "bad", note, sql.strip() + "\n")
            if case.sql not in {other.sql for other in found if other.rule == case.rule}:
                found.append(case)
    return found


def section(rule: Rule) -> str:
    """Return the rule's section of the page."""
    examples = "\n".join(
        f"{kind}: {note}.\n\n```sql\n{sql}```\n" for kind, (note, sql) in (("Bad", rule.bad), ("Good", rule.good))
    ).replace("?.\n", "?\n")
    return f"### {rule.code} {rule.name}\n\n{rule.about}\n\n{examples}"


def page() -> str:
    """Return the page as it should be: its beginning as it is, its sections made from the records."""
    start = PAGE.read_text().split("\n## Our own rules\n")[0]
    return "\n".join([start, "## Our own rules\n", *map(section, RULES)])


if __name__ == "__main__":
    PAGE.write_text(page())
