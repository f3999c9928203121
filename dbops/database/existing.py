"""Operate on a database that exists: migrate it, rehearse its migrations, look at its ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dbops import catalog, label, migrations, postgres, verification
from dbops.database import consent
from dbops.database.collations import changed_collations
from dbops.database.inspection import newer_timescaledb
from dbops.database.operator import explain_missing, refuse_closed, scratch_database
from dbops.database.properties import Kind, databases, databases_query, find_database
from dbops.errors import CheckError, ConsentError, PreflightError, ServerError
from dbops.events import Message, Report, ignore
from dbops.postgres import Connection
from dbops.settings import CHECKS, SCHEMA, Target

if TYPE_CHECKING:
    from dbops.migrations import LedgerStatus, MeasuredMigration, Migration, MigrationPlan, MigrationResult


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
    options: migrations.MigrationOptions | None = None,
    *,
    verify: bool = False,
    checks: Path = CHECKS,
    schema: Path = SCHEMA,
    confirm: str = "",
    report: Report = ignore,
) -> MigrationResult:
    """Apply pending migrations in the only session at work, on a database of the environment that was chosen.

    `options.patience` is how many seconds to wait for another migration or operator. With `verify`, CheckError before
    the last commit, which is rolled back, if a check of `checks` fails or the schema is not as in the file `schema`.
    `confirm` is the name of a database whose label was lost and that is of the chosen environment. A label that was
    lost, or written on another server, is written anew before anything is applied.
    """
    options = options or migrations.DEFAULTS

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

    files_of_checks = verification.list_checks(checks) if verify else ()
    expected = catalog.read_expected(schema) if verify else None
    with (
        _explained(target),
        migrations.only_session(target, patience=options.patience, report=report) as inside,
    ):
        with postgres.translated(target):
            refuse_closed(find_database(inside, target.database), target)
            found = migrations.read_status(inside, target, files)
        assert_environment(found.label, target)
        assert_labelled(found, target, confirm)
        # A label that was lost, or written for this environment on another server.
        stale = found.has_ledger and not (found.label and found.label.native)
        stale = stale and (found.label is None or found.label.environment == target.environment)
        if stale and not options.check:
            with migrations.as_owner(inside, target, found.owner):
                write_label(inside)
        return migrations.apply(
            inside, target, files, options, found=found, before_commit=verified if verify else None, report=report
        )


def try_out(
    target: Target,
    files: tuple[Migration, ...],
    options: migrations.MigrationOptions,
    *,
    verify: bool = False,
    confirm: str = "",
    report: Report = ignore,
) -> Trial:
    """Plan, and apply pending migrations on the target itself, to be rolled back. Raises as `migrate` does."""
    planned = migrations.plan(target, files, options)
    options = replace(options, check=True)
    return Trial(planned, migrate(target, files, options, verify=verify, confirm=confirm, report=report))


def rehearse(
    target: Target, files: tuple[Migration, ...], *, to: int | None = None, report: Report = ignore
) -> Rehearsal:
    """Measure in a scratch database what the pending migrations lock, rewrite and scan; the target is only read.

    Raises what `migrate` would raise before it begins, and PreflightError if the role may not create databases.
    """
    migrations.refuse_system_database(target)
    with postgres.reader(target) as connection, postgres.reading(connection):
        pending = migrations.read_status(connection, target, files).to_apply(to)
    with scratch_database(target, report) as scratch:
        return Rehearsal(migrations.rehearse(scratch, files, pending, report=report))


def assert_labelled(found: LedgerStatus, target: Target, confirm: str = "") -> None:
    """Raise ConsentError if a ledger has no label, unless prod is chosen, or the database's name is given.

    It may be a prod database that was restored without comments: to call it prod is no risk, anything else is.
    """
    if confirm not in ("", target.database):
        raise ConsentError(
            f'--confirm names another database: "{confirm}"',
            where=str(target),
            hint=f"Give the name: {consent.option(target.database)}.",
            state="Nothing was applied.",
        )
    chosen = target.environment
    if found.has_ledger and found.label is None and chosen != "prod" and not confirm:
        raise ConsentError(
            f"{target.database} has a ledger, and no label that says which environment it belongs to",
            where=str(target),
            hint=f"If it is a {chosen} database, add {consent.option(target.database)}; if it is prod, choose "
            "--env prod.",
            state="Nothing was applied.",
        )


def assert_environment(found: label.Label | None, target: Target) -> None:
    """Raise ConsentError if a database is labelled as another environment's than the one chosen, and one is prod.

    A label that says prod is believed wherever it was written, any other one only on the server that it names.
    """
    if found is None or found.environment == target.environment:
        return
    if found.environment == "prod" or (found.native and target.environment == "prod"):
        hint = f"`invoke db.rebuild {consent.option(target.database)}` changes its environment."
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

    Reports if the database is closed, or another environment's, and which collations have changed. Raises ServerError
    if it cannot be connected to, which names the successor if it was dropped.
    """
    with _explained(target), postgres.reader(target) as connection, postgres.reading(connection):
        (answer,) = postgres.ask(connection, [databases_query(target.database)])
        there = {database.name: database for database in databases(answer.fetched())}
        own = there.get(target.database)
        try:
            refuse_closed(own, target)
        except PreflightError as closed:
            report(Message("WARNING", f"{closed.what}. {closed.hint}"))
        for sentence in changed_collations(connection):
            report(Message("WARNING", sentence))
        found = migrations.read_status(connection, target, files)
        if found.label and found.label.environment != target.environment:
            said = f"labelled {found.label.environment}, and the environment chosen is {target.environment}"
            report(Message("WARNING", said))
        kept = tuple(
            label.KeptDatabase(database.name, database.marker.since, database.size)
            for database in there.values()
            if database.marker and own and database.is_a(Kind.KEPT, own.name)
            if database.catalog.owner == own.catalog.owner
        )
        return replace(found, newer_timescaledb=newer_timescaledb(connection), kept=kept)


@contextmanager
def _explained(target: Target) -> Iterator[None]:
    """Say of a database that cannot be connected to whether it is missing, closed or dropped, and what to do then."""
    try:
        yield
    except ServerError as error:
        error.hint = explain_missing(target) or error.hint
        raise
