"""The sequences of docs/live-changes.md: each section's migrations and backfills, in order."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dbops.settings import ROOT

_BLOCK = re.compile(r"^```sql\n-- (?P<title>[^\n]+)\n(?P<sql>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"db/migrations/(?P<name>\d{4}_\w+\.sql)")
BACKFILL = "repeat until no row is left"


@dataclass(frozen=True, slots=True)
class Step:
    """A migration by its file name, or a backfill, whose name is empty; and its text."""

    name: str
    sql: str


def sections() -> dict[str, list[Step]]:
    """Return the steps of each section that has some."""
    _, *parts = (ROOT / "docs" / "live-changes.md").read_text().split("\n## ")
    found = {part.split("\n")[0]: [_step(block) for block in _BLOCK.finditer(part)] for part in parts}
    return {title: steps for title, steps in found.items() if steps}


def _step(block: re.Match[str]) -> Step:
    if match := _FILE.fullmatch(block["title"]):
        return Step(match["name"], block["sql"])
    assert block["title"] == BACKFILL, block["title"]
    return Step("", block["sql"])
