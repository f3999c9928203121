"""What drop, create, rebuild and wait show: what would be lost, what is planned, what was done."""

from __future__ import annotations

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from dbops.database.inspection import Inspection
from dbops.database.lifecycle import DropResult
from dbops.database.preflight import Finding
from dbops.database.rebuild import CreateResult, Plan, RebuildResult
from dbops.database.wait import Ready
from dbops.postgres import Session
from dbops.report.base import plain

SHOWN_TABLES = 12
SHOWN_SESSIONS = 10


def header(plan: Plan, console: Console) -> None:
    """Draw in four lines what a rebuild is about to work on, and what would be lost."""
    found = plan.inspection
    engine = f"PostgreSQL {found.server.version_text}, TimescaleDB {found.server.timescaledb or 'missing'}"
    names = [migration.name for migration in plan.migrations]
    to_run = f"{len(names)}, from {names[0]} to {names[-1]}" if names else "none that can be read"
    console.print(Text(f"Rebuild {found.target.database}", "bold"), soft_wrap=True)
    facts = {
        "target": f"{found.target} ({found.target.environment})",
        "engine": engine,
        "migrations": to_run + (", rehearsed in a scratch database first" if plan.rehearse else ""),
    }
    _facts(facts, console)
    impact(found, console)


def plan_text(plan: Plan, console: Console) -> None:
    """Draw what a rebuild would do, and every condition of the preflight."""
    header(plan, console)
    for finding in plan.findings:
        _finding(finding, console)
    found = plan.inspection
    _facts({"consent": plan.consent.words(found.target.database)}, console)
    steps = [*(["rehearse"] if plan.rehearse else []), "create", *(["drop"] if found.database else [])]
    steps += ["migrate", "verify", "open"]
    verdict = "would be refused" if plan.refusals else f"would {', '.join(steps)}"
    trial = "" if plan.refusals else " except for a scratch database, created and dropped"
    console.print(Text(f"A rebuild {verdict}. Nothing was changed{trial}."), soft_wrap=True)


def plan_data(plan: Plan) -> dict[str, object]:
    """Return the plan for machines."""
    found = plan.inspection
    return {
        "began": plain(plan.began),
        **impact_data(found),
        "postgresql": found.server.version_text,
        "timescaledb": found.server.timescaledb,
        "preflight": plain(plan.findings),
        "refused": bool(plan.refusals),
        "consent": plain(plan.consent),
        "migrations": [migration.name for migration in plan.migrations],
        "rehearse": plan.rehearse,
    }


def impact(found: Inspection, console: Console) -> None:
    """Draw what would be lost."""
    lost = found.impact
    if not found.exists:
        console.print(Text(f"Nothing would be lost: there is no database {found.target.database}."), soft_wrap=True)
        return
    if not lost.rows and not lost.foreign:
        console.print(Text(f"Nothing would be lost: there are no rows in {found.target}."), soft_wrap=True)
    else:
        console.print(Text("This deletes, for good:", "bold red"), soft_wrap=True)
        labelled = f", labelled {lost.label.environment}" if lost.label else ""
        facts = {
            "database": f"{found.target} ({found.target.environment}{labelled})",
            "size": "unknown" if found.size is None else decimal(found.size),
        }
        if lost.foreign:
            facts["objects"] = lost.objects + (f"; seems to be built with {lost.maker}" if lost.maker else "")
        facts["rows"] = _rows(found)
        _facts(facts, console)
        _tables(found, console)
    _sessions("connected now", found.sessions, console)


def impact_data(found: Inspection) -> dict[str, object]:
    """Return what would be lost for machines."""
    lost = found.impact
    return {
        "database": found.target.database,
        "server": found.target.server,
        "environment": found.target.environment,
        "exists": found.exists,
        "rows_would_be_lost": lost.rows,
        "estimated_rows": lost.estimated_rows,
        "size": found.size,
        "sessions": plain(found.sessions),
        "impact": plain(lost),
    }


def question(found: Inspection) -> str:
    """Return what an operator at a terminal is asked."""
    return f"This deletes all data above. Type the database name to confirm ({found.target.database}):"


def rebuilt(results: tuple[RebuildResult, ...], console: Console) -> None:
    """Draw the summary of each rebuild."""
    for result in results:
        _rebuilt(result, console)
    if len(results) > 1:
        console.print(Text(f"  {len(results)} rebuilds, one fingerprint"))


def rebuilt_data(results: tuple[RebuildResult, ...]) -> object:
    """Return the last rebuild for machines, and how many there were: all of them have its fingerprint."""
    return {**plain(results[-1]), "repeated": len(results)}


