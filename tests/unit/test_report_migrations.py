"""Plans and statuses on a terminal of 80 columns."""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone
from pathlib import Path

from rich.console import Console

from dbops.migrations.ledger import Entry, LedgerStatus, compare
from dbops.migrations.run import MigrationPlan, PlannedMigration
from dbops.report import text as views
from tests.support.migration_files import written

NAME = "0001_create_timescaledb_extension"
LATE = datetime(2024, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=5)))


def terminal(width: int = 80) -> Console:
    """Return a console that writes to memory."""
    return Console(file=io.StringIO(), width=width, markup=False)


def drawn(console: Console) -> list[str]:
    """Return the lines that were printed."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def entry(duration_ms: int | None) -> Entry:
    """Return a row of the ledger whose file is not what it was."""
    return Entry(1, NAME, "0" * 64, LATE, "postgres", duration_ms, "1.0")


def status_of(*items: Entry, directory: Path | None = None) -> LedgerStatus:
    """Return the status of a database with these rows."""
    migrations = written(directory, "SELECT 1;") if directory else ()
    return LedgerStatus("d", "s", "PostgreSQL", True, "", compare(migrations, items))


def test_status_keeps_names_and_times_whole_in_utc(tmp_path: Path) -> None:
    console = terminal()
    views.ledger_status(status_of(entry(12)), console)
    lines = drawn(console)
    assert any(NAME in line and "2024-02-29 20:30:00" in line and "postgres" in line for line in lines)
    assert "applied, UTC" in lines[1]


def test_status_explains_below_the_table(tmp_path: Path) -> None:
    console = terminal(200)
    views.ledger_status(status_of(entry(12), directory=tmp_path), console)
    *said, summary, advice = drawn(console)
    edited = "is edited: applied 2024-02-29 20:30:00 UTC by postgres with checksum 000000000000"
    assert len([line for line in said if edited in line]) == 1
    assert summary.startswith("  FAIL    ")
    assert advice.startswith("  next    ")


def test_unfinished_file_that_is_gone_was_begun_and_not_applied() -> None:
    [item] = status_of(entry(None)).items
    assert item.explanation.startswith("begun 2024-02-29 20:30:00 UTC by postgres outside a transaction, not finished")


def test_plan_has_the_locks_below_the_whole_name() -> None:
    locks = "ACCESS EXCLUSIVE on public.tickers for as long as it takes to look at each of its rows"
    planned = PlannedMigration(1, NAME, "p", 12345, 12, locks, "5s", "0", 1)
    console = terminal()
    views.migration_plan(MigrationPlan("d", "s", 0, (planned,), 0, 1), console)
    lines = drawn(console)
    [name] = [number for number, line in enumerate(lines) if NAME in line]
    assert "12,345" in lines[name]
    assert "ACCESS EXCLUSIVE on public.tickers" in lines[name + 1]
    assert all(len(line) <= 80 for line in lines)
