"""The results as one table and as a page, with the targets and whether they are met."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bench.measure import Row

COLUMNS = ("ours", "beside", "dbmate", "node-pg-migrate")
INTRODUCTION = """\
# Benchmarks

Written by `nox -s bench`. Times are of whole processes: medians of runs in turn, with the fastest and the
slowest in parentheses, and multiples of the floor. `nox -s bench -- --quick` gives the everyday rows in about a minute.

- The **floor** of a rebuild is `dropdb --force`, `createdb` and `psql -1` with the same files, without verification; of
  `invoke --list`, `python -c pass`; at scale, a plain table with the same rows and indexes.
- **Ours** is `invoke db.rebuild` with all that belongs to it: preflight, lock, ledger, verification. The six files are
  the repository's; others are generated: a table with a key and a comment each.
- The **parts** of a rebuild are what it reports of itself, each beside the floor's program for the same: `createdb`,
  `psql` and `dropdb`; beside the start and the end of its process, Python with Invoke and psycopg. What the floor has
  not is mostly queries of the catalogs. A drop waits for a checkpoint, which here writes the new database too: the
  floor has dropped the old one before it creates that.
- Other tools drop the database first, and verify nothing.
- A tool that fails at a job, or needs more than ten minutes for one run, is listed as failed; the others go on.
- 20 ms away: a proxy delays each direction by 10 ms.
- The server is one of its own, as `invoke server.up` starts it: durable (`fsync` and `synchronous_commit` on), with
  PostgreSQL's default settings otherwise. Databases for tests are made on a server for tests: `fsync` off, in memory if
  there is room.
"""


@dataclass(frozen=True, slots=True)
class Goal:
    """One target: what is asked, what was measured, whether that is enough, and why it is not."""

    target: str
    measured: str
    met: bool
    missed_because: str = ""


def line(row: Row) -> str:
    """Return a row as one line for people who wait."""
    cells = [f"{name} {_cell(row, name)}" for name in [*row.runs, *row.failed]]
    notes = [f"{name} {value:.4g}" for name, value in row.notes.items()]
    return f"{row.job}: {'; '.join([*cells, *notes])}"


def markdown(rows: Sequence[Row], missing: Mapping[str, str]) -> str:
    """Return the table, the targets, and what was left out."""
    others = [name for name in COLUMNS[1:] if any(name in {*row.runs, *row.failed} for row in rows)]
    lines = [_cells("job", "floor", "ours", *others), _cells("---", *["---:"] * (2 + len(others)))]
    for row in rows:
        names = (row.base, "ours", *others)
        notes = "".join(f"; {name} {value:.3g}" for name, value in row.notes.items())
        cells = [_cell(row, name) for name in names]
        lines.append(_cells(row.job, cells[0], cells[1] + notes, *cells[2:]))
    goals = judge(rows)
    if goals:
        lines += ["", _cells("target", "measured", "met"), _cells("---", "---", "---")]
        lines += [_cells(goal.target, goal.measured, "yes" if goal.met else "**no**") for goal in goals]
    lines += [""] + [f"Missed: {goal.target}. {goal.missed_because}" for goal in goals if not goal.met]
    for row in rows:
        for name, why in row.failed.items():
            said = [text for text in why.splitlines() if text.strip()]
            # What failed, and the last line of what it said.
            lines.append(f"Failed: {row.job}, {name}. {' '.join(said[:1] + said[1:][-1:])}")
    lines += [f"Left out: {name} ({reason})." for name, reason in missing.items()]
    return "\n".join(lines).rstrip() + "\n"


def page(rows: Sequence[Row], missing: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """Return docs/benchmarks.md."""
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{INTRODUCTION}\n{_when_and_where()}. {listed}.\n\n{markdown(rows, missing)}"


def _when_and_where() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Return the targets whose rows were measured; what could not be measured is no target, but named as failed."""
    found = {row.key: row for row in rows if "ours" in row.runs and (not row.base or row.base in row.runs)}
    goals: list[Goal] = []
    for key, most in (("rebuild-6", 2.0), ("rebuild-100", 1.8), ("rebuild-1000", 1.4)):
        if row := found.get(key):
            ratio = row.ratio("ours") or 0.0
            above = row.median("ours") - row.median("floor")
            why = f"It takes {above:.2f} s more than the floor.{_where_it_goes(found)}"
            goals.append(Goal(f"{row.job}: at most {most:.1f} × the floor", f"{ratio:.2f} ×", ratio <= most, why))
    if row := found.get("rebuild-1000"):
        goals += [_ahead(row, name) for name in ("dbmate", "node-pg-migrate") if name in row.runs]
    if row := found.get("rebuild-slow"):
        ours, floor = row.median("ours"), row.median("floor")
        why = "Each round trip costs 20 ms, and the rest is the command's start and the server's work."
        goals.append(Goal(f"{row.job}: a tenth faster than psql", f"{ours / floor:.2f} ×", ours <= 0.9 * floor, why))
    if row := found.get("rebuild-rows"):
        ratio = row.ratio("ours") or 0.0
        why = "What would be lost is counted and compared, which takes longer than that."
        goals.append(Goal(f"{row.job}: at most 1.2 × one without", f"{ratio:.2f} ×", ratio <= 1.2, why))
    if row := found.get("outage"):
        milliseconds = row.median("ours") * 1000
        why = "Sessions are ended one by one, and the swap waits for the last of them."
        goals.append(Goal(f"{row.job}: at most 150 ms", f"{milliseconds:.0f} ms", milliseconds <= 150, why))
    if row := found.get("verify-slow"):
        trips, seconds = row.notes["round trips"], row.median("ours")
        why = "Each round trip costs 20 ms, the rest is the command's start: fewer connections or fewer imports."
        goals.append(Goal(f"{row.job}: under 0.9 s", f"{seconds:.2f} s", seconds < 0.9, why))
        why = "Queries that could travel together do not: they would have to share one pipeline."
        goals.append(Goal(f"{row.job}: at most 8 round trips", f"{trips:.3g}", trips <= 8, why))
    if row := found.get("rebuild-10000"):
        if growth := row.notes.get("growth"):
            why = "Something is done for each file that costs more the more files there are."
            goals.append(Goal(f"{row.job}: at most 1.2 × ten times 1,000 files", f"{growth:.2f} ×", growth <= 1.2, why))
        why = "Files, or what the server says of them, are kept longer than needed."
        megabytes = row.notes["MB"]
        goals.append(Goal(f"{row.job}: under 150 MB", f"{megabytes:.0f} MB", megabytes < 150, why))
    if row := found.get("test-database"):
        milliseconds = row.median("ours") * 1000
        why = "A clone is a copy of the template's files: fewer files, or a faster disk."
        goals.append(Goal(f"{row.job}: at most 50 ms", f"{milliseconds:.0f} ms", milliseconds <= 50, why))
    return goals


