"""What the ledger and the files say together: applied, pending, and whatever does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dbops.errors import MigrationError
from dbops.migrations.files import Migration, first_of
from dbops.migrations.ledger import Entry


class State(StrEnum):
    """How a version stands; the last four stop `db.migrate`, and `unfinished` is taken up again by it."""

    APPLIED = "applied"
    PENDING = "pending"
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

    `engine` is PostgreSQL and TimescaleDB with their versions, for people; `stranger` names a relation that is there
    without any ledger.
    """

    database: str
    server: str
    engine: str
    has_ledger: bool
    stranger: str
    items: tuple[Item, ...]

    def having(self, *states: State) -> tuple[Item, ...]:
        """Return the items in any of these states."""
        return tuple(item for item in self.items if item.state in states)

    @property
    def pending(self) -> tuple[Migration, ...]:
        """Return the files that are still to be applied, an unfinished one among them."""
        items = self.having(State.PENDING, State.UNFINISHED)
        return tuple(item.migration for item in items if item.migration)

    @property
    def summary(self) -> str:
        """Return how many versions there are in each state, for people."""
        counts = [f"{len(self.having(state))} {state}" for state in State if self.having(state)]
        return ", ".join(counts) or "no migrations"

    @property
    def disagreements(self) -> tuple[Item, ...]:
        """Return what stops `db.migrate`."""
        return self.having(State.EDITED, State.RENAMED, State.REMOVED, State.SKIPPED)

    @property
    def consistent(self) -> bool:
        """Tell whether ledger, files and database agree and nothing was left half-way."""
        return not (self.disagreements or self.having(State.UNFINISHED) or self.stranger)


def compare(migrations: tuple[Migration, ...], entries: tuple[Entry, ...]) -> tuple[Item, ...]:
    """Return how the files and the ledger's rows stand to each other, in order of version."""
    files = {migration.version: migration for migration in migrations}
    rows = {entry.version: entry for entry in entries}
    last = max((entry.version for entry in entries if entry.finished), default=0)
    items = []
    for version in sorted(files.keys() | rows.keys()):
        migration, entry = files.get(version), rows.get(version)
        name = migration.name if migration else rows[version].name
        items.append(Item(version, name, _state(version, migration, entry, last), migration, entry))
    return tuple(items)


def _state(version: int, migration: Migration | None, entry: Entry | None, last: int) -> State:
    if migration is None:
        return State.REMOVED
    if entry is None:
        return State.SKIPPED if version < last else State.PENDING
    if not entry.finished:
        return State.UNFINISHED
    if entry.checksum != migration.checksum:
        return State.EDITED
    return State.APPLIED if entry.name == migration.name else State.RENAMED


def refuse_disagreement(status: LedgerStatus) -> None:
    """Raise MigrationError if files and ledger disagree."""
    wrong = status.disagreements
    if not wrong:
        return
    kinds = ", ".join(f"{len(status.having(s))} {s}" for s in State if s in {item.state for item in wrong})
    raise MigrationError(
        f"files and ledger disagree: {kinds}",
        where=f"database {status.database}",
        notes=first_of(tuple(f"{item.name}: {item.state}; {item.explanation}" for item in wrong)),
        hint="Nothing was applied. Restore what was released (see `invoke db.status`), "
        "and write changes as a new file with `invoke db.new NAME`.",
    )
