"""Drop, create, migrate and verify a database as one operation, and each of the steps alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from dbops import catalog, migrations, postgres, verification
from dbops.database import consent, lifecycle
from dbops.database.consent import NOT_AGREED, Agreement, Required
from dbops.database.inspection import Inspection, count_rows, inspect
from dbops.database.lifecycle import DropResult
from dbops.database.preflight import Finding, assert_passed, judged, preflight
from dbops.database.properties import find
from dbops.errors import CheckError, DbopsError, Interrupted, NameTakenError, PreflightError
from dbops.events import Event, Message, Progress, Report, StepFinished, StepStarted, ignore
from dbops.migrations import Migration
from dbops.migrations.files import first_of
from dbops.postgres import TIMEOUT, Connection, Session, quoted, reading, sessions_in
from dbops.settings import CHECKS, MIGRATIONS, SCHEMA, Target
from dbops.verification import CheckFile

# How long preflight waits for sessions that the role may not end: a job of TimescaleDB's, which runs as the superuser,
# is over in a moment. In seconds.
JOBS_TIMEOUT = 3.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to rebuild: where the SQL is, how many seconds to wait for others, what the operator agreed to.

    `schema` is the file with the expected schema; None leaves the comparison out.
    """

    migrations: Path = MIGRATIONS
    checks: Path = CHECKS
    schema: Path | None = SCHEMA
    timeout: float = TIMEOUT
    rehearse: bool = True
    agreement: Agreement = NOT_AGREED


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rebuild is about to do, judged before anything is done; `began` is in UTC."""

    began: datetime
    inspection: Inspection
    findings: tuple[Finding, ...]
    consent: Required
    migrations: tuple[Migration, ...]
    checks: tuple[CheckFile, ...]
    expected: catalog.ExpectedSchema | None
    rehearse: bool

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """Return the conditions that are not met."""
        return tuple(finding for finding in self.findings if not finding.passed)


@dataclass(frozen=True, slots=True)
class StepSeconds:
    """How long one step took."""

    step: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """What was built and verified.

    `kept_out` says whom the database was closed to until then, `rehearsed` whether the build was tried before the
    drop, `rows` counts what the new database holds: no ingestion has run.
    """

    database: str
    server: str
    environment: str
    migrations: int
    checks: int
    fingerprint: str
    rehearsed: bool
    ended: tuple[Session, ...]
    kept_out: str
    rows: int
    steps: tuple[StepSeconds, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class CreateResult:
    """What a create did: `created` is False where the database was there, `opened` True where it was closed.

    `kept` is whether it has the properties of the database that was dropped before.
    """

    database: str
    server: str
    environment: str
    created: bool
    opened: bool
    kept: bool
    seconds: float


Announce = Callable[[Plan], None]


def not_announced(plan: object) -> None:
    """Show nothing before the work begins."""


def rebuild(
    target: Target, options: Options, *, report: Report = ignore, announce: Announce = not_announced
) -> RebuildResult:
    """Replace the target's database by a new one, built from the migrations and verified, or leave it as it is.

    `announce` gets the plan before anything is changed. Raises PreflightError, ConsentError, MigrationError,
    CheckError or ServerError; these and Interrupted say in their state what is left.
    """
    began = time.monotonic()
    steps = Steps(report)
    with postgres.operator(target, timeout=options.timeout, report=report) as connection:
        with unchanged(target):
            with steps.timed("preflight") as outcome:
                found = settled(connection, lifecycle.recovered(connection, target, report))
                planned = judge(found, options)
                announce(planned)
                outcome.append(f"{len(planned.findings)} conditions met")
                assert_passed(planned.findings, target)
            consent.agree(found, options.agreement)
            expected = _rehearse(connection, planned, steps) if planned.rehearse else ""
        with lifecycle.unharmed(connection, found, report):
            with steps.timed("create") as outcome:
                waiting = found.successor if found.database is None else None
                successor = (
                    waiting.name if waiting else lifecycle.create_successor(connection, found, found.wanted, report)
                )
                outcome.append(f"closed to {lifecycle.kept_out(found.server)}")
            with steps.timed("drop") as outcome:
                dropped = lifecycle.drop(connection, found, timeout=options.timeout, successor=successor, report=report)
                count = len(dropped.ended)
                ended = f"{count} session{'' if count == 1 else 's'} ended"
                outcome.append(ended if dropped.existed else "there was none")
        with _partly_built(connection, target, options, report):
            lifecycle.name_successor(connection, found, successor, report)
            applied, checks, fingerprint, rows = build(target, planned, steps, connection)
            _assert_same(target, fingerprint, expected)
            with steps.timed("open") as outcome:
                lifecycle.open_database(connection, target, report)
                outcome.append("properties restored, clients may connect")
    return RebuildResult(
        database=target.database,
        server=target.server,
        environment=target.environment,
        migrations=applied,
        checks=checks,
        fingerprint=fingerprint,
        rehearsed=planned.rehearse,
        ended=dropped.ended,
        kept_out=lifecycle.kept_out(found.server),
        rows=rows,
        steps=tuple(steps.seconds),
        seconds=time.monotonic() - began,
    )


def repeat(
    target: Target, options: Options, times: int, *, report: Report = ignore, announce: Announce = not_announced
) -> tuple[RebuildResult, ...]:
    """Rebuild several times; CheckError as soon as a fingerprint differs from the first."""
    results: list[RebuildResult] = []
    for _ in range(times):
        results.append(rebuild(target, options, report=report, announce=announce))
        _assert_same(target, results[-1].fingerprint, results[0].fingerprint)
        announce = not_announced
    return tuple(results)


def plan(target: Target, options: Options, *, report: Report = ignore) -> Plan:
    """Return what a rebuild would do, and which conditions are not met.

    The target is only read. If all conditions are met, a scratch database with the target's properties is created
    and dropped. Raises ServerError if the server cannot be reached.
    """
    with postgres.reader(target, target.maintenance_database) as connection:
        found = settled(connection, inspect(connection, target))
        planned = judge(found, options)
        if planned.refusals:
            return planned
        try:
            with lifecycle.scratch(connection, found, found.wanted, report):
                trial = Finding("properties can be restored", True)
        except DbopsError as error:
            trial = Finding("properties can be restored", False, error.what, error.hint)
        return replace(planned, findings=(*planned.findings, trial))


def judge(found: Inspection, options: Options) -> Plan:
    """Return what an inspection, the migration files and the check files mean for a rebuild."""
    files: tuple[Migration, ...] = ()
    checks: tuple[CheckFile, ...] = ()
    findings = [*preflight(found, dropping=True, creating=True)]
    try:
        files = migrations.discover(options.migrations)
        migrations.assert_within(files)
        missing = f"there are none in {options.migrations}"
        findings.append(judged("migration files", bool(files), missing, "Write one with `invoke db.new`."))
    except DbopsError as error:
        findings.append(_unreadable("migration files", error))
    try:
        checks = verification.list_checks(options.checks, baseline=True)
        findings.append(Finding("check files", True))
    except DbopsError as error:
        findings.append(_unreadable("check files", error))
    expected = None
    try:
        expected = catalog.read_expected(options.schema) if options.schema else None
        findings.append(Finding("expected schema", True))
    except DbopsError as error:
        findings.append(_unreadable("expected schema", error))
    return Plan(
        began=datetime.now(UTC),
        inspection=found,
        findings=tuple(findings),
        consent=consent.required(found),
        migrations=files,
        checks=checks,
        expected=expected,
        rehearse=options.rehearse and found.impact.rows,
    )


def _unreadable(name: str, error: DbopsError) -> Finding:
    """Return the finding that files cannot be used."""
    reason = "; ".join((f"{error.what} ({error.location or error.where})", *error.notes))
    return Finding(name, False, reason, error.hint)


def settled(connection: Connection, found: Inspection) -> Inspection:
    """Return the inspection; while the role may not end all sessions, read them again for a moment."""
    deadline = time.monotonic() + JOBS_TIMEOUT
    while any(not session.endable for session in found.sessions) and time.monotonic() < deadline:
        time.sleep(0.2)
        with reading(connection):
            found = replace(found, sessions=sessions_in(connection, found.target.database))
    return found


# The build: the same for the rehearsal and for the new database.


@dataclass(slots=True)
class Steps:
    """Times the steps, and reports those that do not report themselves."""

    report: Report
    seconds: list[StepSeconds] = field(default_factory=list)

    @contextmanager
    def timed(self, name: str, *, quiet: bool = False) -> Iterator[list[str]]:
        """Time a step; what is put into the yielded list is reported as its outcome."""
        outcome: list[str] = []
        began = time.monotonic()
        if not quiet:
            self.report(StepStarted(name))
        yield outcome
        spent = time.monotonic() - began
        self.seconds.append(StepSeconds(name, spent))
        if not quiet:
            self.report(StepFinished(name, "; ".join(outcome), spent))


def build(target: Target, planned: Plan, steps: Steps, observer: Connection) -> tuple[int, int, str, int]:
    """Migrate and verify the target's database over one connection.

    Returns how many migrations and checks there were, the schema's fingerprint, and how many rows the database holds.
    `observer` is the operator's session, which watches for lock waits meanwhile. Raises MigrationError or CheckError
    if a migration or a check fails.
    """
    with postgres.translated(target), postgres.connect(target) as connection:
        fresh = migrations.Options(fresh=True)
        with steps.timed("migrate", quiet=True):
            migrated = migrations.apply(
                connection, target, planned.migrations, fresh, observer=observer, report=steps.report
            )
        with steps.timed("verify", quiet=True):
            verified = verification.run(connection, planned.checks, expected=planned.expected, report=steps.report)
        if failed := verified.failed:
            notes = (f"{check.name}: expected {check.expected}, is {check.actual}" for check in failed)
            raise CheckError(
                f"{len(failed)} of {len(verified.checks)} checks failed on what the migrations built",
                where=str(target),
                notes=first_of(tuple(notes)),
                hint="Fix the migration or the check, then run `invoke db.rebuild` again.",
            )
        with steps.timed("fingerprint", quiet=True):
            fingerprint = catalog.fingerprint(verified.schema)
            rows = count_rows(connection)
    return len(migrated.applied), len(verified.checks), fingerprint, rows


def _rehearse(connection: Connection, planned: Plan, steps: Steps) -> str:
    """Build in a scratch database with the target's properties, and return the fingerprint of the result."""
    found = planned.inspection

    def within(event: Event) -> None:
        """Report the steps of the rehearsal as its progress."""
        match event:
            case StepStarted():
                steps.report(Progress("rehearse", 0, event.step))
            case Progress():
                steps.report(Progress("rehearse", event.done, f"{event.step} {event.item}"))
            case StepFinished():
                steps.report(Message("DEBUG", f"{event.step}: {event.detail}", "rehearse"))
            case _:
                steps.report(event)

    with steps.timed("rehearse") as outcome:
        try:
            with lifecycle.scratch(connection, found, found.wanted, steps.report) as scratch:
                applied, passed, fingerprint, _ = build(scratch, planned, Steps(within), connection)
        except DbopsError as error:
            error.state = f"This was the rehearsal: {found.target.database} was not changed, and nothing was dropped."
            error.hint = "Fix the cause and run `invoke db.rebuild` again."
            raise
        outcome.append(f"the build works: {applied} migrations, {passed} checks")
    return fingerprint