def _where_it_goes(found: Mapping[str, Row]) -> str:
    """Return what a rebuild with six files takes that the floor does not, part by part, if that was measured."""
    rows = {key.removeprefix("part-"): row for key, row in found.items() if key.startswith("part-")}
    if not rows:
        return ""
    least = rows["start and end"].median("floor")
    beyond = {part: row.median("ours") - (row.median("floor") if row.base else 0.0) for part, row in rows.items()}
    parts = ", ".join(f"{part} {_time(seconds)}" for part, seconds in beyond.items() if seconds > 0)
    return (
        f" With six files, Python with Invoke and psycopg take {_time(least)} of it, and beyond what the floor takes: "
        f"{parts}. Only a process that keeps running, or fewer checks, would save most of that."
    )


def _ahead(row: Row, name: str) -> Goal:
    """Return the target to be faster than another."""
    ours, other = row.median("ours"), row.median(name)
    shown = "psql" if name == "floor" else name
    why = f"{shown} does without preflight, checksums and verification, which would have to cost less."
    return Goal(f"{row.job}: faster than {shown}", f"{ours:.2f} s against {other:.2f} s", ours < other, why)


def _cell(row: Row, name: str) -> str:
    """Return a median with its spread and, unless it is the base, its ratio; nothing if it was not measured."""
    if name in row.failed:
        return "**failed**"
    if name not in row.runs:
        return ""
    seconds = [run.seconds for run in row.runs[name]]
    spread = f" ({_time(min(seconds))}–{_time(max(seconds))})" if len(seconds) > 1 else ""
    ratio = row.ratio(name)
    multiple = f", {ratio:.2f} ×" if ratio and name != row.base else ""
    return f"{_time(row.median(name))}{spread}{multiple}"


def _time(seconds: float) -> str:
    """Return a time with two or three digits that count."""
    if seconds < 0.1:
        return f"{seconds * 1000:.2g} ms"
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.2f} s"


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
