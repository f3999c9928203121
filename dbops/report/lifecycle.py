"""What drop, create, rebuild and wait show: what is at stake, what is planned, what was done."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dbops.lifecycle import CreateResult, DropResult, Session, Stakes
from dbops.preflight import Finding
from dbops.rebuild import RebuildPlan, RebuildResult
from dbops.report.base import plain
from dbops.wait import Ready

SHOWN_TABLES = 12
SHOWN_SESSIONS = 10


def header(plan: RebuildPlan, console: Console) -> None:
    """Draw what a rebuild is about to work on."""
    console.print(Text(f"Rebuild of {plan.database}", "bold"), soft_wrap=True)
    engine = f"PostgreSQL {plan.preflight.postgresql}, TimescaleDB {plan.preflight.timescaledb or 'missing'}"
    first, last = (plan.migrations[0], plan.migrations[-1]) if plan.migrations else ("", "")
    to_run = f"{len(plan.migrations)}, from {first} to {last}" if plan.migrations else "none that can be read"
    facts = {
        "time": f"{plan.began:%Y-%m-%d %H:%M:%S} UTC",
        "target": f"{plan.database} on {plan.server}",
        "environment": plan.environment,
        "engine": engine,
        "migrations": to_run,
        "rehearsal": "in a scratch database first" if plan.rehearse else "none",
    }
    _facts(facts, console)
    stakes(plan.stakes, console)


def plan_text(plan: RebuildPlan, console: Console) -> None:
    """Draw what a rebuild would do, and every finding of the preflight."""
    header(plan, console)
    _findings((*plan.preflight.findings, plan.belonging), console)
    _facts({"consent": plan.consent}, console)
    steps = ["drop"] if plan.stakes.exists else []
    steps = [*(["rehearse"] if plan.rehearse else []), *steps, "create", "migrate", "verify", "open"]
    verdict = "would refuse" if plan.refused else f"would {', '.join(steps)}"
    console.print(Text(f"A rebuild {verdict}. Nothing was changed."), soft_wrap=True)


def plan_data(plan: RebuildPlan) -> dict[str, object]:
    """Return the plan for machines."""
    data: dict[str, object] = plain(plan)
    return {**data, "stakes": stakes_data(plan.stakes), "refused": plan.refused}


def stakes(found: Stakes, console: Console) -> None:
    """Draw what would be lost."""
    if not found.exists:
        console.print(Text("Nothing is at stake: there is no such database."), soft_wrap=True)
        return
    if not found.at_stake:
        console.print(Text("Nothing is at stake: there is no row in it."), soft_wrap=True)
    else:
        console.print(Text("At stake, and lost for good:", "bold red"), soft_wrap=True)
    facts = {
        "database": f"{found.database} on {found.server}",
        "environment": found.environment + (f", labelled {found.label.environment}" if found.label else ""),
        "size": _size(found.size),
    }
    if found.at_stake:
        facts["rows"] = _rows(found)
    _facts(facts, console)
    if found.at_stake:
        _tables(found, console)
    _sessions("connected now", found.sessions, console)


def stakes_data(found: Stakes) -> dict[str, object]:
    """Return the stakes for machines."""
    data: dict[str, object] = plain(found)
    return {**data, "at_stake": found.at_stake, "estimated_rows": found.estimated_rows}


def question(found: Stakes) -> str:
    """Return what an operator at a terminal is asked."""
    return f"To lose all of this, type the name of the database ({found.database}):"


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
        "fence": f"kept out {result.kept_out} until all was verified",
        "seconds": f"{result.seconds:.2f} in all ({steps})",
    }
    _facts(facts, console)
    _sessions("sessions ended", result.ended, console)


def dropped(result: DropResult, console: Console) -> None:
    """Draw what a drop did."""
    database = f"{result.database} on {result.server} ({result.environment})"
    if not result.existed:
        console.print(Text(f"{database} was not there, so nothing was dropped."), soft_wrap=True)
        return
    text = f"{database} is dropped in {result.seconds:.2f} s; its properties are kept for `invoke db.create`."
    console.print(Text(text), soft_wrap=True)
    _sessions("sessions ended", result.ended, console)


def created(result: CreateResult, console: Console) -> None:
    """Draw what a create did."""
    database = f"{result.database} on {result.server} ({result.environment})"
    kept = "the properties that it had before" if result.restored else "the server's default properties"
    if result.created:
        text = f"{database} is created with {kept}; `invoke db.migrate` comes next."
    elif result.restored:
        text = f"{database} was left fenced by an interrupted run: it is open now, with {kept}."
    else:
        text = f"{database} is there already, so nothing was created."
    console.print(Text(text), soft_wrap=True)


def ready(found: Ready, console: Console) -> None:
    """Draw that a server is ready."""
    text = f"{found.server} is ready after {found.seconds:.1f} s: "
    console.print(Text(f"{text}PostgreSQL {found.postgresql}, TimescaleDB {found.timescaledb}"), soft_wrap=True)


def _facts(facts: dict[str, str], console: Console) -> None:
    for name, value in facts.items():
        console.print(Text.assemble((f"  {name:<12} ", "dim"), value), soft_wrap=True)


def _findings(findings: tuple[Finding, ...], console: Console) -> None:
    for finding in findings:
        state = ("  ok    ", "green") if finding.passed else ("  FAIL  ", "bold red")
        more = "" if finding.passed else f": {finding.reason}. {finding.remedy}"
        console.print(Text.assemble(state, finding.name + more), soft_wrap=True)


def _tables(found: Stakes, console: Console) -> None:
    table = Table("table", "rows, about", "size", "newest")
    for item in found.tables[:SHOWN_TABLES]:
        cells = (item.name, f"{item.estimated_rows:,}", _size(item.size), item.newest or "")
        table.add_row(*(Text(cell) for cell in cells))
    if found.tables:
        console.print(table)
    if len(found.tables) > SHOWN_TABLES:
        console.print(Text(f"  and {len(found.tables) - SHOWN_TABLES} more tables"))


def _sessions(what: str, sessions: tuple[Session, ...], console: Console) -> None:
    if sessions:
        console.print(Text(f"  {what}: {len(sessions)}"))
    for session in sessions[:SHOWN_SESSIONS]:
        console.print(Text(f"    {session}"), soft_wrap=True)
    if len(sessions) > SHOWN_SESSIONS:
        console.print(Text(f"    and {len(sessions) - SHOWN_SESSIONS} more"))


def _size(size: int | None) -> str:
    """Return bytes for people."""
    if size is None:
        return "unknown"
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TB"


def _rows(found: Stakes) -> str:
    """Return the number of rows at stake, or where one was seen if the server's estimate knows of none."""
    if not found.seen:
        return f"unknown: {found.evidence}"
    return f"about {found.estimated_rows:,}" if found.estimated_rows > 1 else f"some, seen in {found.evidence}"
