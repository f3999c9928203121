"""Plan and apply pending migrations: all or nothing, each with its row in the ledger, one run at a time."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import psycopg
from psycopg.pq.abc import PGresult

from dbops import postgres
from dbops.errors import CheckError, DbopsError, Interrupted, MigrationError, PreflightError, UsageError
from dbops.events import Message, Report, StepFinished, StepStarted, ignore
from dbops.migrations import errors, ledger, locks, non_transactional
from dbops.migrations.errors import StatementError
from dbops.migrations.files import Migration, refuse_empty, seconds
from dbops.migrations.ledger import LedgerStatus, State
from dbops.migrations.session import MIGRATION_LOCK, Command, Limits, checked_limits, opened, texts
from dbops.migrations.sqlsplit import LineCounter, split
from dbops.migrations.work import AppliedMigration, Attempts, Work
from dbops.postgres import Connection
from dbops.settings import Target

PATIENCE_SECONDS = 60.0
COMMITS = ("all", "file")
# Few enough that even a server with default settings has locks for what such a transaction creates.
BATCH_FILES = 100
BATCH_STATEMENTS = 400

_SETTLE_SECONDS = 5.0
_DEFERS = re.compile("deferrable", re.IGNORECASE)
# The extended protocol, which pipelines need, takes $1 for a parameter of its own.
_PARAMETER = re.compile(r"\$\d")
# Constraints that can be deferred, and whether they begin so.
_DEFERRABLE = """
SELECT pg_catalog.format('%I.%I', n.nspname, c.conname), pg_catalog.bool_or(c.condeferred)
FROM pg_catalog.pg_constraint AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.connamespace
WHERE c.condeferrable AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND NOT pg_catalog.pg_is_other_temp_schema(n.oid)
GROUP BY 1 ORDER BY 1
"""
# The milliseconds since the file before was recorded, or since the transaction began.
_SINCE_PREVIOUS = """pg_catalog.round(1000::pg_catalog.numeric OPERATOR(pg_catalog.*) extract(
    epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) greatest(pg_catalog.now(), (
        SELECT p.applied_at FROM dbops.schema_migrations AS p WHERE p.version OPERATOR(pg_catalog.=) {previous}
    ))))"""


@dataclass(frozen=True, slots=True)
class PlannedMigration:
    """A file that would run; `transaction` counts from 1 and is None for a file that runs outside one."""

    version: int
    name: str
    path: str
    size: int
    statements: int
    locks: str
    lock_timeout: str
    statement_timeout: str
    transaction: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What `db.migrate` would do now; `applied` counts what the ledger has already, `later` what lies beyond `--to`.

    `warnings` are sentences on locks that would be held for longer than they need to be.
    """

    database: str
    server: str
    applied: int
    pending: tuple[PlannedMigration, ...]
    later: int
    transactions: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What a run did: `before` counts what was applied already, `pending` what is left; `rolled_back` for a check."""

    database: str
    applied: tuple[AppliedMigration, ...]
    before: int
    pending: int
    transactions: int
    retries: int
    rolled_back: bool
    seconds: float


def plan(
    target: Target,
    migrations: tuple[Migration, ...],
    *,
    to: int | None = None,
    lock_timeout: str = "",
    statement_timeout: str = "",
    lock_budget: str = "",
    commit: str = "all",
) -> Plan:
    """Return what `migrate` with the same options would do; it raises what that would raise before it begins."""
    limits = checked_limits(lock_timeout, statement_timeout, lock_budget)
    _check_commit(commit)
    with postgres.translated(target), postgres.connect(target) as connection:
        found = ledger.read_status(connection, target, migrations)
        tables = locks.tables(connection)
    found.assert_migratable()
    chosen = _up_to(found.pending, migrations, to)
    refuse_empty(chosen)
    planned: list[PlannedMigration] = []
    warnings: list[str] = []
    transactions = 0
    for batch in batches(chosen, commit=commit):
        transactions += batch[0].header.transactional
        number = transactions if batch[0].header.transactional else None
        planned += [_planned(migration, limits, number) for migration in batch]
        warnings += locks.warnings(batch, tables)
    applied = len(found.having(State.APPLIED))
    later = len(found.pending) - len(chosen)
    return Plan(target.database, target.server, applied, tuple(planned), later, transactions, tuple(warnings))


def _check_commit(commit: str) -> None:
    if commit not in COMMITS:
        raise UsageError(f'invalid value "{commit}"', where="--commit", hint=f"Write {' or '.join(COMMITS)}.")


def _planned(migration: Migration, limits: Limits, transaction: int | None) -> PlannedMigration:
    return PlannedMigration(
        version=migration.version,
        name=migration.name,
        path=migration.label,
        size=migration.size,
        statements=migration.statements,
        locks=migration.header.locks,
        lock_timeout=limits.lock_for(migration),
        statement_timeout=limits.statement_for(migration),
        transaction=transaction,
    )


def migrate(
    target: Target,
    migrations: tuple[Migration, ...],
    *,
    to: int | None = None,
    lock_timeout: str = "",
    statement_timeout: str = "",
    lock_budget: str = "",
    commit: str = "all",
    fresh: bool = False,
    check: bool = False,
    with_times: bool = False,
    patience: float = PATIENCE_SECONDS,
    observer: Connection | None = None,
    report: Report = ignore,
) -> MigrationResult:
    """Apply what is pending over a connection of its own, as `apply` does."""
    with postgres.translated(target), postgres.connect(target) as connection:
        return apply(
            connection,
            target,
            migrations,
            observer=observer,
            to=to,
            lock_timeout=lock_timeout,
            statement_timeout=statement_timeout,
            lock_budget=lock_budget,
            commit=commit,
            fresh=fresh,
            check=check,
            with_times=with_times,
            patience=patience,
            report=report,
        )


def apply(
    connection: Connection,
    target: Target,
    migrations: tuple[Migration, ...],
    *,
    observer: Connection | None = None,
    to: int | None = None,
    lock_timeout: str = "",
    statement_timeout: str = "",
    lock_budget: str = "",
    commit: str = "all",
    fresh: bool = False,
    check: bool = False,
    with_times: bool = False,
    patience: float = PATIENCE_SECONDS,
    before_commit: Callable[[Connection], None] | None = None,
    report: Report = ignore,
) -> MigrationResult:
    """Apply what is pending over an autocommit connection to the target's database; return once it is committed.

    `observer` is a connection to the same server, to any database, that watches for lock waits and that has no other
    use meanwhile; without one, a connection is made when a statement takes long. `to` is the last version to apply;
    timeouts and the lock budget are durations such as `5s`, and override the files' headers; `commit` is "all" for one
    transaction or "file" for one each; `fresh` allows commits in between, on a database that this run has created;
    `check` rolls everything back; `with_times` asks the server for each statement's time; `patience` is how many
    seconds to wait for another migration of the same database; `before_commit` is called before the last commit, and an
    error that it raises rolls that transaction back. Raises UsageError, PreflightError, ServerError or
    MigrationError, and Interrupted with the state of the database.
    """
    limits = checked_limits(lock_timeout, statement_timeout, lock_budget)
    _check_commit(commit)
    began = time.monotonic()
    with postgres.translated(target), opened(connection, target, limits, observer, patience, report) as session:
        found = ledger.read_status(connection, target, migrations)
        found.assert_migratable()
        chosen = _up_to(found.pending, migrations, to)
        refuse_empty(chosen)
        if check:
            _refuse_uncheckable(chosen)
        if before_commit and not chosen:
            before_commit(connection)
        if before_commit and chosen and not chosen[-1].header.transactional:
            raise UsageError(
                f"{chosen[-1].name} runs outside a transaction, so it cannot be compared before its commit",
                where="--expect",
                hint="Leave --expect out, and compare afterwards with `invoke db.drift --against FILE`.",
            )
        work = Work.on(session, found, with_times=with_times)
        # A rebuild has already reported the server and the database, and that every file is pending.
        report(Message("DEBUG" if fresh else "INFO", f"{found.engine}; {found.summary}", str(target)))
        report(StepStarted("migrate", f"{len(chosen)} to apply", len(chosen)))
        parts = batches(chosen, fresh=fresh, commit=commit)
        _apply(work, found, chosen, parts, check=check, before_commit=before_commit)
    done = f"{len(work.open)} applied and rolled back" if check else f"{len(work.committed)} applied"
    report(StepFinished("migrate", done, time.monotonic() - began))
    return MigrationResult(
        database=target.database,
        applied=tuple(work.open if check else work.committed),
        before=len(found.having(State.APPLIED)),
        pending=len(found.pending) - len(work.committed),
        transactions=work.transactions,
        retries=work.retries,
        rolled_back=check,
        seconds=time.monotonic() - began,
    )


def _apply(
    work: Work,
    found: LedgerStatus,
    chosen: tuple[Migration, ...],
    parts: Iterator[tuple[Migration, ...]],
    *,
    check: bool,
    before_commit: Callable[[Connection], None] | None,
) -> None:
    """Apply the files of each transaction, and each file outside one; an interruption says what it left."""
    unfinished = {item.version for item in found.having(State.UNFINISHED)}
    try:
        for files in parts:
            if files[0].header.transactional:
                last = files[-1] is chosen[-1]
                _apply_in_transaction(work, files, check=check, before_commit=before_commit if last else None)
            else:
                non_transactional.apply(work, files[0], again=files[0].version in unfinished)
    except KeyboardInterrupt as interrupt:
        number = interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT
        raise Interrupted(number, work.state()) from None


def _apply_in_transaction(
    work: Work,
    files: tuple[Migration, ...],
    *,
    check: bool,
    before_commit: Callable[[Connection], None] | None = None,
) -> None:
    """Apply files in one transaction, again from its start while a lock cannot be acquired.

    With `check`, roll back instead of committing, and keep what was done in `work.open`. Raises MigrationError, after
    which nothing of the transaction is applied unless it says so.
    """
    attempts = Attempts(work)
    while True:
        try:
            _begin(work, files[0])
            _run_files(work, files)
            work.transactions += 1
            if before_commit:
                before_commit(work.session.connection)
            if check:
                work.session.script("ROLLBACK")
                return
            _commit(work, files[-1])
            return
        except StatementError as failure:
            work.roll_back()
            if not attempts.again(failure):
                raise work.error(failure, attempts.count) from None
        except CheckError as different:
            work.roll_back()
            different.state = work.state()
            raise
        except BaseException:
            work.roll_back()
            raise


def _begin(work: Work, first: Migration) -> None:
    """Begin a transaction as the database's owner, in a session that no earlier file has changed; create the ledger."""
    session = work.session
    work.in_force = session.settings(first, "pg_catalog", local=True)
    try:
        session.script(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
            *(session.as_owner(local=True) if session.clean else session.resetting(local=True)),
            f"SELECT {work.in_force}",
            session.keep_lock(),
            *work.creating_ledger(),
        )
    except psycopg.Error as error:
        # Another session may hold a lock on the ledger's schema for a while; other errors are not the first file's.
        if (failure := StatementError(first, error)).transient:
            raise failure from None
        raise
    session.clean = True


