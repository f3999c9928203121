"""The results as one table, as a page and as JSON, with the targets and whether they are met."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from bench.measure import Row, Series

COLUMNS = ("ours", "dbmate", "node-pg-migrate", "alembic", "sqitch")
INTRODUCTION = """\
# Benchmarks

Written by `nox -s bench`. Times are of whole processes: medians of runs in turn, with the fastest and the
slowest in parentheses, and multiples of the floor. `nox -s bench -- --quick` gives the everyday rows in about a minute.

- The **floor** of a rebuild is `dropdb --force`, `createdb` and `psql -1` with the same files, without verification; of
  `invoke --list`, `python -c pass`; at scale, a plain table with the same rows and indexes.
- **Ours** is `invoke db.rebuild` with all that belongs to it: preflight, lock, ledger, verification. The six files are
  the repository's; others are generated: a table with a key and a comment each.
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


@dataclass(frozen=True, slots=True)
class Result:
    """One run of the benchmarks."""

    date: str
    versions: Mapping[str, str]
    missing: Mapping[str, str]
    rows: tuple[Row, ...]
    machine: str = field(default_factory=lambda: f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}")


def line(row: Row) -> str:
    """Return a row as one line for people who wait."""
    cells = [f"{name} {_cell(row, name)}" for name in [*row.series, *row.failed]]
    notes = [f"{name} {value:.4g}" for name, value in row.notes.items()]
    return f"{row.job}: {'; '.join([*cells, *notes])}"


def markdown(result: Result) -> str:
    """Return the table, the targets, and what was left out."""
    others = [name for name in COLUMNS[1:] if any(name in {*row.series, *row.failed} for row in result.rows)]
    lines = [_cells("job", "floor", "ours", *others), _cells("---", *["---:"] * (2 + len(others)))]
    for row in result.rows:
        names = (row.base, "ours", *others)
        notes = "".join(f"; {name} {value:.3g}" for name, value in row.notes.items())
        cells = [_cell(row, name) for name in names]
        lines.append(_cells(row.job, cells[0], cells[1] + notes, *cells[2:]))
    goals = judge(result.rows)
    if goals:
        lines += ["", _cells("target", "measured", "met"), _cells("---", "---", "---")]
        lines += [_cells(goal.target, goal.measured, "yes" if goal.met else "**no**") for goal in goals]
    lines += [""] + [f"Missed: {goal.target}. {goal.missed_because}" for goal in goals if not goal.met]
    for row in result.rows:
        for name, why in row.failed.items():
            said = [text for text in why.splitlines() if text.strip()]
            # What failed, and the last line of what it said.
            lines.append(f"Failed: {row.job}, {name}. {' '.join(said[:1] + said[1:][-1:])}")
    lines += [f"Left out: {name} ({reason})." for name, reason in result.missing.items()]
    return "\n".join(lines).rstrip() + "\n"


def page(result: Result) -> str:
    """Return docs/benchmarks.md."""
    versions = ", ".join(f"{name} {version}" for name, version in _versions(result).items())
    return f"{INTRODUCTION}\n{result.date}, {result.machine}. {versions}.\n\n{markdown(result)}"


def document(result: Result) -> str:
    """Return the results as JSON."""
    data = {
        "date": result.date,
        "machine": result.machine,
        "versions": _versions(result),
        "left_out": dict(result.missing),
        "rows": [
            {
                "key": row.key,
                "job": row.job,
                "base": row.base,
                "notes": dict(row.notes),
                "series": {name: _series(row, name) for name in row.series},
                "failed": dict(row.failed),
            }
            for row in result.rows
        ],
        "targets": [asdict(goal) for goal in judge(result.rows)],
    }
    return json.dumps(data, indent=2) + "\n"


def judge(rows: tuple[Row, ...]) -> list[Goal]:
    """Return the targets whose rows were measured; what could not be measured is no target, but named as failed."""
    found = {row.key: row for row in rows if "ours" in row.series and (not row.base or row.base in row.series)}
    goals: list[Goal] = []
    for key, most in (("rebuild-6", 2.0), ("rebuild-100", 1.6), ("rebuild-1000", 1.4)):
        if row := found.get(key):
            ratio = row.ratio("ours") or 0.0
            goals.append(
                Goal(f"{row.job}: at most {most:.1f} × the floor", f"{ratio:.2f} ×", ratio <= most, _beyond(found, key))
            )
    if row := found.get("rebuild-1000"):
        goals += [_ahead(row, name) for name in ("dbmate", "node-pg-migrate") if name in row.series]
    if row := found.get("rebuild-slow"):
        goals.append(_ahead(row, "floor"))
    if row := found.get("verify-slow"):
        trips, seconds = row.notes["round trips"], row.series["ours"].median
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
        milliseconds = row.series["ours"].median * 1000
        why = "A clone is a copy of the template's files: fewer files, or a faster disk."
        goals.append(Goal(f"{row.job}: at most 50 ms", f"{milliseconds:.0f} ms", milliseconds <= 50, why))
    return goals


def _ahead(row: Row, name: str) -> Goal:
    """Return the target to be faster than another."""
    ours, other = row.series["ours"].median, row.series[name].median
    shown = "psql" if name == "floor" else name
    why = f"{shown} does without preflight, checksums and verification, which would have to cost less."
    return Goal(f"{row.job}: faster than {shown}", f"{ours:.2f} s against {other:.2f} s", ours < other, why)


def _beyond(found: Mapping[str, Row], key: str) -> str:
    """Return where the time above the floor goes, as far as other rows tell."""
    row = found[key]
    above = row.series["ours"].median - row.series["floor"].median
    words = [f"It takes {above:.2f} s more than the floor."]
    if starting := found.get("list"):
        words.append(f"Starting Python and Invoke is {starting.series['ours'].median:.2f} s of that, whatever the job.")
    if verifying := found.get("verify"):
        words.append(f"A db.verify of its own takes {verifying.series['ours'].median:.2f} s, start included.")
    return " ".join([*words, "Less of either, or a process that stays, would be needed."])


def _versions(result: Result) -> dict[str, str]:
    return {"Python": platform.python_version(), **result.versions}


def _series(row: Row, name: str) -> dict[str, object]:
    series = row.series[name]
    return {
        "median": round(series.median, 6),
        "runs": [round(value, 6) for value in series.seconds],
        "megabytes": round(series.megabytes, 1),
        "ratio": round(ratio, 3) if (ratio := row.ratio(name)) else None,
    }


def _cell(row: Row, name: str) -> str:
    """Return a median with its spread and, unless it is the base, its ratio; nothing if it was not measured."""
    if name in row.failed:
        return "**failed**"
    if name not in row.series:
        return ""
    series = row.series[name]
    ratio = row.ratio(name)
    multiple = f", {ratio:.2f} ×" if ratio and name != row.base else ""
    return f"{_time(series.median)}{_spread(series)}{multiple}"


def _spread(series: Series) -> str:
    if len(series.seconds) < 2:
        return ""
    return f" ({_time(min(series.seconds))}–{_time(max(series.seconds))})"


def _time(seconds: float) -> str:
    """Return a time with two or three digits that count."""
    if seconds < 0.1:
        return f"{seconds * 1000:.2g} ms"
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.2f} s"


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
