"""What would run: which files, in which transactions, with which locks and limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dbops import postgres
from dbops.errors import PreflightError, UsageError
from dbops.migrations import ledger, state
from dbops.migrations.files import Migration
from dbops.migrations.headers import seconds
from dbops.migrations.session import Timeouts
from dbops.migrations.state import LedgerStatus
from dbops.postgres import Connection
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
class Plan:
    """What `db.migrate` would do now; `applied` counts what the ledger has already, `later` what lies beyond `--to`."""

    database: str
    server: str
    applied: int
    pending: tuple[PlannedMigration, ...]
    later: int
    transactions: int

    @property
    def checkable(self) -> bool:
        """Tell whether all of it could be applied and rolled back."""
        return all(migration.transaction is not None for migration in self.pending)


def status(target: Target, migrations: tuple[Migration, ...]) -> LedgerStatus:
    """Return how a database stands to the files: applied, pending, edited, removed; may raise ServerError."""
    with postgres.connect(target) as connection, postgres.translated(target):
        return read_status(connection, target, migrations)


def plan(
    target: Target,
    migrations: tuple[Migration, ...],
    *,
    to: int | None = None,
    lock_timeout: str = "",
    statement_timeout: str = "",
) -> Plan:
    """Return what `migrate` with the same options would do; it raises what that would raise before it begins."""
    timeouts = checked_timeouts(lock_timeout, statement_timeout)
    with postgres.connect(target) as connection, postgres.translated(target):
        found = lawful_status(connection, target, migrations)
    chosen = up_to(found.pending, migrations, to)
    planned: list[PlannedMigration] = []
    transactions = 0
    for batch in batches(chosen):
        transactions += batch[0].header.transactional
        number = transactions if batch[0].header.transactional else None
        planned += [_planned(migration, timeouts, number) for migration in batch]
    later = len(found.pending) - len(chosen)
    applied = len(found.having(state.State.APPLIED))
    return Plan(target.database, target.server, applied, tuple(planned), later, transactions)


def _planned(migration: Migration, timeouts: Timeouts, transaction: int | None) -> PlannedMigration:
    return PlannedMigration(
        version=migration.version,
        name=migration.name,
        path=migration.label,
        size=migration.size,
        statements=migration.statements,
        locks=migration.header.locks,
        lock_timeout=timeouts.lock_for(migration),
        statement_timeout=timeouts.statement_for(migration),
        transaction=transaction,
    )


def read_status(connection: Connection, target: Target, migrations: tuple[Migration, ...]) -> LedgerStatus:
    """Return how the connected database stands to the files."""
    with ledger.readable(connection):
        has_ledger = ledger.exists(connection)
        entries = ledger.read(connection) if has_ledger else ()
    items = state.compare(migrations, entries)
    stranger = "" if has_ledger else ledger.first_relation(connection)
    return LedgerStatus(target.database, target.server, _engine(connection), has_ledger, stranger, items)


def _engine(connection: Connection) -> str:
    row = connection.execute(
        "SELECT current_setting('server_version'), (SELECT extversion::text FROM pg_catalog.pg_extension"
        " WHERE extname = 'timescaledb')"
    ).fetchone()
    postgresql, timescaledb = row or ("", None)
    extension = f"TimescaleDB {timescaledb}" if timescaledb else "TimescaleDB not in this database"
    return f"PostgreSQL {str(postgresql).split()[0]}, {extension}"


def lawful_status(connection: Connection, target: Target, migrations: tuple[Migration, ...]) -> LedgerStatus:
    """Return the status of a database that may be migrated; MigrationError or PreflightError if it may not."""
    found = read_status(connection, target, migrations)
    ledger.refuse_stranger(target.database, found.stranger)
    state.refuse_disagreement(found)
    return found


def version_of(text: str) -> int | None:
    """Return the version that an option names, as in `0007` or `7`; None for no text, UsageError for anything else."""
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    raise UsageError(f'"{text}" is no version', where="--to", hint="Give a number, as in `--to 0007`.")


def up_to(pending: tuple[Migration, ...], migrations: tuple[Migration, ...], to: int | None) -> tuple[Migration, ...]:
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


def batches(pending: tuple[Migration, ...], *, fresh: bool = False) -> Iterator[tuple[Migration, ...]]:
    """Yield the files of each transaction; one outside transactions is by itself, and splits the others.

    On a fresh database a transaction also ends after so many files or statements, and after a file that adds a
    value to an enum: whoever applied the files one by one could use it in the next.
    """
    batch: list[Migration] = []
    statements = 0
    for migration in pending:
        full = fresh and (
            len(batch) >= BATCH_FILES
            or statements + migration.statements > BATCH_STATEMENTS
            or any(before.adds_enum_value for before in batch[-1:])
        )
        if batch and (full or not migration.header.transactional or not batch[-1].header.transactional):
            yield tuple(batch)
            batch, statements = [], 0
        batch.append(migration)
        statements += migration.statements
    if batch:
        yield tuple(batch)


def checked_timeouts(lock_timeout: str, statement_timeout: str) -> Timeouts:
    """Return the operator's limits; UsageError for one that is no duration."""
    for option, value in (("--lock-timeout", lock_timeout), ("--statement-timeout", statement_timeout)):
        try:
            seconds(value or "0")
        except ValueError as error:
            raise UsageError(str(error), where=option, hint="Write it as in `--lock-timeout 5s`.") from None
    return Timeouts(lock_timeout.strip(), statement_timeout.strip())


def refuse_uncheckable(pending: tuple[Migration, ...]) -> None:
    """Raise PreflightError for a file that cannot be rolled back."""
    for migration in pending:
        if not migration.header.transactional:
            raise PreflightError(
                f"migration {migration.name} runs outside a transaction, so it cannot be tried and rolled back",
                where=migration.label,
                hint=f"Nothing was run. Check what comes before it with "
                f"`invoke db.migrate --check --to {migration.version - 1:04}`.",
            )
