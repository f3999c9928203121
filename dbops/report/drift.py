"""What `db.drift` shows: the lines that differ, grouped by object, in colour on a terminal."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.text import Text

from dbops.catalog import Drift
from dbops.report.base import plain

STYLES = {"+": "green", "-": "red"}


def text(result: Drift, console: Console) -> None:
    """Draw the differences, then one line that sums them up."""
    for line in _lines(result):
        console.print(
            Text(line, STYLES.get(line[0], "cyan") if not line.startswith(("---", "+++")) else "bold"), soft_wrap=True
        )
    for name in result.disagreements:
        console.print(
            Text.assemble(("  warning ", "yellow"), f"the ledger disagrees with the files: {name}"), soft_wrap=True
        )
    if result.pending:
        pending = f"compared without what is pending: {', '.join(result.pending)}"
        console.print(Text.assemble(("  pending ", "yellow"), pending), soft_wrap=True)
    console.print(_summary(result), soft_wrap=True)


def data(result: Drift) -> dict[str, object]:
    """Return the result as docs/drift.schema.json describes it."""
    fields: dict[str, object] = plain(result)
    return {"drift": result.found, **fields}


def _lines(result: Drift) -> list[str]:
    if not result.found:
        return []
    lines = [f"--- {_build(result)}", f"+++ {result.target}"]
    for item in result.objects:
        lines += [f"{item.change} {item.name}", *item.lines]
    return lines


def _build(result: Drift) -> str:
    return f"a fresh build of {result.built[0]} to {result.built[-1]}" if result.built else "an empty database"


def _summary(result: Drift) -> Text:
    if not result.found:
        same = f"no drift: the schema is {_build(result)} (fingerprint {result.actual_fingerprint[:12]})"
        return Text.assemble(("  ok      ", "green"), same)
    counts = Counter(item.change for item in result.objects)
    kinds = ", ".join(f"{count} {change}" for change, count in sorted(counts.items()))
    return Text.assemble(("  FAIL    ", "bold red"), f"drift, objects that differ: {len(result.objects)} ({kinds})")
