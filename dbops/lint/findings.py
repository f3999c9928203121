"""Findings of all linters in one form, and the one way to waive them: a comment with a reason.

`-- lint: allow RULE because REASON` stands at the end of the line of the finding, or in the line above. It waives what
one rule finds in that line. A waiver without a reason is an error, and so is one that waives nothing: it would hide
what comes later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dbops.errors import Location
from dbops.migrations.sqlsplit import location_at, split, tokens

# What no parser can read may hide what follows it.
SYNTAX_ERROR = "syntax-error"
_MEANT = re.compile(r"--\s*lint\s*:", re.IGNORECASE)
_ALLOW = re.compile(r"--\s*lint\s*:\s*allow\s+(?P<rule>[A-Za-z][\w-]*)(?:\s+because\b(?P<reason>.*))?", re.IGNORECASE)
_OTHER_WAYS = re.compile(r"(?:--|/\*)\s*(?:noqa\b|squawk-|sqlfluff:)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What a rule finds: the file, line and column (from 1), the rule, why it matters, and what to do instead."""

    path: str
    line: int
    column: int
    rule: str
    why: str
    instead: str = ""

    @property
    def message(self) -> str:
        """Return why and what to do instead, in one line."""
        return f"{self.why} {self.instead}".strip()

    @property
    def location(self) -> Location:
        """Return where it is, without the line's text."""
        return Location(self.path, self.line, self.column, "")

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.rule} {self.message}"


def settle(path: str, text: str, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings in one file that are not waived, and what is wrong with its waivers."""
    left = list(findings)
    invalid: list[Finding] = []
    # Most files have nothing that could be a waiver, and need not be read again.
    there = any(pattern.search(text) for pattern in (_MEANT, _OTHER_WAYS))
    found = list(tokens(text)) if there else []
    for n, (kind, start, end) in enumerate(found):
        comment = text[start:end].strip()
        if kind != "comment" or not (_MEANT.match(comment) or _OTHER_WAYS.match(comment)):
            continue
        place = location_at(text, start, "")
        line, column = place.line, place.column
        # A comment that has a line to itself speaks of the next statement's line too.
        is_alone = not place.text[: column - 1].strip()
        following = next((begin for kind, begin, _ in found[n:] if kind not in ("comment", "nothing")), start)
        last = location_at(text, following, "").line if is_alone else line
        match = _ALLOW.fullmatch(comment)
        waived = [f for f in left if match and f.rule == match["rule"] and line <= f.line <= last]
        if _OTHER_WAYS.match(comment):
            problem = "has no effect or hides a finding without a reason"
        elif match is None:
            problem = "is not understood"
        elif not (match["reason"] or "").strip():
            problem = "gives no reason"
        elif match["rule"] == SYNTAX_ERROR and sum(1 for _ in split(text)) > 1:
            problem = "may hide the statements after it from the rules: move this one to a file of its own"
        elif not waived:
            problem = f"waives nothing: {match['rule']} finds nothing in line {last}"
        else:
            left = [finding for finding in left if finding not in waived]
            continue
        instead = "Write -- lint: allow RULE because REASON, or remove it."
        invalid.append(Finding(path, line, column, "waiver", f'"{comment}" {problem}.', instead))
    return sorted([*left, *invalid])
