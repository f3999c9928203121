"""The schema of a database against the expected one: verified, compared as a diff, and built anew from the migrations.

What is expected is db/schema.txt, which is written from a build in a scratch database, never from a live one.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from dbops import catalog, postgres, verification
from dbops.catalog import ExpectedSchema
from dbops.catalog.drift import STEP, Drift, ObjectDrift, compare_texts, differences
from dbops.catalog.expected import document
from dbops.database.operator import scratch_database
from dbops.errors import DbopsError, UsageError
from dbops.events import Report, StepFinished, StepStarted, ignore
from dbops.migrations.files import Migration, first_of
from dbops.migrations.ledger import LedgerStatus, read_status
from dbops.postgres import Connection
from dbops.settings import CHECKS, SCHEMA, Target, shown_path
from dbops.verification import CheckFile, Verification

GRANT = re.compile(r"(ALTER ROLE \S+ INHERIT; )?GRANT \S+ TO .+$")


# What the migrations build.


@dataclass(frozen=True, slots=True)
class NewSchema:
    """The schema that the migrations build, as the content of a file, and how it differs from what the file holds."""

    path: str
    fingerprint: str
    objects: tuple[ObjectDrift, ...]
    content: str = field(repr=False)


def new_schema(
    target: Target, files: tuple[Migration, ...], path: Path = SCHEMA, *, report: Report = ignore
) -> NewSchema:
    """Build the migrations in a scratch database on the target's server, and return what a file is to hold.

    Raises PreflightError if the role may not create databases, MigrationError if the migrations do not apply.
    """
    try:
        before = catalog.read_expected(path).text
    except UsageError:
        # There is no file yet, or one that a merge left in conflict.
        before = ""
    with building(target, files, report) as connection:
        text = catalog.schema_text(connection)
    return NewSchema(
        shown_path(path), catalog.fingerprint(text), differences(before, text), document(text, built_from(files))
    )


@dataclass(frozen=True, slots=True)
class Diagram:
    """The page on the schema that the migrations build, as the content of a file."""

    output: str
    content: str = field(repr=False)


def diagram(target: Target, files: tuple[Migration, ...], output: str, *, report: Report = ignore) -> Diagram:
    """Return the page on the schema of migrations that are built in a scratch database; raises as `new_schema`."""
    from dbops.catalog import diagram

    with building(target, files, report) as connection:
        return Diagram(output, diagram.diagram(connection))


@contextmanager
def building(
    target: Target, files: tuple[Migration, ...], report: Report = ignore, *, to: int | None = None
) -> Iterator[Connection]:
    """Yield a connection to a scratch database on the target's server that migrations have built, up to a version."""
    # What only reads does without.
    from dbops.migrations.options import MigrationOptions
    from dbops.migrations.reach import assert_within
    from dbops.migrations.run import apply

    assert_within(tuple(migration for migration in files if to is None or migration.version <= to))
    with (
        scratch_database(target, report) as scratch,
        postgres.translated(scratch),
        postgres.connect(scratch) as connection,
    ):
        apply(connection, scratch, files, MigrationOptions(to=to, fresh=True), report=report)
        yield connection


def built_from(files: tuple[Migration, ...]) -> str:
    """Return a line that tells these migrations from any others, for the head of db/schema.txt."""
    if not files:
        return "Migrations: none"
    digest = hashlib.sha256("".join(f"{file.name} {file.checksum}\n" for file in files).encode()).hexdigest()
    return f"Migrations {files[0].version:04} to {files[-1].version:04}, sha256 {digest}"


# What a database has.


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The fingerprint of a database's schema, and the canonical text that is hashed if that was asked for."""

    database: str
    fingerprint: str
    text: str = ""


def fingerprint(target: Target, *, with_text: bool = False) -> Fingerprint:
    """Return the fingerprint of the target's schema; ServerError without a connection."""
    with postgres.reader(target) as connection:
        text = catalog.schema_text(connection)
    return Fingerprint(target.database, catalog.fingerprint(text), text if with_text else "")


@dataclass(frozen=True, slots=True)
class Checks:
    """The check files that a verification runs, and what it compares the schema with, None for no comparison."""

    files: tuple[CheckFile, ...]
    expected: ExpectedSchema | None


def list_checks(
    *, checks: Path = CHECKS, schema: Path = SCHEMA, baseline: bool = False, only: tuple[str, ...] = ()
) -> Checks:
    """Return what `verify` would run; `only` names files as `verification.select` takes them. Raises as `verify`."""
    suites = verification.list_checks(checks, baseline=baseline)
    return Checks(*verification.select(suites, only, catalog.read_expected(schema)))


