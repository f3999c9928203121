"""The steps of a rebuild alone: drop, create a day later, migrate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dbops import lifecycle, migrations, postgres
from dbops.errors import DbopsError, PreflightError
from dbops.events import Message, Report, ignore
from dbops.lifecycle import CreateResult, DropResult, Stakes, consent, label, recovery, server
from dbops.lifecycle.properties import find
from dbops.lock import DEFAULT_TIMEOUT, operator_lock
from dbops.migrations import Migration, MigrationResult
from dbops.postgres import Connection
from dbops.preflight import preflight
from dbops.rebuild.model import Options
from dbops.settings import Target


def _silently(stakes: Stakes) -> None:
    """Announce nothing."""


def drop(
    target: Target, options: Options, *, report: Report = ignore, announce: Callable[[Stakes], None] = _silently
) -> DropResult:
    """Drop the target's database with consent, or raise and leave it as it is; `announce` gets what is at stake."""
    with operator_lock(target, timeout=options.timeout, report=report) as lock, _noted(target):
        clean_up(target, options, report)
        preflight(target, options.state, creating=False, report=report).assert_passed(target)
        _warn_of_no_return(target, report)
        stakes = lifecycle.stakes(target)
        announce(stakes)
        consent.agree(stakes, yes=options.yes, confirm=options.confirm, ask=options.ask, report=report)
        careful = not stakes.at_stake
        return lifecycle.drop(lock, options.state, timeout=options.timeout, only_if_empty=careful, report=report)


def create(target: Target, options: Options, *, report: Report = ignore) -> CreateResult:
    """Create the target's database with the properties that a drop has saved, unless it is there."""
    with operator_lock(target, timeout=options.timeout, report=report) as lock, _noted(target):
        clean_up(target, options, report)
        with postgres.maintenance(target) as connection:
            missing = find(connection, target.database) is None
        if missing:
            preflight(target, options.state, dropping=False, report=report).assert_passed(target)
        return lifecycle.create(lock, options.state, report=report)


@contextmanager
def _noted(target: Target) -> Iterator[None]:
    """Let an interruption that says nothing yet say in which state the database is."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if not getattr(interrupt, "__notes__", None):
            interrupt.add_note(_state(target))
        raise


def _state(target: Target) -> str:
    """Return in a sentence what there is of a database, and what comes next."""
    name = target.database
    try:
        with postgres.maintenance(target) as connection:
            found = find(connection, name)
    except DbopsError as error:
        return f"It is not known what became of {name} ({error.what}): run the same command again."
    if found is None:
        return f"There is no {name} now: `invoke db.create` makes it, with its properties if it had any."
    if found.fenced:
        return f"{name} is there, fenced: `invoke db.create` opens it."
    return f"{name} is there and open."


def clean_up(target: Target, options: Options, report: Report) -> None:
    """Put in order what operators left that died."""
    for name in lifecycle.sweep(target, report):
        report(Message("INFO", f"dropped {name}, left by an operator that died"))
    with postgres.maintenance(target) as connection:
        recovery.reconcile(connection, target, options.state, report)


def warn_of_fence(target: Target, report: Report) -> None:
    """Say if the target's database is fenced: somebody builds it, or died doing so."""
    with postgres.translated(target), postgres.connect(target) as connection:
        fenced = _fence(connection, target)
    if fenced is not None:
        report(Message("WARNING", f"{fenced.what}. {fenced.hint}"))


def _refuse_fenced(target: Target) -> None:
    """Raise PreflightError if the database is one that a dead operator left half built."""
    with postgres.maintenance(target) as connection:
        fenced = _fence(connection, target)
    if fenced is not None:
        raise fenced


def _fence(connection: Connection, target: Target) -> PreflightError | None:
    found = find(connection, target.database)
    if found is None or not found.fenced:
        return None
    return PreflightError(
        f"{target.database} is fenced: a run that builds it is at work, or was interrupted",
        where=str(target),
        hint="If nobody is at work on it, `invoke db.create` opens it as it is, and `invoke db.rebuild` begins anew.",
    )


def _warn_of_no_return(target: Target, report: Report) -> None:
    """Say if the role that drops the database could not create it again."""
    with postgres.maintenance(target) as connection:
        here = server.read(connection)
    if not (here.superuser or here.createdb):
        report(Message("WARNING", f"{here.role} may not create databases: somebody else must create it again"))


def migrate(
    target: Target,
    files: tuple[Migration, ...],
    *,
    to: int | None = None,
    lock_timeout: str = "",
    statement_timeout: str = "",
    lock_budget: str = "",
    commit: str = "all",
    check: bool = False,
    with_times: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
    report: Report = ignore,
) -> MigrationResult:
    """Apply pending migrations as the only operator, on a database of the environment that was chosen.

    The options are those of `migrations.migrate`; `timeout` is how many seconds to wait for another operator.
    """
    with operator_lock(target, timeout=timeout, report=report):
        _refuse_fenced(target)
        label.assert_matches(target)
        return migrations.migrate(
            target,
            files,
            to=to,
            lock_timeout=lock_timeout,
            statement_timeout=statement_timeout,
            lock_budget=lock_budget,
            commit=commit,
            check=check,
            with_times=with_times,
            patience=timeout,
            report=report,
        )
