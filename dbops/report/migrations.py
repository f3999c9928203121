"""How plans, statuses and results of migrations look, for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dbops.migrations import LedgerStatus, MigrationResult, Plan, PlannedMigration, State

_STYLES = {
    State.APPLIED: "green",
    State.PENDING: "cyan",
    State.UNFINISHED: "bold yellow",
}

# From this width on there is room for what one seldom looks for.
_WIDE = 100


def plan_text(plan: Plan, console: Console) -> None:
    """Draw what would run."""
    console.print(f"{plan.database} on {plan.server}: {plan.applied} applied, {len(plan.pending)} to apply")
    if not plan.pending:
        return
    table = _table("tx", "migration and its locks", "bytes", "statements", "lock timeout")
    # The one column that may wrap: the locks are prose, a line below the name.
    table.columns[1].no_wrap = False
    for migration in plan.pending:
        table.add_row(
            "alone" if migration.transaction is None else str(migration.transaction),
            f"{migration.name}\n  {migration.locks or 'locks not declared'}",
            str(migration.size),
            str(migration.statements),
            _limits(migration),
        )
    console.print(table)
    console.print(_transactions(plan))
    if plan.later:
        console.print(f"{plan.later} more stay pending, beyond --to.")


def _limits(migration: PlannedMigration) -> str:
    """Return the lock timeout, and the statement timeout where there is one."""
    statement = "" if migration.statement_timeout == "0" else f", statement {migration.statement_timeout}"
    return f"{migration.lock_timeout}{statement}"


def _transactions(plan: Plan) -> str:
    alone = len([migration for migration in plan.pending if migration.transaction is None])
    if not alone:
        return "All in one transaction: all or nothing."
    return (
        f"In {plan.transactions} transaction(s), and {alone} file(s) outside of any: a failure keeps what came before."
    )


def status_text(status: LedgerStatus, console: Console) -> None:
    """Draw how ledger and files stand to each other."""
    console.print(f"{status.server}: {status.engine}")
    if not status.has_ledger:
        console.print(f"{status.database}: no ledger, so nothing is applied")
    if status.stranger:
        console.print(f"{status.stranger} is there all the same: `invoke db.migrate` refuses such a database")
    wide = console.width >= _WIDE
    table = _table("state", "migration", "applied, UTC", "by", "ms", *(["checksum"] if wide else []))
    for item in status.items:
        entry = item.entry
        checksum = entry.checksum if entry else item.migration.checksum if item.migration else ""
        table.add_row(
            Text(item.state, style=_STYLES.get(item.state, "bold red")),
            item.name,
            entry.when if entry else "",
            entry.applied_by if entry else "",
            "" if entry is None or entry.duration_ms is None else str(entry.duration_ms),
            *([checksum[:12]] if wide else []),
        )
    console.print(table)
    for item in status.items:
        if item.explanation:
            console.print(f"{item.name} is {item.state}: {item.explanation}")
    console.print(f"{status.database}: {status.summary}")


def result_text(result: MigrationResult, console: Console) -> None:
    """Draw what a run did."""
    what = "applied and rolled back" if result.rolled_back else "applied"
    if not result.applied:
        console.print(f"{result.database}: nothing to apply, {result.before} applied before, {result.pending} pending")
        return
    table = _table("migration", "statements", "seconds")
    for migration in result.applied[-20:]:
        table.add_row(migration.name, str(migration.statements), f"{migration.seconds:.3f}")
    if len(result.applied) > 20:
        console.print(f"the last 20 of {len(result.applied)}:")
    console.print(table)
    console.print(
        f"{result.database}: {len(result.applied)} {what} in {result.seconds:.2f} s, "
        f"{result.before} applied before, {result.pending} pending"
    )


def check_text(plan: Plan, result: MigrationResult, console: Console) -> None:
    """Draw what would run, and how it went when it was tried."""
    plan_text(plan, console)
    result_text(result, console)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=True)
    return table
