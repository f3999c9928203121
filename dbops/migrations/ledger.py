"""The ledger: the one table that says which migrations a database has had, and how it compares with the files."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row

from dbops import __version__, label, postgres
from dbops.errors import CheckError, MigrationError, PreflightError, ServerError, UsageError
from dbops.label import KeptDatabase, Label
from dbops.migrations.files import Migration, first_of, refuse_empty
from dbops.postgres import UNTRUSTED_CODE, Connection, set_role, sql_file
from dbops.settings import Target

SCHEMA = "dbops"
TABLE = "schema_migrations"
LEDGER = f"{SCHEMA}.{TABLE}"
# How long to wait for a lock on the ledger before saying who holds it, in seconds.
LOCK_SECONDS = 5.0

CREATE_SCHEMA = f"CREATE SCHEMA {SCHEMA}"
CREATE_TABLE = sql_file("dbops.migrations", "create_ledger")
# What a run compares before it commits: the definition with what it was, the digest with `digest` of what it knows.
DEFINITION = sql_file("dbops.migrations", "ledger_definition")
DIGEST = sql_file("dbops.migrations", "ledger_digest")
# Gives files of a transaction, `first` to `last`, their durations; it returns versions and milliseconds.
DURATIONS = sql_file("dbops.migrations", "durations")
_INSPECT = sql_file("dbops.migrations", "ledger").replace("{untrusted_code}", UNTRUSTED_CODE)
_FIELDS = ("version", "name", "checksum", "applied_at", "applied_by", "duration_ms", "tool_version")
_REPLACING = (
    f" ON CONFLICT (version) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _FIELDS[1:])}"
    f" WHERE {TABLE}.duration_ms IS NULL"
)
_READ = f"SELECT {', '.join(_FIELDS)} FROM {LEDGER} ORDER BY version"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the ledger; `duration_ms` is None for a file that began outside a transaction and did not finish."""

    version: int
    name: str
    checksum: str
    applied_at: datetime
    applied_by: str
    duration_ms: int | None
    tool_version: str

    @property
    def finished(self) -> bool:
        """Return whether the file ran to its end."""
        return self.duration_ms is not None

    @property
    def when(self) -> str:
        """Return for people when it was applied or begun, in UTC."""
        return f"{self.applied_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


