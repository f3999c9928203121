"""Migrate a database that exists, try that out, and rehearse its migrations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dbops import catalog, label, postgres, verification
from dbops.database import consent
from dbops.database.operator import explained, refuse_closed, scratch_database
from dbops.database.properties import find_database
from dbops.errors import CheckError
from dbops.events import Report, ignore
from dbops.migrations import rehearsal
from dbops.migrations.alone import only_session, refuse_system_database
from dbops.migrations.files import Migration
from dbops.migrations.ledger import read_status
from dbops.migrations.options import DEFAULTS, MigrationOptions
from dbops.migrations.rehearsal import MeasuredMigration
from dbops.migrations.run import MigrationPlan, MigrationResult, apply, as_owner, plan
from dbops.postgres import Connection
from dbops.settings import CHECKS, SCHEMA, Target


@dataclass(frozen=True, slots=True)
class Trial:
    """What pending migrations would do, and what they did before they were rolled back."""

    plan: MigrationPlan
    result: MigrationResult


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What each pending migration locked, rewrote and scanned in a scratch database."""

    migrations: tuple[MeasuredMigration, ...]


def migrate(
    target: Target,
    files: tuple[Migration, ...],
    options: MigrationOptions = DEFAULTS,
    *,
    verify: bool = False,
    schema: Path = SCHEMA,
    confirm: str = "",
    report: Report = ignore,
) -> MigrationResult:
    """Apply pending migrations in the only session at work, on a database of the environment that was chosen.

    `options.patience` is how many seconds to wait for another migration or operator. With `verify`, CheckError before
    the last commit, which is rolled back, if a check fails or the schema is not as in the file `schema`.
    `confirm` is the name of a database whose label was lost and that is of the chosen environment. A label that was
    lost, or written on another server, is written anew before anything is applied.
    """

    def verified(inside: Connection) -> None:
        """Raise CheckError if a check fails."""
        if stale and options.check:
            write_label(inside)
        outcome = verification.run(inside, files_of_checks, expected=expected, report=report)
        if outcome.failed:
            raise CheckError(
                f"the database would not be as expected: {outcome.summary}",
                where=str(target),
                notes=outcome.notes,
                hint="Correct the migration; or, if db/schema.txt is older, run `invoke db.fingerprint --write`.",
            )

    def write_label(inside: Connection) -> None:
        """Label the database with its environment."""
        label.write(inside, target.environment, found.label.rebuilds if found.label else ())

    files_of_checks = verification.list_checks(CHECKS) if verify else ()
    expected = catalog.read_expected(schema) if verify else None
    with (
        explained(target),
        only_session(target, patience=options.patience, report=report) as inside,
    ):
        with postgres.translated(target):
            refuse_closed(find_database(inside, target.database), target)
            found = read_status(inside, target, files)
        consent.assert_environment(found.label, target)
        consent.assert_labelled(found, target, confirm)
        # A label that was lost, or written for this environment on another server.
        stale = found.has_ledger and not (found.label and found.label.native)
        stale = stale and (found.label is None or found.label.environment == target.environment)
        if stale and not options.check:
            with as_owner(inside, target, found.owner):
                write_label(inside)
        return apply(
            inside, target, files, options, found=found, before_commit=verified if verify else None, report=report
        )


def try_out(
    target: Target,
    files: tuple[Migration, ...],
    options: MigrationOptions,
    *,
    verify: bool = False,
    confirm: str = "",
    report: Report = ignore,
) -> Trial:
    """Plan, and apply pending migrations on the target itself, to be rolled back. Raises as `migrate` does."""
    planned = plan(target, files, options)
    options = replace(options, check=True)
    return Trial(planned, migrate(target, files, options, verify=verify, confirm=confirm, report=report))


def rehearse(
    target: Target, files: tuple[Migration, ...], *, to: int | None = None, report: Report = ignore
) -> Rehearsal:
    """Measure in a scratch database what the pending migrations lock, rewrite and scan; the target is only read.

    Raises what `migrate` would raise before it begins, and PreflightError if the role may not create databases.
    """
    refuse_system_database(target)
    with postgres.reader(target) as connection, postgres.reading(connection):
        pending = read_status(connection, target, files).to_apply(to)
    with scratch_database(target, report) as scratch:
        return Rehearsal(rehearsal.rehearse(scratch, files, pending, report=report))
