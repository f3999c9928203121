"""Operate on a database that exists: migrate it, rehearse its migrations, look at its ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dbops import catalog, label, migrations, postgres, verification
from dbops.database import collations
from dbops.database.inspection import newer_timescaledb
from dbops.database.operator import explain_missing, refuse_closed, scratch_database
from dbops.database.properties import find
from dbops.errors import CheckError, ConsentError, PreflightError, ServerError
from dbops.events import Message, Report, ignore
from dbops.migrations import LedgerStatus, MeasuredMigration, Migration, MigrationResult
from dbops.migrations.files import first_of
from dbops.postgres import Connection
from dbops.settings import CHECKS, SCHEMA, Target


def migrate(
    target: Target,
    files: tuple[Migration, ...],
    options: migrations.Options = migrations.DEFAULTS,
    *,
    verify: bool = False,
    checks: Path = CHECKS,
    schema: Path = SCHEMA,
    report: Report = ignore,
) -> MigrationResult:
    """Apply pending migrations as the only operator, on a database of the environment that was chosen.

    `options.patience` is also how many seconds to wait for another operator. With `verify`, CheckError before the last
    commit, which is rolled back, if a check of `checks` fails or the schema is not as in the file `schema`.
    Afterwards the database is labelled with its environment again if the label was lost, or written on another server.
    """

    def verified(inside: Connection) -> None:
        """Raise CheckError if a check fails."""
        write_label(inside)
        found = verification.run(inside, files_of_checks, expected=expected, report=report)
        if found.failed:
            notes = (f"{check.name}: expected {check.expected}, is {check.actual}" for check in found.failed)
            raise CheckError(
                f"the database would not be as expected: {found.summary}",
                where=str(target),
                notes=first_of(tuple(notes)),
                hint="Correct the migration; or, if db/schema.txt is older, run `invoke db.fingerprint --write`.",
            )

    def write_label(inside: Connection) -> None:
        """Label the database with its environment, unless it is labelled on this server, or differently."""
        if before is None or (before.environment == target.environment and not before.native):
            label.write(inside, target.environment, before.rebuilds if before else ())

    files_of_checks = verification.list_checks(checks) if verify else ()
    expected = catalog.read_expected(schema) if verify else None
    with postgres.operator(target, timeout=options.patience, report=report) as connection:
        refuse_closed(find(connection, target.database), target)
        with postgres.translated(target), postgres.connect(target) as inside:
            before = label.read(inside)
            assert_environment(before, target)
            result = migrations.apply(
                inside,
                target,
                files,
                options,
                observer=connection,
                before_commit=verified if verify else None,
                report=report,
            )
            if not options.check and not inside.closed:
                write_label(inside)
        return result


def rehearse(
    target: Target, files: tuple[Migration, ...], *, to: int | None = None, report: Report = ignore
) -> tuple[MeasuredMigration, ...]:
    """Measure in a scratch database what the pending migrations lock, rewrite and scan; the target is only read.

    Raises what `migrate` would raise before it begins, and PreflightError if the role may not create databases.
    """
    with postgres.reader(target) as connection, postgres.reading(connection):
        pending = migrations.read_status(connection, target, files).to_apply(to)
    with scratch_database(target, report) as scratch:
        return migrations.rehearse(scratch, files, pending, report=report)


def assert_environment(found: label.Label | None, target: Target) -> None:
    """Raise ConsentError if a database is labelled as another environment's than the one chosen, and one is prod.

    A label that says prod is believed wherever it was written, any other one only on the server that it names.
    """
    if found is None or found.environment == target.environment:
        return
    if found.environment == "prod" or (found.native and target.environment == "prod"):
        hint = f"`invoke db.rebuild --confirm {target.database}` changes its environment."
        # On the embedded server another environment is another database.
        if not target.embedded:
            hint = f"Choose --env {found.environment} to migrate this database; {hint}"
        raise ConsentError(
            f"{target.database} is a {found.environment} database, and the environment chosen is {target.environment}",
            where=str(target),
            hint=hint,
            state="Nothing was applied.",
        )


def status(target: Target, files: tuple[Migration, ...], *, report: Report = ignore) -> LedgerStatus:
    """Return how the target's database compares with the migration files.

    Reports if the database is closed, and which collations have changed. Raises ServerError if it cannot be connected
    to, which names the successor if it was dropped.
    """
    try:
        with postgres.reader(target) as connection, postgres.reading(connection):
            try:
                refuse_closed(find(connection, target.database), target)
            except PreflightError as closed:
                report(Message("WARNING", f"{closed.what}. {closed.hint}"))
            for sentence in collations.changed(connection):
                report(Message("WARNING", sentence))
            found = migrations.read_status(connection, target, files)
            return replace(found, newer_timescaledb=newer_timescaledb(connection))
    except ServerError as error:
        explanation = explain_missing(target)
        if explanation:
            error.hint = explanation
        raise