def _run_files(work: Work, files: tuple[Migration, ...]) -> None:
    """Run the files and write their rows: all in one pipeline, but for files that cannot travel in one."""
    session = work.session
    pipelined: list[Migration] = []
    for migration in files:
        work.defers |= _DEFERS.search(migration.text) is not None
        if not work.defers and not _PARAMETER.search(migration.text):
            pipelined.append(migration)
            continue
        _stream(work, pipelined)
        pipelined = []
        session.run(work.timed(_statements(work, migration)), work.announce)
        if work.defers:
            work.in_force = session.settings(migration, "pg_catalog", local=True)
            try:
                session.script(f"SELECT {work.in_force}")
                _check_constraints(session.connection)
            except psycopg.Error as error:
                raise StatementError(migration, error) from None
        session.run(_bookkeeping(work, migration), work.announce)
    digest: list[str] = []
    _stream(work, pipelined)
    last = Command(ledger.DIGEST, files[-1], done=lambda result: digest.append(texts(result)[0][0] or ""))
    work.session.stream(chain(_in_force(work, files[-1], "pg_catalog"), [last]), work.announce)
    if not session.in_transaction:
        raise MigrationError(
            f"one of the migrations {files[0].name} to {files[-1].name} ended the transaction",
            where=files[-1].label,
            state=work.state(),
            hint="A migration must not contain transaction control: remove it, and see `invoke db.status`.",
        )
    _assert_ledger(work, files, digest[0])


