"""The errors of a run: what failed, where in which file, and in which state the database is."""

from __future__ import annotations

import psycopg

from dbops.errors import Location, MigrationError
from dbops.migrations.files import Migration

_HINTS = {
    "53200": "One transaction of so many files needs more locks than the server has room for: "
    "raise max_locks_per_transaction, or apply them in portions with `invoke db.migrate --to NNNN`.",
    "57014": "If it needs longer, say so with --statement-timeout or in the file's header "
    "(`-- statement-timeout: 10min`), and run `invoke db.migrate` again.",
    "55P04": "A value that ALTER TYPE adds can be used only after a commit: apply the files up to that one first, with "
    "`invoke db.migrate --to NNNN`, or put the ALTER TYPE in a file of its own with `-- migrate: no-transaction` "
    "in the header.",
    "25001": "If it cannot run in a transaction, put it in a file of its own with `-- migrate: no-transaction` "
    "in the header, and run `invoke db.migrate` again.",
}
_CANCELED = "Somebody canceled it, as with pg_cancel_backend: ask who and why, then run `invoke db.migrate` again."
_AGAIN = "Fix the file and run `invoke db.migrate` again."


def failed(
    migration: Migration,
    error: psycopg.Error,
    state: str,
    source: Location | None = None,
    extra: tuple[str, ...] = (),
) -> MigrationError:
    """Return the operator's error for a migration that the server refused."""
    words = error.diag.message_primary or str(error).strip().split("\n")[0]
    return MigrationError(
        f"migration {migration.name} failed: {words}",
        where=migration.label,
        location=source,
        notes=(*_notes(error), *extra),
        hint=f"{state} {_hint(error, words)}",
        sqlstate=error.sqlstate or "",
    )


def _hint(error: psycopg.Error, words: str) -> str:
    """Return what to do next; a timeout and somebody's wish have the same SQLSTATE."""
    if error.sqlstate == "57014" and "user request" in words:
        return _CANCELED
    return _HINTS.get(error.sqlstate or "", _AGAIN)


def lost(migration: Migration | None, error: psycopg.Error, state: str, source: Location | None) -> MigrationError:
    """Return the operator's error for a connection that ended under a migration, or under its commit."""
    during = f"migration {migration.name}" if migration else "the commit"
    return MigrationError(
        f"the connection was lost during {during}",
        where=migration.label if migration else "COMMIT",
        location=source,
        notes=tuple(f"server: {line}" for line in str(error).strip().split("\n")),
        sqlstate=error.sqlstate or "",
        hint=f"{state} When the server is back (`invoke db.wait`), run `invoke db.migrate` again.",
    )


def busy(
    migration: Migration,
    error: psycopg.Error,
    state: str,
    source: Location | None,
    blockers: tuple[str, ...],
    tries: int,
    extra: tuple[str, ...] = (),
) -> MigrationError:
    """Return the operator's error for a lock that could not be had in any of several tries."""
    who = tuple(f"held by {blocker}" for blocker in blockers) or ("who holds it was not seen",)
    return MigrationError(
        f"migration {migration.name} could not have a lock in {tries} {'try' if tries == 1 else 'tries'}: "
        f"{error.diag.message_primary}",
        where=migration.label,
        location=source,
        notes=(*who, *_notes(error), *extra),
        sqlstate=error.sqlstate or "",
        hint=f"{state} End that session or wait for it, "
        "or allow longer waits with `invoke db.migrate --lock-timeout 30s`.",
    )


def _notes(error: psycopg.Error) -> tuple[str, ...]:
    """Return PostgreSQL's own words, one fact a line."""
    diag = error.diag
    name = type(error).__name__
    facts = {
        "SQLSTATE": f"{error.sqlstate} ({name})" if error.sqlstate else None,
        "detail": diag.message_detail,
        "server's hint": diag.message_hint,
        "query": diag.internal_query,
        "context": diag.context,
    }
    return tuple(f"{key}: {_indented(value)}" for key, value in facts.items() if value)


def _indented(value: str) -> str:
    return value.strip().replace("\n", "\n      ")
