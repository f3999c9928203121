"""The operation itself: look, ask, rehearse, drop, create behind a fence, build, verify, open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dbops import lifecycle, postgres
from dbops.errors import CheckError, ConsentError, DbopsError
from dbops.events import Report, ignore
from dbops.lifecycle import Stakes, consent, recovery, server, state
from dbops.lifecycle.rows import count_rows
from dbops.lock import OperatorLock, operator_lock
from dbops.preflight import Finding, preflight
from dbops.rebuild.build import Steps, build, within
from dbops.rebuild.model import Options, RebuildPlan, RebuildResult
from dbops.rebuild.single import clean_up
from dbops.settings import Target

Announce = Callable[[RebuildPlan], None]


def _silently(plan: RebuildPlan) -> None:
    """Announce nothing."""


def plan(target: Target, options: Options, *, report: Report = ignore) -> RebuildPlan:
    """Return what a rebuild would do and what speaks against it; the target is only read."""
    found = preflight(target, options.state, migrations=options.migrations, report=report)
    stakes = lifecycle.stakes(target)
    return RebuildPlan(
        began=datetime.now(UTC),
        database=target.database,
        server=target.server,
        environment=target.environment,
        preflight=found,
        stakes=stakes,
        belonging=_belonging(stakes),
        consent=consent.needed(stakes),
        migrations=_names(options.migrations),
        rehearse=options.rehearse and stakes.at_stake,
    )


def _belonging(stakes: Stakes) -> Finding:
    """Return whether the database belongs to the environment that was chosen."""
    try:
        consent.check_label(stakes)
    except ConsentError as error:
        return Finding("environment", False, error.what, error.hint)
    return Finding("environment", True)


def rebuild(
    target: Target, options: Options, *, report: Report = ignore, announce: Announce = _silently
) -> RebuildResult:
    """Replace the target's database by a new one, built from the migrations and verified, or leave it as it is.

    `announce` gets the plan before anything happens. Raises PreflightError, ConsentError, MigrationError, CheckError
    or ServerError; an interruption carries as its note in which state the database is.
    """
    began = time.monotonic()
    steps = Steps(report)
    with operator_lock(target, timeout=options.timeout, report=report) as lock:
        with _noted(f"{target.database} was not touched: `invoke db.rebuild` begins again."):
            planned = _prepare(target, options, steps, announce)
            consent.agree(planned.stakes, yes=options.yes, confirm=options.confirm, ask=options.ask, report=report)
            expected = _rehearse(lock, options, steps) if planned.rehearse else None
        with _noted(f"{target.database} may be half built: `invoke db.rebuild` continues."):
            result = _replace(lock, options, planned, steps, expected)
    return replace(result, steps=tuple(steps.seconds), seconds=time.monotonic() - began)


def repeat(
    target: Target, options: Options, times: int, *, report: Report = ignore, announce: Announce = _silently
) -> tuple[RebuildResult, ...]:
    """Rebuild several times; CheckError as soon as a fingerprint differs from the first."""
    results: list[RebuildResult] = []
    for _ in range(times):
        results.append(rebuild(target, options, report=report, announce=announce))
        _compare(target, results[-1].fingerprint, results[0].fingerprint)
        announce = _silently
    return tuple(results)


@contextmanager
def _noted(text: str) -> Iterator[None]:
    """Let an interruption that says nothing yet say in which state the database is."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if not getattr(interrupt, "__notes__", None):
            interrupt.add_note(text)
        raise


def _names(directory: Path) -> tuple[str, ...]:
    from dbops.migrations import discover

    try:
        return tuple(migration.name for migration in discover(directory))
    except DbopsError:
        return ()


def _prepare(target: Target, options: Options, steps: Steps, announce: Announce) -> RebuildPlan:
    """Clean up after dead operators, then look at everything; PreflightError if something speaks against it."""
    with steps.timed("preflight") as outcome:
        clean_up(target, options, steps.report)
        planned = plan(target, options, report=steps.report)
        announce(planned)
        planned.preflight.assert_passed(target)
        outcome.append(f"{len(planned.preflight.findings)} findings, none against it")
    return planned