def verify(
    target: Target,
    files: tuple[Migration, ...],
    *,
    checks: Path = CHECKS,
    schema: Path = SCHEMA,
    baseline: bool = False,
    only: tuple[str, ...] = (),
    report: Report = ignore,
) -> Verification:
    """Run the check files and compare the schema with the expected one; a result that failed says what to do.

    `only` names files as `verification.select` takes them. Raises UsageError for a suite without files, a name that
    fits nothing, or an expected schema that cannot be read; ServerError without a connection.
    """
    began = datetime.now(UTC)
    chosen = list_checks(checks=checks, schema=schema, baseline=baseline, only=only)
    expected = chosen.expected
    with postgres.reader(target) as connection:
        found = verification.run(
            connection, chosen.files, expected=expected, with_schema=expected is not None, report=report
        )
        ledger = None if found.passed else _ledger(connection, target, files)
    # What to do about checks that could not look, and about rows.
    said = {check: check.actual or "" for check in found.failed}
    rights = {check: match[0] for check, actual in said.items() if (match := GRANT.search(actual))}
    waited = {check for check, actual in said.items() if "did not wait" in actual}
    advice = [f"a right is missing: as a superuser, run {grant}" for grant in dict.fromkeys(rights.values())]
    if waited or any("locked the table" in actual for actual in said.values()):
        advice.append("another session has locked a table: run it again when its transaction is over")
    broken = (check.location for check in said if check.location and check not in rights and check not in waited)
    advice += dict.fromkeys(f"a check file is broken: correct {location}" for location in broken)
    if any(re.fullmatch(r"[1-9]\d* (rows|chunks|large objects)", actual) for actual in said.values()):
        advice.append("there are rows: `--empty` is for a database that was just rebuilt")
    if expected and any(check.file == expected.source and found.schema for check in found.failed):
        pending = ledger.pending if ledger else ()
        advice += _advice(expected, pending, files, ledger, look="`invoke db.drift` shows what; ")
    return replace(found, server=target.server, began=began, advice=tuple(advice))


def drift(
    target: Target,
    files: tuple[Migration, ...],
    *,
    schema: Path | None = SCHEMA,
    report: Report = ignore,
) -> Drift:
    """Compare the schema with a file, or with a fresh build in a scratch database on the target's server if None.

    The target is only read. A build is of what the ledger says is applied, or of all files. Raises UsageError if the
    file cannot be read; for a build PreflightError if the role may not create databases, MigrationError if the
    migrations do not apply.
    """
    began = time.monotonic()
    expected = catalog.read_expected(schema) if schema else None
    report(StepStarted(STEP, f"reading {target}"))
    with postgres.reader(target) as connection:
        actual = catalog.schema_text(connection)
        ledger = _ledger(connection, target, files)
    built: tuple[Migration, ...] = ()
    if expected is None:
        last = (
            max((item.version for item in ledger.items if item.entry and item.migration), default=None)
            if ledger
            else None
        )
        built = tuple(migration for migration in files if last is None or migration.version <= last)
        with building(target, files, report, to=last) as fresh:
            text = catalog.schema_text(fresh)
        source = f"a fresh build of {built[0].name} to {built[-1].name}" if built else "an empty database"
        expected = ExpectedSchema(source, text)
    pending = ledger.pending if ledger else ()
    result = replace(
        compare_texts(str(target), expected.source, expected.text, actual),
        built=tuple(migration.name for migration in built),
        pending=tuple(migration.name for migration in pending if migration not in built),
        disagreements=tuple(f"{item.name}: {item.state}" for item in ledger.disagreements) if ledger else (),
    )
    if result.found:
        result = replace(result, advice=_advice(expected, () if built else pending, files, ledger))
    else:
        report(StepFinished(STEP, "no object differs", time.monotonic() - began))
    return result


def _ledger(connection: Connection, target: Target, files: tuple[Migration, ...]) -> LedgerStatus | None:
    """Return how the ledger compares with the files; None if the role cannot see it."""
    try:
        with postgres.reading(connection):
            return read_status(connection, target, files)
    except DbopsError:
        return None


# What to do about a difference, by its cause.


def _advice(
    expected: ExpectedSchema,
    pending: tuple[Migration, ...],
    files: tuple[Migration, ...],
    ledger: LedgerStatus | None,
    look: str = "",
) -> tuple[str, ...]:
    """Return what to do about a schema that is not as expected; `look` says what shows the difference."""
    if ledger and ledger.unknown_relation:
        return (
            f"{ledger.unknown_relation} exists, and no ledger: correct the name in DATABASE_URL, if this is not the"
            " database that is meant",
        )
    advice = []
    if pending:
        names = ", ".join(first_of(tuple(migration.name for migration in pending)))
        advice.append(
            f"{'migrations are' if len(pending) > 1 else 'a migration is'} pending ({names}): run `invoke db.migrate`"
        )
    if ledger and ledger.disagreements:
        names = ", ".join(first_of(tuple(f"{item.name} is {item.state}" for item in ledger.disagreements)))
        advice.append(f"the ledger and the files disagree ({names}): run `invoke db.status`")
    if expected.built_from and expected.built_from != built_from(files):
        advice.append(
            f"{expected.source} is older than the migrations: run `invoke db.fingerprint --write`, look at the"
            " difference, and commit it"
        )
    if not advice:
        advice.append(
            f"the database was changed by hand: {look}keep a change with `invoke db.new NAME`,"
            " discard all of them with `invoke db.rebuild`"
        )
        if ledger is None:
            advice[0] = f"a migration is pending, or {advice[0]}"
    return tuple(advice)
