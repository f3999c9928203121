"""Plan and apply pending migrations: all or nothing, each with its row in the ledger, one run at a time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from dbops import postgres
from dbops.errors import CheckError, Interrupted, PreflightError, ServerError, UsageError
from dbops.events import Message, Report, StepFinished, StepStarted, ignore
from dbops.migrations import code_of_others, ledger, locks, non_transactional
from dbops.migrations.alone import only_session, refuse_system_database
from dbops.migrations.errors import StatementError
from dbops.migrations.files import Migration
from dbops.migrations.ledger import LedgerStatus, State
from dbops.migrations.options import DEFAULTS, LOCK_TIMEOUT, MigrationOptions
from dbops.migrations.reach import assert_limits
from dbops.migrations.session import AppliedMigration, MigrationSession, migrating
from dbops.postgres import Connection, sql_file
from dbops.settings import Target

# Few enough that even a server with default settings has locks for what such a transaction creates.
BATCH_FILES = 100
BATCH_STATEMENTS = 400


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
class MigrationPlan:
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


def plan(target: Target, migrations: tuple[Migration, ...], options: MigrationOptions = DEFAULTS) -> MigrationPlan:
    """Return what `migrate` with the same options would do; it raises what that would raise before it begins."""
    refuse_system_database(target)
    with postgres.reader(target) as connection, postgres.reading(connection):
        found = ledger.read_status(connection, target, migrations)
        existing = frozenset(locks.tables(connection).values())
        chosen = found.to_apply(options.to)
        if _refuse(connection, target, chosen, options.owner or found.owner):
            code_of_others.refuse(connection, target)
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
                size=len(migration.text.encode()),
                statements=len(migration.statements),
                locks=migration.header.locks,
                lock_timeout=options.lock_timeout_for(migration),
                statement_timeout=options.statement_timeout_for(migration),
                transaction=transactions if migration.header.transactional else None,
            )
            for migration in batch
        ]
    applied = len(found.having(State.APPLIED))
    later = len(found.pending) - len(chosen)
    return MigrationPlan(target.database, target.server, applied, tuple(planned), later, transactions, tuple(warnings))


def migrate(
    target: Target,
    migrations: tuple[Migration, ...],
    options: MigrationOptions = DEFAULTS,
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
    options: MigrationOptions = DEFAULTS,
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
    with postgres.translated(target):
        found = found or ledger.read_status(connection, target, migrations)
    chosen = found.to_apply(options.to)
    with postgres.translated(target), migrating(connection, target, options, found, observer, report) as session:
        # No session waits in a database that this run has created, and released files may be older than these rules.
        if not options.fresh:
            verifies = before_commit is not None
            session.guarded = _refuse(connection, target, chosen, session.owner, check=options.check, verifies=verifies)
        # A rebuild has already reported the server and the database, and that every file is pending.
        report(Message("DEBUG" if options.fresh else "INFO", f"{found.engine}; {found.summary}", str(target)))
        report(StepStarted("migrate", f"{len(chosen)} to apply", len(chosen)))
        if before_commit and not chosen:
            # What it writes for a check is rolled back here too.
            with as_owner(connection, target, session.owner, check=True) if options.check else nullcontext():
                before_commit(connection)
        if chosen and target.environment == "prod" and not (options.fresh or options.check):
            postgres.restore_point(connection, f"migrate {target.database}", report)
        unfinished = [item.version for item in found.having(State.UNFINISHED)]
        # A check commits nothing, and each file may need what the ones before it make: they share one transaction.
        parts = [chosen] if options.check and chosen else batches(chosen, options)
        try:
            for files in parts:
                if not files[0].header.transactional:
                    non_transactional.apply(session, files[0], again=files[0].version in unfinished)
                else:
                    _apply_in_transaction(session, files, before_commit if files[-1] is chosen[-1] else None)
        except KeyboardInterrupt as interrupt:
            number = interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT
            raise Interrupted(number, session.state()) from None
    done = session.open if options.check else session.committed
    report(
        StepFinished("migrate", f"{len(done)} applied{' and rolled back' * options.check}", time.monotonic() - began)
    )
    return MigrationResult(
        database=target.database,
        applied=tuple(done),
        before=len(found.having(State.APPLIED)),
        pending=len(found.pending) - len(session.committed),
        transactions=session.transactions,
        retries=session.retries,
        rolled_back=options.check,
        seconds=time.monotonic() - began,
    )


def _apply_in_transaction(
    session: MigrationSession, files: tuple[Migration, ...], before_commit: Callable[[Connection], None] | None
) -> None:
    """Apply files in one transaction, again from its start while a lock cannot be acquired.

    What is sent travels ahead of its results, up to each `finish`. Raises MigrationError, after which nothing of the
    transaction is applied unless it says so.
    """
    session.first_attempt()
    while True:
        try:
            with session.transaction(files[0]) as definition:
                for migration in files:
                    timeout = session.options.statement_timeout_for(migration)
                    session.send(session.settings_sql(migration, "public", statement_timeout=timeout), migration)
                    for statement in migration.statements:
                        session.send(statement.text, migration, statement)
                    session.defers |= "deferr" in migration.text.lower()
                    if session.defers:
                        # Each constraint is checked, and left as it says that it begins. Each is named, since ALL would
                        # go for those that are made later in the transaction as well.
                        deferrable: list[Any] = []
                        session.send(session.settings_sql(migration, "pg_catalog"), migration)
                        session.send(sql_file("dbops.migrations", "deferrable_constraints"), migration, rows=deferrable)
                        session.finish()
                        for mode, names in zip(("IMMEDIATE", "DEFERRED"), deferrable[0], strict=True):
                            if names:
                                session.send(f"SET CONSTRAINTS {names} {mode}", migration)
                    if migration.touches_session or timeout != "0":
                        for text in session.reset_sql(migration):
                            session.send(text, migration)
                    session.record(migration)
                session.assert_ledger(files, definition)
                if before_commit:
                    before_commit(session.connection)
                session.commit(files[-1])
            session.transactions += 1
            return
        except StatementError as failure:
            if not session.again(failure):
                raise session.error(failure) from None
        except CheckError as different:
            different.state = session.state()
            raise


def _refuse(
    connection: Connection,
    target: Target,
    chosen: tuple[Migration, ...],
    role: str,
    *,
    check: bool = False,
    verifies: bool = False,
) -> str:
    """Raise what can be said before the first statement, such as a limit overridden or a right that is missing.

    `role` is the one to act as, empty for the session's own; a run that checks or verifies may have to roll back.
    Returns the superuser that the session is or may become, where other roles may have code in the database.
    """
    assert_limits(chosen)
    if not chosen:
        return ""
    alone = [migration for migration in chosen if not migration.header.transactional]
    if check and alone:
        raise PreflightError(
            f"migration {alone[0].name} runs outside a transaction, so it cannot be tried and rolled back",
            where=alone[0].label,
            state="Nothing was applied.",
            hint=f"Check what comes before it with `invoke db.migrate --check --to {alone[0].version - 1:04}`."
            if alone[0] is not chosen[0]
            else "Rehearse it with `invoke db.migrate --rehearse`.",
        )
    if verifies and alone and alone[-1] is chosen[-1]:
        raise UsageError(
            f"{chosen[-1].name} runs outside a transaction, so it cannot be verified before its commit",
            where="--verify",
            hint="Leave --verify out, and run `invoke db.verify` afterwards.",
        )
    row: Any = connection.execute(sql_file("dbops.migrations", "rights").encode(), {"role": role}).fetchone()
    missing, role, owner = row
    if missing:
        grants = "; ".join(f"GRANT {what} TO {postgres.quoted(role)}" for what in missing)
        raise ServerError(
            f"permission denied for database {target.database}: to migrate it, {role} lacks {', '.join(missing)}",
            where=str(target),
            state="Nothing was applied.",
            hint=f"Connect as {owner}, who owns the database, or as a member of that role; or let it run: {grants};",
        )
    superuser = code_of_others.possible(connection)
    if superuser and alone:
        # No lock can keep code out meanwhile.
        raise PreflightError(
            f"{connection.info.user} has superuser rights, and others may create code in {target.database} while "
            f"{alone[0].name} runs outside a transaction",
            where=alone[0].label,
            state="Nothing of it was applied.",
            hint="Connect as the owner of the database, or as a member of that role without superuser rights.",
        )
    return superuser


@contextmanager
def as_owner(connection: Connection, target: Target, owner: str, *, check: bool = False) -> Iterator[None]:
    """Run what is inside in a transaction as the database's owner; empty is the session's own role.

    For a check it is rolled back. Raises PreflightError where a superuser would run code of other roles.
    """
    with postgres.translated(target), connection.transaction(force_rollback=check):
        if superuser := code_of_others.possible(connection):
            connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            code_of_others.keep_out(connection, target, superuser)
        if owner:
            connection.execute(postgres.set_role(owner, local=True))
        yield


def batches(pending: tuple[Migration, ...], options: MigrationOptions) -> Iterator[tuple[Migration, ...]]:
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
            or (options.fresh and statements + len(migration.statements) > BATCH_STATEMENTS)
        ):
            yield tuple(batch)
            batch, statements = [], 0
        batch.append(migration)
        statements += len(migration.statements)
    if batch:
        yield tuple(batch)