def _rehearse(lock: OperatorLock, options: Options, steps: Steps) -> str:
    """Build once in a scratch database and return the fingerprint; any failure says that the target is untouched."""
    target = lock.target
    with postgres.maintenance(target) as connection:
        like = recovery.wanted_properties(connection, target, options.state)
    try:
        with (
            steps.timed("rehearse") as outcome,
            lifecycle.scratch(target, properties=like, report=steps.report) as scratch,
        ):
            inside = Steps(within("rehearse", steps.report))
            built = build(scratch, options.migrations, options.verify, inside)
            outcome.append(f"the build works: {built.migrations} migrations, {built.checks} checks")
            return built.fingerprint
    except DbopsError as error:
        error.notes = (*error.notes, f"this was the rehearsal: {target.database} has not been touched")
        error.hint = "Nothing was dropped. Fix the cause and run `invoke db.rebuild` again."
        raise


def _replace(
    lock: OperatorLock, options: Options, planned: RebuildPlan, steps: Steps, expected: str | None
) -> RebuildResult:
    """Drop, create behind a fence, build, verify, open."""
    target, report = lock.target, steps.report
    with steps.timed("drop") as outcome:
        careful = not planned.stakes.at_stake
        dropped = lifecycle.drop(lock, options.state, timeout=options.timeout, only_if_empty=careful, report=report)
        outcome.append(f"{len(dropped.ended)} sessions ended" if dropped.existed else "there was none")
    with _half_built(lock, options, report):
        with steps.timed("create") as outcome:
            created = lifecycle.create(lock, options.state, fenced=True, report=report)
            outcome.append(f"fenced against {created.kept_out}")
        built = build(target, options.migrations, options.verify, steps)
        _compare(target, built.fingerprint, expected)
        with steps.timed("open") as outcome:
            with postgres.translated(target), postgres.connect(target) as connection:
                rows = count_rows(connection)
            lifecycle.open_up(lock, options.state, report=report)
            outcome.append("properties restored, others may enter")
    return RebuildResult(
        database=target.database,
        server=target.server,
        environment=target.environment,
        migrations=built.migrations,
        checks=built.checks,
        fingerprint=built.fingerprint,
        rehearsed=expected is not None,
        ended=dropped.ended,
        kept_out=created.kept_out,
        rows=rows,
        steps=(),
        seconds=0.0,
    )


def _compare(target: Target, found: str, expected: str | None) -> None:
    """Raise CheckError if a second build came out unlike the first."""
    if expected in (None, found):
        return
    raise CheckError(
        f"the same migrations built another schema: fingerprint {found[:12]}, and {expected[:12]} before",
        where=str(target),
        hint="Look with `invoke db.drift` for what differs, then run `invoke db.rebuild` again.",
    )


@contextmanager
def _half_built(lock: OperatorLock, options: Options, report: Report) -> Iterator[None]:
    """Say what a failure leaves behind: the fenced ruin to look at. After an interruption leave none at all.

    What interrupts may also be an output that nobody takes any more.
    """
    target = lock.target
    try:
        yield
    except DbopsError as error:
        error.notes = (*error.notes, f"{target.database} is half built and stays fenced; its properties are kept")
        error.hint = "Fix the cause and run `invoke db.rebuild` again; `invoke db.create` opens it as it is."
        raise
    except BaseException as interruption:
        interruption.__notes__ = [_clear_away(lock, options, report)]
        raise


def _clear_away(lock: OperatorLock, options: Options, report: Report) -> str:
    """Drop what was built so far, unless it is complete or holds rows, and return the state in a sentence."""
    name = lock.target.database
    try:
        with postgres.maintenance(lock.target) as connection:
            identifier = server.read(connection).system_identifier
        if state.load(options.state, identifier, name) is None:
            return f"{name} is rebuilt and open: nothing is left to do."
        lifecycle.drop(lock, options.state, timeout=options.timeout, only_if_empty=True, report=report)
    except DbopsError as error:
        return f"{name} is half built and fenced ({error.what}): `invoke db.rebuild` continues."
    return f"{name} is dropped, its properties are kept: `invoke db.rebuild` continues."
