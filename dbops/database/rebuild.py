"""Rebuild a database: build a new one beside it, verify it, swap it in. Drop, create and undo, the steps alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from dbops import catalog, label, postgres, verification
from dbops.database import consent, properties
from dbops.database.consent import NOT_AGREED, Agreement, LostObject, Replacement, Required
from dbops.database.inspection import Impact, Inspection, count_rows, impact, inspect, look_inside
from dbops.database.operator import JOBS_TIMEOUT, Operator, Outcome, operating
from dbops.database.preflight import Condition, assert_passed, preflight, right_to_create
from dbops.database.properties import Database, Kind, Properties, find_database
from dbops.errors import CheckError, DbopsError, NotLetInError, PreflightError
from dbops.events import Event, Header, Message, Report, StepFinished, ignore, step
from dbops.migrations.files import Migration, discover, first_of
from dbops.migrations.options import MigrationOptions
from dbops.migrations.reach import assert_within
from dbops.migrations.run import apply
from dbops.postgres import TIMEOUT, Connection, quoted, sessions_that_stay
from dbops.settings import CHECKS, MIGRATIONS, SCHEMA, SYSTEM_DATABASES, Target, is_scratch_name
from dbops.verification import CheckFile, Verification


@dataclass(frozen=True, slots=True)
class RebuildOptions:
    """How to rebuild: where the SQL is, how many seconds to wait for others, what the operator agreed to.

    `schema` is the file with the expected schema; None leaves the comparison out. With `check` the new database is
    dropped instead of swapped in; with `keep` the old one is kept instead of dropped.
    """

    migrations: Path = MIGRATIONS
    checks: Path = CHECKS
    schema: Path | None = SCHEMA
    timeout: float = TIMEOUT
    check: bool = False
    keep: bool = False
    agreement: Agreement = NOT_AGREED


@dataclass(frozen=True, slots=True)
class RebuildPlan:
    """What a rebuild is about to do, judged before anything is done; `began` is in UTC."""

    began: datetime
    inspection: Inspection
    conditions: tuple[Condition, ...]
    consent: Required
    migrations: tuple[Migration, ...]
    checks: tuple[CheckFile, ...]
    expected: catalog.ExpectedSchema | None
    keep: bool
    check: bool = False

    @property
    def refusals(self) -> tuple[Condition, ...]:
        """Return the conditions that are not met."""
        return tuple(condition for condition in self.conditions if not condition.passed)


@dataclass(frozen=True, slots=True)
class StepSeconds:
    """How long one step took."""

    step: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapOutcome(Outcome):
    """What a swap adds: for how many seconds the name was not available, None where there was no database.

    `lost` is what the old database had and the new one has not. `kept` is the name of the old database that was kept,
    `left` of one that could not be dropped.
    """

    lost: tuple[LostObject, ...]
    unavailable: float | None = None
    kept: str = ""
    left: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildResult(SwapOutcome):
    """What was built, verified and, unless `checked` only, swapped in.

    `rows` counts what the new database holds: no ingestion has run.
    """

    migrations: int
    checks: int
    fingerprint: str
    checked: bool
    consent: Required
    rows: int
    steps: tuple[StepSeconds, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoResult(SwapOutcome):
    """What an undo did: `replaced` is the name that the database had which was put in place."""

    replaced: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropResult(Outcome):
    """What a drop did: whether there was a database.

    `successor` is the closed, empty database that keeps the properties, or empty.
    """

    existed: bool
    successor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateResult(Outcome):
    """What a create did: `created` is False where the database was there, `opened` True where it was closed.

    `kept` is whether it has the properties of the database that was dropped before.
    """

    created: bool
    opened: bool
    kept: bool


def rebuild(target: Target, options: RebuildOptions, *, report: Report = ignore) -> RebuildResult:
    """Replace the target's database by a new one, built from the migrations and verified, or leave it as it is.

    The plan is reported before anything is changed. Raises PreflightError, ConsentError, MigrationError, CheckError or
    ServerError; these and Interrupted say in their state what is left.
    """
    steps: list[StepSeconds] = []

    def noted(event: Event) -> None:
        """Report an event, and note of a step that ended how long it took."""
        if isinstance(event, StepFinished):
            steps.append(StepSeconds(event.step, event.seconds))
        report(event)

    with operating(target, timeout=options.timeout, report=noted) as operator:
        with step(noted, "preflight") as outcome:
            found = operator.clean_up_and_inspect()
            planned = judge(found, options)
            report(Header(planned))
            outcome.append(f"{len(planned.conditions)} conditions met")
            assert_passed(planned.conditions, target)
        if not options.check:
            consent.assert_possible(found, options.agreement)

        with step(noted, "create") as outcome:
            new = operator.create(found)
            new, inside = operator.enter(new)
            outcome.append(f"{new.name}, beside {target.database}")
        with inside:
            migrations, verified, rows, lost = _build(operator, new, inside, planned)
            fingerprint = catalog.fingerprint(verified.schema)
            needed = consent.required(found, lost)
            if not options.check:
                consent.agree(found, options.agreement, lost)
                operator.become(inside, new.properties.owner)
                label.add_rebuild(inside, found.impact.label, fingerprint)

        kept = left = ""
        if options.check:
            with step(noted, "drop") as outcome:
                operator.drop(new.name)
                outcome.append("the new database is gone again")
        else:
            now = operator.require(new.name)
            wanted = properties.with_changes(new.catalog, now, new.properties)
            kept, left = _put_in_place(operator, found, now, wanted, keep=options.keep)
            if found.successor and not found.exists:
                operator.drop_scratch(found.successor.name)
            if "extension timescaledb\n" in verified.schema:
                operator.assert_scheduler()
    return RebuildResult(
        **operator.outcome(),
        lost=lost,
        unavailable=operator.unavailable,
        kept=kept,
        left=left,
        migrations=migrations,
        checks=len(verified.checks),
        fingerprint=fingerprint,
        checked=options.check,
        consent=needed,
        rows=rows,
        steps=tuple(steps),
    )


def repeat(
    target: Target, options: RebuildOptions, times: int, *, report: Report = ignore
) -> tuple[RebuildResult, ...]:
    """Rebuild several times; CheckError as soon as a fingerprint differs from the first."""
    results: list[RebuildResult] = []
    for _ in range(times):
        results.append(rebuild(target, options, report=report))
        if results[-1].fingerprint != results[0].fingerprint:
            first, last = results[0].fingerprint, results[-1].fingerprint
            raise CheckError(
                f"the same migrations built another schema: fingerprint {last[:12]}, and {first[:12]} before",
                where=str(target),
                hint="Look with `invoke db.drift --build` for what differs.",
                state="" if options.check else f"{target.database} is the database that was built last.",
            )
    return tuple(results)


def plan(target: Target, options: RebuildOptions) -> RebuildPlan:
    """Return what a rebuild would do, and which conditions are not met; everything is only read.

    Raises ServerError if the server cannot be reached.
    """
    with postgres.reader(target, target.maintenance_database) as connection:
        found = inspect(connection, target)
        if role := found.role_to_become:
            found = inspect(connection, target, role)
    if found.exists:
        found = replace(found, impact=look_inside(target, role))
    return judge(found, options)


def judge(found: Inspection, options: RebuildOptions) -> RebuildPlan:
    """Return what an inspection, the migration files and the check files mean for a rebuild."""
    files: tuple[Migration, ...] = ()
    checks: tuple[CheckFile, ...] = ()
    conditions = [*preflight(found, dropping=True, creating=True, keeping=options.keep)]
    expected = None

    @contextmanager
    def usable(name: str) -> Iterator[None]:
        """Add the condition that files can be used."""
        try:
            yield
        except DbopsError as error:
            reason = "; ".join((f"{error.what} ({error.location or error.where})", *error.notes))
            conditions.append(Condition(name, False, reason, error.hint))
        else:
            conditions.append(Condition(name, True))

    with usable("migration files"):
        files = discover(options.migrations)
        assert_within(files)
    if not files and conditions[-1].passed:
        missing = f"there are none in {options.migrations}"
        conditions[-1] = Condition("migration files", False, missing, "Write one with `invoke db.new`.")
    with usable("check files"):
        checks = verification.list_checks(options.checks, baseline=True)
    with usable("expected schema"):
        expected = catalog.read_expected(options.schema) if options.schema else None
    return RebuildPlan(
        began=datetime.now(UTC),
        inspection=found,
        conditions=tuple(conditions),
        consent=consent.required(found),
        migrations=files,
        checks=checks,
        expected=expected,
        keep=options.keep,
        check=options.check,
    )


# The parts of a rebuild.


def _build(
    operator: Operator, new: Database, inside: Connection, planned: RebuildPlan
) -> tuple[int, Verification, int, tuple[LostObject, ...]]:
    """Migrate and verify a new database over the one session in it, while the server reads the schema of the target.

    Return how many migrations were applied, the checks, how many rows there are, and what the target has and the new
    database has not. Raises MigrationError if a migration fails, CheckError if a check does.
    """
    found, report = planned.inspection, operator.report
    target = replace(operator.target, database=new.name)
    how = MigrationOptions(fresh=True, owner=new.properties.owner, custody=operator.custody(new))
    with postgres.translated(target):
        migrated = apply(inside, target, planned.migrations, how, observer=operator.connection, report=report)
        with operator.owned(new, inside):
            replaced = _schema_asked(operator, found)
            verified = verification.run(inside, planned.checks, expected=planned.expected, report=report)
            rows = count_rows(inside)
    if verified.failed:
        raise CheckError(
            f"{len(verified.failed)} of {len(verified.checks)} checks failed on what the migrations built",
            where=str(operator.target),
            notes=verified.notes,
            hint="Fix the migration or the check, or, if the schema is as it should be, write what is expected with "
            "`invoke db.fingerprint --write`; then run `invoke db.rebuild` again.",
        )
    return len(migrated.applied), verified, rows, _lost(operator, found, replaced, verified.schema)


def _schema_asked(operator: Operator, found: Inspection) -> Callable[[], str] | None:
    """Have the server read the schema of the target's database, and return what waits for it; None if there is none."""
    timescaledb = bool(found.impact.timescaledb)
    return catalog.schema_asked(operator.inside, timescaledb=timescaledb) if operator.inside else None


