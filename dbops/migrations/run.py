"""Plan and apply pending migrations: all or nothing, each with its row in the ledger, one run at a time."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGresult

from dbops import postgres
from dbops.errors import CheckError, DbopsError, Interrupted, MigrationError, PreflightError, ServerError, UsageError
from dbops.events import Message, Report, StepFinished, StepStarted, ignore
from dbops.migrations import code_of_others, errors, ledger, locks, non_transactional
from dbops.migrations.alone import MIGRATION_LOCK, only_session, refuse_system_database
from dbops.migrations.errors import StatementError
from dbops.migrations.files import Migration, seconds
from dbops.migrations.ledger import LedgerStatus, State
from dbops.migrations.reach import assert_limits
from dbops.migrations.session import LOCK_TIMEOUT, Command, Options, Session, opened, owner_to_act_as, texts
from dbops.migrations.work import AppliedMigration, Work
from dbops.postgres import Connection, sql_file
from dbops.settings import Target

DEFAULTS = Options()
# Few enough that even a server with default settings has locks for what such a transaction creates.
BATCH_FILES = 100
BATCH_STATEMENTS = 400

_SETTLE_SECONDS = 5.0
_DEFERS = re.compile("deferrable", re.IGNORECASE)
# Constraints that can be deferred, and whether they begin so.
_DEFERRABLE = """
SELECT pg_catalog.format('%I.%I', n.nspname, c.conname), pg_catalog.bool_or(c.condeferred)
FROM pg_catalog.pg_constraint AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.connamespace
WHERE c.condeferrable AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND NOT pg_catalog.pg_is_other_temp_schema(n.oid)
GROUP BY 1 ORDER BY 1
"""


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


def plan(target: Target, migrations: tuple[Migration, ...], options: Options = DEFAULTS) -> Plan:
    """Return what `migrate` with the same options would do; it raises what that would raise before it begins."""
    refuse_system_database(target)
    with postgres.reader(target) as connection, postgres.reading(connection):
        found = ledger.read_status(connection, target, migrations)
        existing = frozenset(locks.tables(connection).values())
        if found.pending:
            _assert_rights(connection, target, options.owner)
        if found.pending and code_of_others.possible(connection):
            code_of_others.refuse(connection, target)
    chosen = found.to_apply(options.to)
    assert_limits(chosen)
    planned: list[PlannedMigration] = []
    warnings: list[str] = []
    transactions = 0
    for batch in batches(chosen, options):
        transactions += batch[0].header.transactional
        warnings += locks.warnings(batch, existing)
        planned += [
            PlannedMigration(
                version=migration.version,
                name=migration.name,
                path=migration.label,
                size=migration.size,
                statements=migration.statements,
                locks=migration.header.locks,
                lock_timeout=options.lock_timeout_for(migration),
                statement_timeout=options.statement_timeout_for(migration),
                transaction=transactions if migration.header.transactional else None,
            )
            for migration in batch
        ]
    applied = len(found.having(State.APPLIED))
    later = len(found.pending) - len(chosen)
    return Plan(target.database, target.server, applied, tuple(planned), later, transactions, tuple(warnings))


def migrate(
    target: Target,
    migrations: tuple[Migration, ...],
    options: Options = DEFAULTS,
    *,
    report: Report = ignore,
) -> MigrationResult:
    """Apply what is pending over a session of its own, as `apply` does, when no other is at work on the database."""
    with only_session(target, patience=options.patience, report=report) as connection, postgres.translated(target):
        return apply(connection, target, migrations, options, report=report)


def apply(
    connection: Connection,
    target: Target,
    migrations: tuple[Migration, ...],
    options: Options = DEFAULTS,
    *,
    found: LedgerStatus | None = None,
    observer: Connection | None = None,
    before_commit: Callable[[Connection], None] | None = None,
    report: Report = ignore,
) -> MigrationResult:
    """Apply what is pending over an autocommit connection to the target's database; return once it is committed.

    `found` is what the ledger says, if that has been read in this session. `observer` is a connection to the same
    server, to any database, that watches for lock waits and that has no other use meanwhile; without one, a connection
    is made when a statement takes long. `before_commit` is called before the last commit, and an error that it raises
    rolls that transaction back. Raises UsageError, PreflightError, ServerError or MigrationError, and Interrupted with
    the state of the database.
    """
    began = time.monotonic()
    with postgres.translated(target), opened(connection, target, options, observer, report) as session:
        found = found or ledger.read_status(connection, target, migrations)
        chosen = found.to_apply(options.to)
        # No session waits in a database that this run has created, and released files may be older than this rule.
        if not options.fresh:
            assert_limits(chosen)
            if chosen:
                _assert_rights(connection, target, options.owner)
                session.guarded = code_of_others.possible(connection)
        alone = [migration for migration in chosen if not migration.header.transactional]
        if options.check and alone:
            raise PreflightError(
                f"migration {alone[0].name} runs outside a transaction, so it cannot be tried and rolled back",
                where=alone[0].label,
                state="Nothing was applied.",
                hint=f"Check what comes before it with `invoke db.migrate --check --to {alone[0].version - 1:04}`.",
            )
        if session.guarded and alone:
            code_of_others.refuse_outside_transaction(alone[0], connection, target)
        if before_commit and not chosen:
            before_commit(connection)
        if before_commit and alone and alone[-1] is chosen[-1]:
            raise UsageError(
                f"{chosen[-1].name} runs outside a transaction, so it cannot be verified before its commit",
                where="--verify",
                hint="Leave --verify out, and run `invoke db.verify` afterwards.",
            )
        # A rebuild has already reported the server and the database, and that every file is pending.
        report(Message("DEBUG" if options.fresh else "INFO", f"{found.engine}; {found.summary}", str(target)))
        report(StepStarted("migrate", f"{len(chosen)} to apply", len(chosen)))
        unfinished = [item.version for item in found.having(State.UNFINISHED)]
        work = Work(session, found)
        if chosen and target.environment == "prod" and not (options.fresh or options.check):
            postgres.restore_point(connection, f"migrate {target.database}", report)
        # A check commits nothing, and each file may need what the ones before it make: they share one transaction.
        parts = [chosen] if options.check and chosen else batches(chosen, options)
        try:
            for files in parts:
                if not files[0].header.transactional:
                    non_transactional.apply(work, files[0], again=files[0].version in unfinished)
                else:
                    _apply_in_transaction(work, files, before_commit if files[-1] is chosen[-1] else None)
        except KeyboardInterrupt as interrupt:
            number = interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT
            raise Interrupted(number, work.state()) from None
    done = work.open if options.check else work.committed
    report(
        StepFinished("migrate", f"{len(done)} applied{' and rolled back' * options.check}", time.monotonic() - began)
    )
    return MigrationResult(
        database=target.database,
        applied=tuple(done),
        before=len(found.having(State.APPLIED)),
        pending=len(found.pending) - len(work.committed),
        transactions=work.transactions,
        retries=work.retries,
        rolled_back=options.check,
        seconds=time.monotonic() - began,
    )


def _assert_rights(connection: Connection, target: Target, owner: str) -> None:
    """Raise ServerError if the role that acts as the owner, or as `owner`, lacks what any migration needs."""
    row: Any = connection.execute(sql_file("dbops.migrations", "rights").encode(), {"role": owner}).fetchone()
    missing, role, owner = row
    if missing:
        grants = "; ".join(f"GRANT {what} TO {postgres.quoted(role)}" for what in missing)
        raise ServerError(
            f"permission denied for database {target.database}: to migrate it, {role} lacks {', '.join(missing)}",
            where=str(target),
            state="Nothing was applied.",
            hint=f"Connect as {owner}, who owns the database, or as a member of that role; or let it run: {grants};",
        )


@contextmanager
def as_owner(connection: Connection, target: Target) -> Iterator[None]:
    """Run what is inside in a transaction as the database's owner, if the session's role may act as it.

    Raises PreflightError where a superuser would run code of other roles.
    """
    with postgres.translated(target), connection.transaction():
        if superuser := code_of_others.possible(connection):
            connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            code_of_others.keep_out(connection, target, superuser)
        if owner := owner_to_act_as(connection):
            connection.execute(f"SET LOCAL ROLE {postgres.quoted(owner)}")
        yield


def _apply_in_transaction(
    work: Work, files: tuple[Migration, ...], before_commit: Callable[[Connection], None] | None
) -> None:
    """Apply files in one transaction, again from its start while a lock cannot be acquired.

    A check rolls back instead of committing, and keeps what was done in `work.open`. Raises MigrationError, after
    which nothing of the transaction is applied unless it says so.
    """
    session = work.session
    work.first_attempt()
    while True:
        try:
            _begin(work, files[0])
            _run_files(work, files)
            work.transactions += 1
            if before_commit:
                before_commit(session.connection)
            if session.options.custody:
                session.options.custody.take_back(session.connection)
            if session.options.check:
                session.script("ROLLBACK")
            else:
                _commit(work, files[-1])
            return
        except StatementError as failure:
            work.roll_back()
            if not work.again(failure):
                raise work.error(failure) from None
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
    session.outgoing.in_force = session.settings(first, "pg_catalog", local=True)
    beginning = [
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        *(session.options.custody.hand_over() if session.options.custody else ()),
        *(session.owner_sql(local=True) if session.outgoing.clean else session.reset_sql(local=True)),
        f"SELECT {session.outgoing.in_force}",
        # The migration lock is held for the transaction, whatever a file releases.
        f"SELECT pg_catalog.pg_try_advisory_xact_lock({MIGRATION_LOCK})",
    ]
    try:
        if session.guarded:
            session.script(*beginning)
            code_of_others.keep_out(session.connection, session.target, session.guarded)
            beginning = session.owner_sql(local=True)
        session.script(*beginning, *work.creating_ledger())
    except psycopg.Error as error:
        # Another session may hold a lock on the ledger's schema for a while; other errors are not the first file's.
        if (failure := StatementError(first, error)).transient:
            raise failure from None
        raise
    session.outgoing.clean = True


def _run_files(work: Work, files: tuple[Migration, ...]) -> None:
    """Run the files and write their rows, in one pipeline up to each check of deferred constraints."""
    session = work.session
    before: list[str | None] = []
    parts: list[Iterator[Command]] = []
    for migration in files:
        timeout = session.options.statement_timeout_for(migration)
        if migration is files[0]:
            session.outgoing.in_force = session.settings(migration, "public", local=True, statement_timeout=timeout)
            first = f"SELECT ({ledger.DEFINITION}), {session.outgoing.in_force}"
            parts.append(iter([Command(first, migration, done=lambda result: before.append(texts(result)[0][0]))]))
        parts += [session.putting_in_force(migration, "public", timeout), session.statements(migration)]
        work.defers |= _DEFERS.search(migration.text) is not None
        if work.defers:
            session.stream(chain.from_iterable(parts))
            parts = []
            _check_constraints(session, migration)
        parts.append(_bookkeeping(work, migration))
    after: list[str | None] = []
    last = Command(ledger.DIGEST, files[-1], done=lambda result: after.extend(texts(result)[0]))
    session.stream(chain(chain.from_iterable(parts), session.putting_in_force(files[-1], "pg_catalog"), [last]))
    if session.connection.info.transaction_status != TransactionStatus.INTRANS:
        raise MigrationError(
            f"one of the migrations {files[0].name} to {files[-1].name} ended the transaction",
            where=files[-1].label,
            state=work.state(),
            hint="A migration must not contain transaction control: remove it, and see `invoke db.status`.",
        )
    rows = {**work.rows, **{migration.version: (migration.name, migration.checksum, True) for migration in files}}
    if after != [ledger.digest(rows), *before]:
        suspects = [migration.name for migration in files if ledger.SCHEMA in migration.text.lower()]
        names = ", ".join(suspects) or f"one of {files[0].name} to {files[-1].name}"
        raise ledger.changed(files[0].label, f"the ledger {ledger.LEDGER} was changed by a migration: {names}")
    work.rows = rows


def _bookkeeping(work: Work, migration: Migration) -> Iterator[Command]:
    """Yield what takes back what a file may have left in the session, and what writes its row.

    The row may be written under the file's search path, since the statement finds nothing by name; it puts the settings
    into force again that the file began with, so that the next file need not.
    """
    session = work.session
    if migration.touches_session:
        for text in session.reset_sql(local=True):
            yield Command(text, migration)
        session.outgoing.in_force = ""
    if migration.touches_session or seconds(session.options.statement_timeout_for(migration)):
        yield from session.putting_in_force(migration, "pg_catalog")

    def recorded(result: PGresult) -> None:
        milliseconds = ledger.assert_recorded(migration, texts(result))
        work.open.append(AppliedMigration(migration.version, migration.name, migration.statements, milliseconds / 1000))
        session.incoming.done += 1

    yield from session.preparing(migration)
    yield Command(ledger.execute_sql(migration), migration, done=recorded)


def _check_constraints(session: Session, migration: Migration) -> None:
    """Check what is deferred in the open transaction, and leave each constraint as it says that it begins.

    Each is named, since ALL would go for those that are made later in the transaction as well.
    """
    session.outgoing.in_force = session.settings(migration, "pg_catalog", local=True)
    try:
        session.script(f"SELECT {session.outgoing.in_force}")
        found: list[Any] = session.connection.execute(_DEFERRABLE.encode()).fetchall()
        for mode, names in (
            ("IMMEDIATE", [name for name, _ in found]),
            ("DEFERRED", [name for name, deferred in found if deferred]),
        ):
            if names:
                session.script(f"SET CONSTRAINTS {', '.join(names)} {mode}")
    except psycopg.Error as error:
        raise StatementError(migration, error) from None


def _commit(work: Work, last: Migration) -> None:
    """Commit, and find out what became of it if the answer was lost."""
    session = work.session
    try:
        session.script("COMMIT")
    except psycopg.Error as error:
        failure = StatementError(last, error)
        if not session.connection.closed:
            raise failure from None
        _settle(work, last.version)
        raise errors.lost(failure, work.state(), commit=True) from None
    except KeyboardInterrupt:
        _settle(work, last.version)
        raise
    work.commit()


def _settle(work: Work, version: int) -> None:
    """Learn in a new connection whether the last version was committed, and keep that for the message.

    The session that was to write it held the migration lock: the next one that gets it sees what was left.
    """
    target = work.session.target
    work.session.connection.close()
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        with suppress(psycopg.Error, DbopsError), postgres.connect(target) as connection:
            if postgres.try_lock(connection, MIGRATION_LOCK):
                found = ledger.read_status(connection, target, ())
                if version in {item.version for item in found.items}:
                    work.commit()
                break
        time.sleep(0.1)
    else:
        work.doubt = "It is not known whether the last transaction was committed: see `invoke db.status`."
    work.open = []


def batches(pending: tuple[Migration, ...], options: Options) -> Iterator[tuple[Migration, ...]]:
    """Yield the files of each transaction; one outside transactions is by itself, and splits the others.

    On a fresh database a transaction also ends after so many files or statements, and after a file that adds a
    value to an enum: applied one by one, the next file could use it.
    """
    batch: list[Migration] = []
    statements = 0
    for migration in pending:
        if batch and (
            options.commit == "file"
            or any(file.header.own_transaction or not file.header.transactional for file in (batch[-1], migration))
            or (options.fresh and batch[-1].adds_enum_value)
            or (options.fresh and len(batch) == BATCH_FILES)
            or (options.fresh and statements + migration.statements > BATCH_STATEMENTS)
        ):
            yield tuple(batch)
            batch, statements = [], 0
        batch.append(migration)
        statements += migration.statements
    if batch:
        yield tuple(batch)