def _rebuilt(result: RebuildResult, console: Console) -> None:
    console.print(Text.assemble(("  ok   ", "green"), f"{result.database} is rebuilt"), soft_wrap=True)
    steps = ", ".join(f"{step.step} {step.seconds:.2f}" for step in result.steps)
    facts = {
        "built": f"{result.migrations} migrations applied, {result.checks} checks passed",
        "rows": f"{result.rows}: no ingestion has run" if result.rows == 0 else f"{result.rows}",
        "fingerprint": result.fingerprint,
        "rehearsal": "passed, with the same fingerprint" if result.rehearsed else "none",
        "closed to": f"{result.kept_out}, until all was verified",
        "seconds": f"{result.seconds:.2f} in all ({steps})",
    }
    _facts(facts, console)
    _sessions("sessions ended", result.ended, console)


def dropped(result: DropResult, console: Console) -> None:
    """Draw what a drop did."""
    database = f"{result.database} on {result.server} ({result.environment})"
    if not result.existed:
        text = f"{database} was not there: nothing was dropped."
    elif result.successor:
        text = (
            f"{database} is dropped in {result.seconds:.2f} s. "
            f"The empty database {result.successor} keeps its properties for `invoke db.create`."
        )
    else:
        text = f"{database} is dropped in {result.seconds:.2f} s, and its properties with it."
    console.print(Text(text), soft_wrap=True)
    _sessions("sessions ended", result.ended, console)


def created(result: CreateResult, console: Console) -> None:
    """Draw what a create did."""
    database = f"{result.database} on {result.server} ({result.environment})"
    kept = "the properties that it had before" if result.kept else "the server's default properties"
    if result.created:
        text = f"{database} is created with {kept}; `invoke db.migrate` comes next."
    elif result.opened:
        text = f"{database} was left closed by an interrupted run: it is open now, with {kept}."
    else:
        text = f"{database} exists: nothing was created."
    console.print(Text(text), soft_wrap=True)


def ready(found: Ready, console: Console) -> None:
    """Draw that a server is ready."""
    text = f"{found.server} is ready after {found.seconds:.1f} s: "
    console.print(Text(f"{text}PostgreSQL {found.postgresql}, TimescaleDB {found.timescaledb}"), soft_wrap=True)


def _facts(facts: dict[str, str], console: Console) -> None:
    for name, value in facts.items():
        console.print(Text.assemble((f"  {name:<12} ", "dim"), value), soft_wrap=True)


def _finding(finding: Finding, console: Console) -> None:
    state = ("  ok    ", "green") if finding.passed else ("  FAIL  ", "bold red")
    more = "" if finding.passed else f": {finding.reason}. {finding.remedy}"
    console.print(Text.assemble(state, finding.name + more), soft_wrap=True)


def _tables(found: Inspection, console: Console) -> None:
    """Draw the tables that hold rows; those that seem empty are counted."""
    filled = [table for table in found.impact.tables if table.estimated_rows]
    shown = filled[:SHOWN_TABLES] or list(found.impact.tables[:SHOWN_TABLES])
    table = Table("table", "newest", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("rows, about", "size"):
        table.add_column(heading, justify="right")
    for item in shown:
        cells = (item.name, item.newest or "", f"{item.estimated_rows:,}", decimal(item.size))
        table.add_row(*(Text(cell) for cell in cells))
    if shown:
        console.print(table)
    more = len(found.impact.tables) - len(shown)
    if more:
        what = "more" if len(filled) > len(shown) else "empty"
        console.print(Text(f"  and {more} {what} {'table' if more == 1 else 'tables'}"))


def _sessions(what: str, sessions: tuple[Session, ...], console: Console) -> None:
    if sessions:
        console.print(Text(f"  {what}: {len(sessions)}"))
    for session in sessions[:SHOWN_SESSIONS]:
        console.print(Text(f"    {session}"), soft_wrap=True)
    if len(sessions) > SHOWN_SESSIONS:
        console.print(Text(f"    and {len(sessions) - SHOWN_SESSIONS} more"))


def _rows(found: Inspection) -> str:
    """Return the number of rows that would be lost, or where one was seen if the server has no estimate."""
    lost = found.impact
    if not lost.rows:
        return "none"
    if not lost.seen:
        return f"unknown: {lost.evidence}"
    return f"about {lost.estimated_rows:,}" if lost.estimated_rows > 1 else f"some, seen in {lost.evidence}"