def _lost(
    operator: Operator,
    found: Inspection,
    replaced: Callable[[], str] | None,
    schema: str,
    why: str = "the migrations do not build again",
) -> tuple[LostObject, ...]:
    """Return what the target has and another schema has not, and report it; `replaced` waits for the target's."""
    if replaced is None:
        return ()
    try:
        lost = consent.lost_objects(replaced(), schema)
    except (DbopsError, psycopg.Error) as error:
        lost = (LostObject("what else there may be", (f"its schema could not be read: {error}",)),)
    if not found.impact.foreign:
        for note in first_of(tuple(f"{why}: {item}" for item in lost)):
            operator.report(Message("WARNING", note))
    return lost


def _put_in_place(
    operator: Operator, found: Inspection, new: Database, wanted: Properties, *, keep: bool
) -> tuple[str, str]:
    """Close the target, give its name to another database, and drop the old one unless it is kept.

    Return the old one's name if it is kept, and if it could not be dropped: then the next run drops it.
    """
    with step(operator.report, "swap") as outcome:
        if found.exists:
            operator.close(found)
        old = operator.swap(found, new, wanted, keep=keep)
        operator.start_scheduler()
        outcome.append(f"{operator.name} is open")
    if not old or keep:
        return old, ""
    with step(operator.report, "drop") as outcome:
        trouble = operator.drop_scratch(old)
        outcome.append("the next rebuild, drop or create tries again" if trouble else "the old database is gone")
    if trouble:
        operator.report(Message("WARNING", f"the old database is left as {old}: {trouble}"))
    return "", old if trouble else ""