class State(StrEnum):
    """How a version stands; the last four stop `db.migrate`, which resumes `unfinished`."""

    APPLIED = "applied"
    PENDING = "pending"
    EMPTY = "empty"
    UNFINISHED = "unfinished"
    EDITED = "edited"
    RENAMED = "renamed"
    REMOVED = "removed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Item:
    """A version in the ledger, among the files, or in both."""

    version: int
    name: str
    state: State
    migration: Migration | None
    entry: Entry | None

    @property
    def explanation(self) -> str:
        """Return in words what does not fit; empty for what does."""
        entry, migration = self.entry, self.migration
        when = f"{'applied' if entry.finished else 'begun'} {entry.when} UTC by {entry.applied_by}" if entry else ""
        match self.state:
            case State.EMPTY:
                return "the file has no statements yet"
            case State.EDITED if entry and migration:
                return f"{when} with checksum {entry.checksum[:12]}, the file now has {migration.checksum[:12]}"
            case State.RENAMED if entry:
                return f"{when} as {entry.name}"
            case State.REMOVED if entry and not entry.finished:
                return f"{when} outside a transaction, not finished, and the file is gone"
            case State.REMOVED if entry:
                return f"{when} with checksum {entry.checksum[:12]}, the file is gone"
            case State.SKIPPED:
                return "not applied, though a later one is"
            case State.UNFINISHED if entry:
                return f"{when} outside a transaction, and did not finish"
        return ""


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """Every version that the ledger or the files know, in order; `has_ledger` is False on a new database.

    `engine` is PostgreSQL and TimescaleDB with their versions, for people; `unknown_relation` names one that
    exists without a ledger; `label` is the environment kept in the database; `problems` describe changes to
    the ledger itself; `has_schema` is whether its schema exists, `defers` whether any constraint can be deferred;
    `owner` is the owner of the database if the session's role may act as it, else empty; `newer_timescaledb` is the
    version that the server has installed, if the database has an older one; `kept` is the database that this one
    replaced, if it was kept.
    """

    database: str
    server: str
    engine: str
    has_ledger: bool
    unknown_relation: str
    items: tuple[Item, ...]
    label: Label | None = None
    problems: tuple[str, ...] = ()
    newer_timescaledb: str = ""
    kept: tuple[KeptDatabase, ...] = ()
    has_schema: bool = field(default=False, repr=False)
    defers: bool = field(default=False, repr=False)
    system_identifier: str = field(default="", repr=False)
    owner: str = field(default="", repr=False)

    def having(self, *states: State) -> tuple[Item, ...]:
        """Return the items in any of these states."""
        return tuple(item for item in self.items if item.state in states)

    @property
    def rows(self) -> dict[int, tuple[str, str, bool]]:
        """Return what the ledger holds by version: name, checksum, whether the file is finished."""
        entries = (item.entry for item in self.items if item.entry)
        return {entry.version: (entry.name, entry.checksum, entry.finished) for entry in entries}

    @property
    def pending(self) -> tuple[Migration, ...]:
        """Return the files that are still to be applied, unfinished and empty ones among them."""
        items = self.having(State.PENDING, State.EMPTY, State.UNFINISHED)
        return tuple(item.migration for item in items if item.migration)

    @property
    def summary(self) -> str:
        """Return how many versions there are in each state, for people."""
        counts = [f"{len(self.having(state))} {state}" for state in State if self.having(state)]
        return ", ".join(counts) or "no migrations"

    @property
    def disagreements(self) -> tuple[Item, ...]:
        """Return the items that stop `db.migrate`."""
        return self.having(State.EDITED, State.RENAMED, State.REMOVED, State.SKIPPED)

    @property
    def consistent(self) -> bool:
        """Return whether ledger, files and database agree and no migration is unfinished."""
        return not (self.disagreements or self.having(State.UNFINISHED) or self.unknown_relation or self.problems)

    def assert_current(self) -> None:
        """Raise CheckError, naming what is wrong, while anything is pending or inconsistent."""
        wrong = [f"{migration.name} is pending" for migration in self.pending]
        wrong += [f"{item.name} is {item.state}" for item in self.disagreements]
        wrong += [self.problems[0]] if self.problems else []
        wrong += [f"{self.unknown_relation} exists without a ledger"] if self.unknown_relation else []
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise CheckError(
                f"the database is not current: {wrong[0]}{more}",
                where=f"{self.database} on {self.server}",
                notes=first_of(tuple(wrong)) if more else (),
                hint="Correct the database's name in DATABASE_URL."
                if self.unknown_relation
                else "Run `invoke db.migrate`, or `invoke db.status` for more.",
            )

    def to_apply(self, last: int | None = None) -> tuple[Migration, ...]:
        """Return the files to apply, up to a version.

        Raises PreflightError or MigrationError if files, ledger and database do not fit together, UsageError if there
        is no file of this version, or one to apply has no statements, or reaches beyond its database.
        """
        if self.unknown_relation:
            raise PreflightError(
                f"the database has relations (such as {self.unknown_relation}) but no ledger {LEDGER}",
                where=f"database {self.database}",
                notes=("it is not known which migrations they correspond to: none was applied",),
                hint="Correct the database's name in DATABASE_URL; or, to lose all that is in it, run "
                f"`invoke db.rebuild --confirm {shlex.quote(self.database)}`.",
            )
        if self.problems:
            raise MigrationError(
                self.problems[0],
                where=f"database {self.database}",
                notes=self.problems[1:],
                state="Nothing was applied.",
                hint="Restore the ledger from a backup, or build the database anew with `invoke db.rebuild`.",
            )
        if wrong := self.disagreements:
            kinds = ", ".join(f"{len(self.having(s))} {s}" for s in State if s in {item.state for item in wrong})
            raise MigrationError(
                f"files and ledger disagree: {kinds}",
                where=f"database {self.database}",
                notes=first_of(tuple(f"{item.name}: {item.state}; {item.explanation}" for item in wrong)),
                state="Nothing was applied.",
                hint="Restore what was released (see `invoke db.status`), "
                "and write changes as a new file with `invoke db.new NAME`.",
            )
        versions = [item.version for item in self.items if item.migration]
        if last is not None and last not in versions:
            newest = f"{versions[-1]:04}" if versions else "none"
            raise UsageError(
                f"there is no migration {last:04}",
                where="--to",
                hint=f"The last one is {newest}. See them all with `invoke db.status`.",
            )
        chosen = tuple(migration for migration in self.pending if last is None or migration.version <= last)
        # Only what applies migrations needs to read their statements.
        from dbops.migrations.reach import assert_within

        refuse_empty(chosen)
        assert_within(chosen)
        return chosen


def read_status(connection: Connection, target: Target, migrations: tuple[Migration, ...]) -> LedgerStatus:
    """Return how the connected database compares with the files.

    Raises ServerError if the role may not read the ledger, PreflightError if another session keeps it locked.
    """
    found: Any = connection.cursor(row_factory=namedtuple_row).execute(_INSPECT.encode()).fetchone()
    if found.columns and tuple(found.columns) != _FIELDS:
        raise MigrationError(
            f"{LEDGER} is not a ledger of this tool: its columns are {', '.join(found.columns)}",
            where=f"database {target.database}",
            state="Nothing was changed.",
            hint="Correct the database's name in DATABASE_URL, or move that table away.",
        )
    entries: tuple[Entry, ...] = ()
    can_be_read = found.columns and not (found.other_kind or found.calls)
    if can_be_read:
        entries = _read(connection, target, "" if found.readable else found.owner)
    problems = [
        f"the ledger {LEDGER} {what}"
        for there, what in (
            (found.other_kind, "is not a plain table"),
            (found.has_rules, "has a rule"),
            (found.has_triggers, "has a trigger"),
            (found.row_security, "has row-level security"),
            (found.calls and not found.other_kind, "calls functions of another role, so it was not read"),
            (
                can_be_read and not entries and found.relation,
                f"is empty, but the database has relations (such as {found.relation})",
            ),
        )
        if there
    ]
    extension = f"TimescaleDB {found.timescaledb}" if found.timescaledb else "TimescaleDB not in this database"
    return LedgerStatus(
        database=target.database,
        server=postgres.server_of(connection, target),
        engine=f"PostgreSQL {found.postgresql.split()[0]}, {extension}",
        has_ledger=bool(found.columns),
        unknown_relation="" if found.columns else found.relation or "",
        items=compare(migrations, entries),
        label=label.read(connection) if found.has_schema else None,
        problems=tuple(problems),
        has_schema=found.has_schema,
        defers=found.defers,
        system_identifier=found.system_identifier,
        owner=found.owner or "",
    )


