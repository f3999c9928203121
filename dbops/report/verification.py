"""What `db.verify` shows: failures first, expected beside actual; passed checks counted per file."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from itertools import groupby

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dbops.report import documents, junit
from dbops.report.base import plain
from dbops.verification import Check, CheckFile, Verification


def text(result: Verification, console: Console) -> None:
    """Draw the result of a verification."""
    missing = _missing_tables(result.failed)
    telling = [check for check in result.failed if _follows_from(check, missing) is None]
    for file, group in groupby(telling, key=lambda check: check.file):
        failed = tuple(group)
        console.print(_failures(file, failed))
        for location in (check.location for check in failed if check.location):
            console.print(Text(f"  --> {location}\n{location.excerpt()}\n"), soft_wrap=True)
    for table, count in Counter(_follows_from(check, missing) for check in result.failed).items():
        if table:
            console.print(Text(f"  {table} is missing, and so {count} checks of its parts fail too\n"), soft_wrap=True)
    console.print(_files(result))
    server = sum(check.seconds for check in result.checks)
    state = ("  ok     ", "green") if result.passed else ("  FAIL   ", "bold red")
    counted = f"{result.summary} in {result.seconds:.2f} s, {server * 1000:.0f} ms of it in the server"
    console.print(Text.assemble(state, counted), soft_wrap=True)


def document(result: Verification, output_format: str, *, server: str, started: datetime) -> str:
    """Return the result as the text of a file: a table, JSON or JUnit XML."""
    if output_format == "junit":
        return junit.xml(result, server=server, started=started)
    if output_format == "json":
        return json.dumps(data(result), ensure_ascii=False, indent=2) + "\n"
    return documents.drawn(lambda console: text(result, console))


def data(result: Verification) -> dict[str, object]:
    """Return the result as docs/verify.schema.json describes it."""
    return {
        "passed": result.passed,
        "summary": {
            "total": len(result.checks),
            "passed": len(result.checks) - len(result.failed),
            "failed": len(result.failed),
            "seconds": result.seconds,
        },
        "checks": [plain(check) for check in (*result.failed, *(c for c in result.checks if c.passed))],
    }


def listing(files: tuple[CheckFile, ...], console: Console) -> None:
    """Draw the names of check files, and what each says it is about."""
    table = Table.grid(padding=(0, 2))
    for file in files:
        table.add_row(Text(file.name), Text(file.about or (file.flaw[0] if file.flaw else ""), overflow="fold"))
    console.print(table)


def listing_data(files: tuple[CheckFile, ...]) -> dict[str, object]:
    """Return the names of check files for machines."""
    return {"files": [{"name": file.name, "about": file.about} for file in files]}


def _missing_tables(failed: tuple[Check, ...]) -> frozenset[str]:
    """Return the tables that a check found missing."""
    names = (check.name.partition(" ") for check in failed if check.actual == "missing")
    return frozenset(table for kind, _, table in names if kind == "table" and ": " not in table)


def _follows_from(check: Check, missing: frozenset[str]) -> str | None:
    """Return the missing table whose part a check found missing: the reader needs to be told of the table only."""
    subject = check.name.partition(" ")[2]
    if check.actual != "missing" or subject in missing:
        return None
    owned = (
        t for t in missing if subject.startswith((f"{t}.", f"{t}:")) or (check.expected or "").startswith(f"on {t}:")
    )
    return next(owned, None)


def _failures(file: str, failed: tuple[Check, ...]) -> Table:
    title = Text.assemble(("FAIL", "bold red"), f" {file}")
    table = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("check", "expected", "actual"):
        table.add_column(heading, overflow="fold")
    for check in failed:
        table.add_row(*(Text(cell) for cell in (check.name, _shown(check.expected), _shown(check.actual))))
    return table


def _files(result: Verification) -> Padding:
    table = Table.grid(padding=(0, 2))
    for name, group in groupby(result.checks, key=lambda check: check.file):
        checks = tuple(group)
        passed = sum(check.passed for check in checks)
        state = Text("ok", "green") if passed == len(checks) else Text("FAIL", "bold red")
        seconds = sum(check.seconds for check in checks)
        counted = f"{passed} passed" + (f", {len(checks) - passed} failed" if passed < len(checks) else "")
        table.add_row(state, Text(name), Text(counted), Text(f"{seconds * 1000:.1f} ms", "dim"))
    return Padding(table, (0, 0, 0, 2))


def _shown(value: str | None) -> str:
    return "NULL" if value is None else value