# The steps alone.


def drop(target: Target, options: RebuildOptions, *, forget: bool = False, report: Report = ignore) -> DropResult:
    """Drop the target's database with consent; a successor keeps its properties for `create`, unless `forget`.

    What would be lost is reported first. Raises as `rebuild` does.
    """
    with operating(target, timeout=options.timeout, report=report) as operator:
        found = operator.clean_up_and_inspect()
        assert_passed(preflight(found, dropping=True, creating=False), target)
        right = right_to_create(found)
        if found.database and not forget and not right.passed:
            raise PreflightError(
                f"{right.reason}, so {target.database} would lose its properties with the drop",
                where=str(target),
                hint=f"Add --forget to lose them. Else: {right.remedy}",
                state="Nothing was dropped.",
            )
        report(Header(Replacement("Drop", found)))
        consent.agree(found, options.agreement)
        waiting = found.successor
        successor = waiting.name if waiting and not forget else ""
        # A drop that was interrupted has left one.
        if found.database and not forget and (found.exists or not waiting):
            successor = operator.create(found, Kind.SUCCESSOR).name
        elif waiting and forget:
            operator.drop(waiting.name)
        if found.exists:
            operator.close(found)
        if found.database:
            operator.drop(target.database)
    return DropResult(**operator.outcome(), existed=found.database is not None, successor=successor)