def _read(connection: Connection, target: Target, reader: str) -> tuple[Entry, ...]:
    """Return the ledger's rows in order of version, read as another role if one is given."""
    statements = [f"SET LOCAL lock_timeout = {round(LOCK_SECONDS * 1000)}", _READ]
    if reader:
        statements = [set_role(reader, local=True).as_string(), *statements, "SET LOCAL ROLE NONE"]
    try:
        cursor = connection.execute("; ".join(statements).encode())
    except psycopg.errors.InsufficientPrivilege as error:
        raise ServerError(
            f"role {connection.info.user} may not read the ledger {LEDGER}: {error.diag.message_primary}",
            where=f"database {target.database}",
            # A grant on the ledger itself would be a change of the schema, which db.verify finds.
            hint=f"Connect as the database's owner, or let a superuser run: GRANT pg_read_all_data TO "
            f"{postgres.quoted(connection.info.user)};",
        ) from None
    except psycopg.errors.LockNotAvailable:
        if connection.info.transaction_status == TransactionStatus.INERROR:
            connection.execute("ROLLBACK")
        with postgres.reading(connection):
            holders = postgres.tables_locked_against_reading(connection)
        raise PreflightError(
            f"the ledger {LEDGER} could not be read for {LOCK_SECONDS:g} s: it is locked",
            where=f"database {target.database}",
            notes=holders,
            state="Nothing was applied.",
            hint="End that session, or wait for it, and run the command again.",
        ) from None
    while cursor.description is None:
        cursor.nextset()
    rows: list[Any] = cursor.fetchall()
    return tuple(Entry(*row) for row in rows)


@cache
def tool(directory: Path) -> str:
    """Return what the ledger says of the tool: its version, and the commit of the checkout that the files are from."""
    # Only what writes to the ledger needs git.
    from dbops.migrations.released import checked_out

    commit = checked_out(directory)
    return f"{__version__} ({commit})" if commit.isalnum() else __version__


def record_sql(migration: Migration, duration_ms: int | None = None, *, begun: bool = False) -> str:
    """Return the statement that writes a file's row; without a duration, the file has not finished.

    `begun` is whether there may be the row of a run that did not finish the file, which it then takes the place of.
    The name of no function or operator is looked up in it, so that any search path will do. It is parsed anew for each
    file: to prepare it saved nothing that could be measured at 1,000 files, once the durations are written together.
    """
    tool_version = tool(migration.path.parent)
    duration = "NULL" if duration_ms is None else str(duration_ms)
    return (
        f"INSERT INTO {LEDGER} (version, name, checksum, duration_ms, tool_version) VALUES "
        f"({migration.version}, '{migration.name}', '{migration.checksum}', {duration}, '{tool_version}')"
        + _REPLACING
        * begun
    )


def digest(rows: dict[int, tuple[str, str, bool]]) -> str:
    """Return the sha256 of rows, as LedgerStatus has them."""
    lines = (f"{v} {name} {checksum} {'t' if done else 'f'}" for v, (name, checksum, done) in sorted(rows.items()))
    return hashlib.sha256("/".join(lines).encode()).hexdigest()


def compare(migrations: tuple[Migration, ...], entries: tuple[Entry, ...]) -> tuple[Item, ...]:
    """Return how the files and the ledger's rows compare, in order of version."""
    files = {migration.version: migration for migration in migrations}
    rows = {entry.version: entry for entry in entries}
    last = max((entry.version for entry in entries if entry.finished), default=0)
    items = []
    for version in sorted(files.keys() | rows.keys()):
        migration, entry = files.get(version), rows.get(version)
        if migration is None:
            items.append(Item(version, rows[version].name, State.REMOVED, None, entry))
            continue
        if entry is None:
            pending = State.PENDING if migration.statements else State.EMPTY
            state = State.SKIPPED if version < last else pending
        elif not entry.finished:
            state = State.UNFINISHED
        elif entry.checksum != migration.checksum:
            state = State.EDITED
        else:
            state = State.APPLIED if entry.name == migration.name else State.RENAMED
        items.append(Item(version, migration.name, state, migration, entry))
    return tuple(items)