def _assert_same(target: Target, fingerprint: str, expected: str) -> None:
    """Raise CheckError if a second build has another fingerprint than the first."""
    if expected in ("", fingerprint):
        return
    raise CheckError(
        f"the same migrations built another schema: fingerprint {fingerprint[:12]}, and {expected[:12]} before",
        where=str(target),
        hint="Look with `invoke db.drift` for what differs, then run `invoke db.rebuild` again.",
    )


@contextmanager
def unchanged(target: Target) -> Iterator[None]:
    """Say in the state of an interruption that the target was not changed."""
    try:
        yield
    except Interrupted as interruption:
        interruption.state = f"{target.database} was not changed."
        raise


@contextmanager
def _partly_built(connection: Connection, target: Target, options: Options, report: Report) -> Iterator[None]:
    """After a failure leave the closed, partly built database to look at; after an interruption leave a successor."""
    name = target.database
    try:
        with postgres.translated(target):
            yield
    except NameTakenError:
        raise
    except DbopsError as error:
        error.state = f"{name} is partly built and stays closed to other roles; its properties are kept."
        error.hint = "Fix the cause and run `invoke db.rebuild` again; `invoke db.create` opens it as it is."
        raise
    except BaseException as interruption:
        state = _undo_build(connection, target, options, report)
        if isinstance(interruption, Interrupted):
            interruption.state = state
        raise