def _stream(work: Work, files: list[Migration]) -> None:
    """Send the statements and the rows of files ahead of their results."""
    parts = (part for migration in files for part in (_statements(work, migration), _bookkeeping(work, migration)))
    if files:
        work.session.stream(work.timed(chain.from_iterable(parts)), work.announce)


def _in_force(work: Work, migration: Migration, path: str, statement_timeout: str = "0") -> Iterator[Command]:
    """Yield what puts a search path and a file's limits into force, unless they are."""
    settings = work.session.settings(migration, path, local=True, statement_timeout=statement_timeout)
    if settings != work.in_force:
        work.in_force = settings
        yield Command(f"SELECT {settings}", migration)


def _statements(work: Work, migration: Migration) -> Iterator[Command]:
    """Yield the settings of a file and its statements."""
    yield from _in_force(work, migration, "public", work.session.limits.statement_for(migration))
    lines = LineCounter(migration.text)
    for statement in split(migration.text):
        sql = migration.text[statement.start : statement.end]
        yield Command(sql, migration, statement, lines.line_at(statement.start))


def _bookkeeping(work: Work, migration: Migration) -> Iterator[Command]:
    """Yield what takes back what a file may have left in the session, and what writes its row.

    The row may be written under the file's search path, since the statement finds nothing by name; it puts the settings
    into force again that the file began with, so that the next file need not.
    """
    session = work.session
    if migration.touches_session:
        for text in session.resetting(local=True):
            yield Command(text, migration)
        work.in_force = ""
    if migration.touches_session or seconds(session.limits.statement_for(migration)):
        yield from _in_force(work, migration, "pg_catalog")
    duration = _SINCE_PREVIOUS.format(previous=migration.version - 1)
    text = ledger.record(migration, duration, work.in_force)
    yield Command(text, migration, done=partial(_recorded, work, migration))


