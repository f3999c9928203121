"""The live schema against a fresh build of the migrations in a scratch database."""

from __future__ import annotations

import time
from dataclasses import replace

from dbops import migrations, postgres
from dbops.catalog.drift import STEP, Drift, compare_texts
from dbops.catalog.text import schema_text
from dbops.database.operator import scratch_database
from dbops.events import Report, StepStarted, ignore
from dbops.migrations import Migration
from dbops.settings import Target


def drift(target: Target, files: tuple[Migration, ...], *, report: Report = ignore) -> Drift:
    """Build what is applied in a scratch database on the target's server and compare; the target is only read.

    Raises PreflightError if the role may not create databases, MigrationError if the migrations do not apply.
    """
    began = time.monotonic()
    report(StepStarted(STEP, f"reading {target}"))
    with postgres.reader(target) as live:
        ledger = migrations.read_status(live, target, files)
        actual = schema_text(live)
    # Up to the last file that the ledger knows as applied, or all files if it knows none.
    last = max((item.version for item in ledger.items if item.entry and item.migration), default=None)
    built = tuple(migration for migration in files if last is None or migration.version <= last)
    migrations.assert_within(built)
    with scratch_database(target, report) as scratch, postgres.translated(scratch), postgres.connect(scratch) as fresh:
        migrations.apply(fresh, scratch, files, migrations.Options(to=last, fresh=True), report=report)
        expected = schema_text(fresh)
    source = f"a fresh build of {built[0].name} to {built[-1].name}" if built else "an empty database"
    result = replace(
        compare_texts(str(target), source, expected, actual),
        built=tuple(migration.name for migration in built),
        pending=tuple(migration.name for migration in ledger.pending if migration not in built),
        disagreements=tuple(f"{item.name}: {item.state}" for item in ledger.disagreements),
    )
    report(result.end(time.monotonic() - began))
    return result