def drop_kept(target: Target, options: RebuildOptions, *, report: Report = ignore) -> DropResult:
    """Drop the database that is kept for the target, with consent for what it holds. Raises as `drop` does."""
    with operating(target, timeout=options.timeout, report=report) as operator:
        found = operator.clean_up_and_inspect()
        kept = _kept(found)
        with operator.look_into(kept) as inside:
            found = replace(found, database=kept, impact=impact(inside), sessions=())
        report(Header(Replacement("Drop what is kept of", found)))
        consent.agree(found, options.agreement)
        operator.drop(kept.name)
    return DropResult(**(operator.outcome() | {"database": kept.name}), existed=True)


def _kept(found: Inspection) -> Database:
    """Return the database that is kept for the target; PreflightError if there is none."""
    if found.kept is None:
        raise PreflightError(
            f"no database is kept for {found.target.database}",
            where=str(found.target),
            hint="`invoke db.rebuild --keep` keeps the old database; `invoke db.status` names it.",
        )
    return found.kept


def _restored(operator: Operator, found: Inspection, name: str) -> Database:
    """Return the database beside the target that is to take its place; PreflightError if it cannot."""
    database = find_database(operator.connection, name)
    trusted = database is not None and (
        found.server.trusts(database.catalog.owner) or database.catalog.owner == found.wanted.owner
    )
    if database is None:
        why, hint = "does not exist", "Restore the backup into a database of that name: see docs/backup.md."
    elif name == found.target.database:
        why, hint = "is that database itself", "Name the database that is to take its place."
    elif name in SYSTEM_DATABASES or database.template:
        why, hint = "is a system database, or a template", "Name another database."
    elif database.marker or is_scratch_name(name) or database.invalid or not database.accepts_connections:
        why, hint = "is closed, or belongs to this tool", "`invoke db.status` names what a rebuild has kept."
    elif not (trusted and found.server.may_act_for(database.catalog.owner)):
        why, hint = f"belongs to {database.catalog.owner}", f"ALTER DATABASE {quoted(name)} OWNER TO the right role."
    elif left := sessions_that_stay(operator.connection, name, JOBS_TIMEOUT):
        why, hint = "is in use by " + "; ".join(str(session) for session in left), "End these sessions first."
    else:
        return database
    raise PreflightError(
        f"{name} cannot take the place of {found.target.database}: it {why}",
        where=str(found.target),
        hint=hint,
        state="Nothing was changed.",
    )