def _undo_build(connection: Connection, target: Target, options: Options, report: Report) -> str:
    """Drop what was built so far, unless it is complete or holds rows; return the resulting state."""
    name = target.database
    try:
        found = inspect(connection, target)
        if found.database and found.database.marker is None:
            return f"{name} is rebuilt and open: nothing is left to do."
        if found.database:
            successor = lifecycle.create_successor(connection, found, found.wanted, report)
            lifecycle.drop(connection, found, timeout=options.timeout, successor=successor, report=report)
    except (DbopsError, psycopg.Error) as error:
        return f"{name} is partly built and closed ({error}): `invoke db.rebuild` continues."
    return f"{name} is dropped; its properties are kept: `invoke db.rebuild` continues."


# The steps alone.


def drop(
    target: Target,
    options: Options,
    *,
    forget: bool = False,
    report: Report = ignore,
    announce: Callable[[Inspection], None] = not_announced,
) -> DropResult:
    """Drop the target's database with consent; a successor keeps its properties for `create`, unless `forget`.

    `announce` gets the inspection, which says what would be lost. Raises as `rebuild` does.
    """
    with postgres.operator(target, timeout=options.timeout, report=report) as connection:
        with unchanged(target):
            found = settled(connection, lifecycle.recovered(connection, target, report))
            assert_passed(preflight(found, dropping=True, creating=False), target)
            if found.database and not forget and not found.server.may_create_databases:
                role = found.server.role
                raise PreflightError(
                    f"{role} may not create databases, so {target.database} would lose its properties with the drop",
                    where=str(target),
                    hint=f"Add --forget to lose them; or, as a superuser, run ALTER ROLE {quoted(role)} CREATEDB.",
                    state="Nothing was dropped.",
                )
            announce(found)
            consent.agree(found, options.agreement)
        with lifecycle.unharmed(connection, found, report):
            waiting = found.successor
            successor = waiting.name if waiting else ""
            if found.database and not forget:
                successor = lifecycle.create_successor(connection, found, found.wanted, report)
            elif waiting and forget:
                lifecycle.drop_scratch(connection, waiting.name, report)
                successor = ""
            return lifecycle.drop(connection, found, timeout=options.timeout, successor=successor, report=report)