def _recorded(work: Work, migration: Migration, result: PGresult) -> None:
    """Note that a file's row is written."""
    milliseconds = ledger.assert_recorded(migration, texts(result))
    work.open.append(AppliedMigration(migration.version, migration.name, migration.statements, milliseconds / 1000))


def _check_constraints(connection: Connection) -> None:
    """Check what is deferred in the open transaction, and leave each constraint as it says that it begins.

    Each is named, since ALL would go for those that are made later in the transaction as well.
    """
    found: list[Any] = connection.execute(_DEFERRABLE.encode()).fetchall()
    for mode, names in (
        ("IMMEDIATE", [name for name, _ in found]),
        ("DEFERRED", [name for name, deferred in found if deferred]),
    ):
        if names:
            connection.execute(f"SET CONSTRAINTS {', '.join(names)} {mode}".encode())


def _assert_ledger(work: Work, files: tuple[Migration, ...], found: str) -> None:
    """Raise MigrationError if the ledger, whose digest is `found`, has rows beside those before and the files'."""
    rows = {**work.rows, **{migration.version: (migration.name, migration.checksum, True) for migration in files}}
    if found != ledger.digest(rows):
        suspects = [migration.name for migration in files if ledger.TABLE in migration.text.lower()]
        names = ", ".join(suspects) or f"one of {files[0].name} to {files[-1].name}"
        raise ledger.changed(files[0].label, f"the ledger {ledger.LEDGER} was changed by a migration: {names}")
    work.rows = rows