def create(target: Target, options: RebuildOptions, *, report: Report = ignore) -> CreateResult:
    """Create the target's database and open it, unless it is there.

    It gets the properties of the database that was dropped before, if that left a successor, else the server's
    defaults. A database that an interrupted run left closed is opened.
    """
    with operating(target, timeout=options.timeout, report=report) as operator:
        found = operator.clean_up_and_inspect()
        if found.database and found.database.invalid:
            raise PreflightError(
                f"{target.database} is partly dropped: an interrupted DROP DATABASE left it, and it cannot be used",
                where=str(target),
                hint="Run `invoke db.drop` or `invoke db.rebuild`.",
            )
        waiting = found.successor
        if found.database is None:
            assert_passed(preflight(found, dropping=False, creating=True), target)
            if waiting:
                holds = Impact()
                # A server that lets no session into it (see pg_hba.conf) has let none in before.
                with suppress(NotLetInError):
                    _, inside = operator.enter(waiting)
                    with inside:
                        holds = impact(inside)
                if holds.objects or holds.rows:
                    raise PreflightError(
                        f"{waiting.name}, which keeps the properties of {target.database}, is not empty: it holds "
                        f"{holds.objects or holds.evidence}",
                        where=str(target),
                        hint=f"Look at what is in it, then run DROP DATABASE {quoted(waiting.name)}, and the command"
                        " again.",
                    )
            new = operator.require(waiting.name) if waiting else operator.create(found)
            operator.swap(found, new, new.properties)
    kept = operator.opened or waiting is not None
    return CreateResult(**operator.outcome(), created=found.database is None, opened=operator.opened, kept=kept)


def undo(target: Target, options: RebuildOptions, *, restored: str = "", report: Report = ignore) -> UndoResult:
    """Put the database that a rebuild kept back in its place, with consent for what the present one holds.

    With `restored` it is the database of this name instead, such as a backup that was restored beside; it gets the
    present one's properties. With `options.keep` the present one is kept in its turn. Raises as `rebuild` does.
    """
    with operating(target, timeout=options.timeout, report=report) as operator:
        found = operator.clean_up_and_inspect()
        chosen = _restored(operator, found, restored) if restored else _kept(found)
        keeping = bool(restored) and options.keep
        assert_passed(preflight(found, dropping=True, creating=False, keeping=keeping), target)
        report(Header(Replacement("Replace" if restored else "Undo the rebuild of", found, options.keep)))
        consent.assert_possible(found, options.agreement)
        beside = replace(target, database=restored)
        with postgres.connect(beside) if restored else operator.look_into(chosen) as inside:
            replaced = _schema_asked(operator, found)
            schema = catalog.schema_text(inside)
            lost = _lost(operator, found, replaced, schema, "the database that takes its place does not have")
            holds = impact(inside)
        if restored:
            if not holds.has_ledger:
                raise PreflightError(
                    f"{restored} has no ledger, so it is not a copy of a database of this tool",
                    where=str(beside),
                    hint="Look at it with `invoke db.status`; restore the whole dump, as docs/backup.md says.",
                    state="Nothing was changed.",
                )
            consent.assert_environment(holds.label, beside, restored=True)
        consent.agree(found, options.agreement, lost)
        wanted = chosen.properties
        if restored and (found.exists or found.successor):
            # It gets the target's, but for what only CREATE DATABASE gives.
            wanted = replace(found.wanted, **chosen.catalog.made())
            operator.prepare(chosen, wanted)
        kept, left = _put_in_place(operator, found, chosen, wanted, keep=options.keep)
        if holds.timescaledb:
            operator.assert_scheduler()
    return UndoResult(
        **operator.outcome(),
        lost=lost,
        unavailable=operator.unavailable,
        kept=kept,
        left=left,
        replaced=chosen.name,
    )