def create(target: Target, options: Options, *, report: Report = ignore) -> CreateResult:
    """Create the target's database and open it, unless it is there.

    It gets the properties of the database that was dropped before, if that left a successor, else the server's
    defaults. A database that an interrupted run left closed is opened.
    """
    began = time.monotonic()
    with (
        postgres.operator(target, timeout=options.timeout, report=report) as connection,
        _created(connection, target),
    ):
        found = lifecycle.recovered(connection, target, report)
        if found.database and found.database.invalid:
            raise PreflightError(
                f"{target.database} is partly dropped: an interrupted DROP DATABASE left it, and it cannot be used",
                where=str(target),
                hint="Run `invoke db.drop` or `invoke db.rebuild`.",
            )
        closed = found.database is not None and found.database.marker is not None
        waiting = found.successor
        if found.database is None:
            assert_passed(preflight(found, dropping=False, creating=True), target)
            successor = waiting.name if waiting else lifecycle.create_successor(connection, found, found.wanted, report)
            lifecycle.name_successor(connection, found, successor, report)
        if found.database is None or closed:
            lifecycle.open_database(connection, target, report)
    return CreateResult(
        database=target.database,
        server=target.server,
        environment=target.environment,
        created=found.database is None,
        opened=closed,
        kept=closed or waiting is not None,
        seconds=time.monotonic() - began,
    )


@contextmanager
def _created(connection: Connection, target: Target) -> Iterator[None]:
    """Say in the state of an interruption whether the database exists."""
    name = target.database
    try:
        yield
    except Interrupted as interruption:
        try:
            found = find(connection, name)
        except psycopg.Error as error:
            interruption.state = f"It is not known whether {name} was created ({error}): run the same command again."
            raise interruption from None
        if found is None:
            interruption.state = (
                f"There is no {name}: `invoke db.create` creates it, with its properties if any are kept."
            )
        elif found.marker:
            interruption.state = f"{name} is there, and closed: `invoke db.create` opens it."
        else:
            interruption.state = f"{name} is there and open."
        raise