def _commit(work: Work, last: Migration) -> None:
    """Commit, and find out what became of it if the answer was lost."""
    try:
        work.session.script("COMMIT")
    except psycopg.Error as error:
        if not work.session.connection.closed:
            raise StatementError(last, error) from None
        _settle(work, last.version)
        raise errors.lost(None, error, work.state(), None) from None
    except KeyboardInterrupt:
        _settle(work, last.version)
        raise
    work.commit()


def _settle(work: Work, version: int) -> None:
    """Learn in a new connection whether the last version was committed, and keep that for the message."""
    work.session.connection.close()
    committed = _is_committed(work, version)
    if committed:
        work.commit()
    elif committed is None:
        work.doubt = "It is not known whether the last transaction was committed: see `invoke db.status`."
    work.open = []


def _is_committed(work: Work, version: int) -> bool | None:
    """Return whether the ledger has a version, once the session that was to write it is gone; None if unknown.

    That session held the migration lock: the next one that gets it sees what was left.
    """
    target = work.session.target
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        with suppress(psycopg.Error, DbopsError), postgres.connect(target) as connection:
            if postgres.try_lock(connection, MIGRATION_LOCK):
                found = ledger.read_status(connection, target, ())
                return version in {item.version for item in found.items}
        time.sleep(0.1)
    return None


def version_of(text: str) -> int | None:
    """Return the version that an option names, as in `0007` or `7`; None for no text, UsageError for anything else."""
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    raise UsageError(f'invalid version "{text}"', where="--to", hint="Give a number, as in `--to 0007`.")


def _up_to(pending: tuple[Migration, ...], migrations: tuple[Migration, ...], to: int | None) -> tuple[Migration, ...]:
    """Return the pending files up to a version; UsageError if there is no such file."""
    if to is None:
        return pending
    if to not in {migration.version for migration in migrations}:
        last = f"{migrations[-1].version:04}" if migrations else "none"
        raise UsageError(
            f"there is no migration {to:04}",
            where="--to",
            hint=f"The last one is {last}. See them all with `invoke db.status`.",
        )
    return tuple(migration for migration in pending if migration.version <= to)


def batches(
    pending: tuple[Migration, ...], *, fresh: bool = False, commit: str = "all"
) -> Iterator[tuple[Migration, ...]]:
    """Yield the files of each transaction; one outside transactions is by itself, and splits the others.

    On a fresh database a transaction also ends after so many files or statements, and after a file that adds a
    value to an enum: applied one by one, the next file could use it.
    """
    batch: list[Migration] = []
    statements = 0
    for migration in pending:
        full = fresh and (
            len(batch) >= BATCH_FILES
            or statements + migration.statements > BATCH_STATEMENTS
            or any(before.adds_enum_value for before in batch[-1:])
        )
        alone = commit == "file" or any(
            file.header.own_transaction or not file.header.transactional for file in (migration, *batch[-1:])
        )
        if batch and (full or alone):
            yield tuple(batch)
            batch, statements = [], 0
        batch.append(migration)
        statements += migration.statements
    if batch:
        yield tuple(batch)


def _refuse_uncheckable(pending: tuple[Migration, ...]) -> None:
    """Raise PreflightError for a file that cannot be rolled back."""
    for migration in pending:
        if not migration.header.transactional:
            raise PreflightError(
                f"migration {migration.name} runs outside a transaction, so it cannot be tried and rolled back",
                where=migration.label,
                state="Nothing was applied.",
                hint=f"Check what comes before it with `invoke db.migrate --check --to {migration.version - 1:04}`.",
            )
