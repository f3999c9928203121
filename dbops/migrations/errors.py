"""The errors of a run: what failed, at which location of which file, and what to do next."""

from __future__ import annotations

import re
from functools import cached_property

import psycopg

from dbops.errors import Location, LostConnectionError, MigrationError, count
from dbops.migrations.files import Migration
from dbops.migrations.sqlsplit import Statement, location_at
from dbops.postgres import is_concurrent

_AGAIN = "Fix the file and run the command again."
_HINTS = {
    "53200": "One transaction of so many files needs more locks than the server has room for: "
    "raise max_locks_per_transaction, or commit each file with `invoke db.migrate --commit file`.",
    "57014": "Another session canceled it, as with pg_cancel_backend: ask why, then run the command again.",
    "55P04": "A value that ALTER TYPE adds can be used only after a commit: put the ALTER TYPE in a file of its own, "
    "with `-- migrate: own-transaction` in the header, or commit each file with `invoke db.migrate --commit file`. "
    "`--check` commits nothing, so it cannot try the files that use the value.",
    "42501": "The file may be right: the role lacks a privilege. Connect as the owner of the database and of what the "
    "file changes, or grant the privilege, and run the command again.",
    "25006": "Nothing can be written here: the server is a standby, or the role or the database is set to read only. "
    "Connect to the primary server, and run the command again.",
    "53100": "Make room on the server's disk, and run the command again.",
    "53300": "Wait for sessions to end, or raise the limit on connections, and run the command again.",
    "25001": "If it cannot run in a transaction, put it in a file of its own with `-- migrate: no-transaction` "
    "in the header, and run the command again.",
}
_TIMED_OUT = (
    "If it needs longer, say so with --statement-timeout or in the file's header "
    "(`-- statement-timeout: 10min`), and run the command again."
)
# The first letters of SQLSTATEs of which the file is not, or not alone, the cause.
_HINTS_BY_CLASS = {
    "23": "If the rows that are there do not fit, correct them; else fix the file. Then run the command again.",
    "58": "The server's log has more: correct that, and run the command again.",
    "XX": "This is a fault of the server or of an extension, and its log has more: correct that, or find "
    "another way to write the file, and run the command again.",
}
_CONCURRENT = (
    "Another session was changing the same objects: let it end, and run the command again. Nothing is wrong "
    "with the file."
)
_NO_LOCK = {"55P03", "40P01"}  # lock_not_available, deadlock_detected
_INLINE = re.compile(r"\binline_code_block\D+(?P<line>\d+)")
_BODY = re.compile(r"\$\w*\$")
_COMPARED_CHARACTERS = 200


class StatementError(Exception):
    """The server's error for something in a migration, before it is decided what follows from it.

    `statement` is the one of the file's that failed, if it was one; a server without an encoding (`counts_bytes`)
    gives positions in bytes. `timed_out` is whether the statement ran for as long as its statement timeout, `waited`
    for how many seconds the attempt had waited for locks if that is why it was canceled.
    """

    def __init__(
        self,
        migration: Migration,
        error: psycopg.Error,
        statement: Statement | None = None,
        *,
        counts_bytes: bool = False,
        timed_out: bool = False,
        waited: float = 0.0,
    ) -> None:
        super().__init__(str(error))
        self.migration = migration
        self.error = error
        self.statement = statement
        self.counts_bytes = counts_bytes
        self.timed_out = timed_out
        self.waited = waited

    @cached_property
    def location(self) -> Location | None:
        """Return the location in the file that the error belongs to; None if no statement of the file's failed.

        It is the server's own position if it gives one; else the line of a DO block that failed, or the position in
        it of the query that failed; else where the statement begins.
        """
        if not self.statement:
            return None
        sql, diag, offset = self.statement.text, self.error.diag, 0
        position = int(diag.statement_position or 0) - 1
        if self.counts_bytes and position >= 0:
            position = len(sql.encode()[:position].decode("utf-8", "ignore"))
        # The outermost context of what fails in a DO block is a line of its body.
        frames = (diag.context or "").rstrip().split("\n")
        match = _INLINE.search(frames[-1])
        body = _BODY.search(sql)
        # An EXECUTE without arguments has nothing to point at: the position is one in the text that was prepared.
        if 0 <= position <= len(sql) and not (self.statement.begins("EXECUTE") and "(" not in sql):
            offset = position
        elif self.statement.begins("DO") and match and body:
            before = sql[body.end() :].split("\n", int(match["line"]) - 1)
            if len(before) == int(match["line"]):
                start = len(sql) - len(before[-1])
                offset = start + len(before[-1]) - len(before[-1].lstrip(" \t"))
                # The query is the block's own, and not that of a function which it called.
                if diag.internal_position and diag.internal_query and sum("function " in f for f in frames) == 1:
                    # PL/pgSQL blanks out what is its own, such as INTO targets.
                    words = diag.internal_query.rstrip()[:_COMPARED_CHARACTERS]
                    pattern = "".join(r"[\s\S]" if c.isspace() else re.escape(c) for c in words)
                    if query := re.compile(pattern).search(sql, start):
                        offset = query.start() + int(diag.internal_position) - 1
        return location_at(self.migration.text, self.statement.start + offset, self.migration.label)

    @property
    def without_lock(self) -> bool:
        """Return whether a lock could not be acquired: after a lock timeout, a deadlock, or too long a wait for all."""
        return self.error.sqlstate in _NO_LOCK or bool(self.waited)

    @property
    def words(self) -> str:
        """Return what the server says, or why its statement was canceled."""
        if self.waited:
            return f"canceled, since this attempt had waited for locks for {self.waited:.1f} s"
        return self.error.diag.message_primary or str(self.error).strip().split("\n")[0]

    @property
    def concurrent(self) -> bool:
        """Return whether another session changed the same objects at the same moment."""
        return is_concurrent(self.error)

    @property
    def transient(self) -> bool:
        """Return whether another attempt may succeed."""
        return self.without_lock or self.concurrent


def failed(
    failure: StatementError,
    state: str,
    *,
    holders: tuple[str, ...] = (),
    attempts: int = 1,
    notes: tuple[str, ...] = (),
) -> MigrationError:
    """Return the operator's error for a migration that the server refused.

    Where a lock could not be acquired within the lock budget, it names the `holders` and counts the `attempts`.
    """
    error, name, words = failure.error, failure.migration.name, failure.words
    diag = error.diag
    facts = {
        "SQLSTATE": f"{error.sqlstate} ({type(error).__name__})" if error.sqlstate else None,
        "detail": diag.message_detail,
        "server's hint": diag.message_hint,
        "query": diag.internal_query,
        "context": diag.context,
    }
    said = (f"{key}: {fact.strip().replace(chr(10), chr(10) + '      ')}" for key, fact in facts.items() if fact)
    held: tuple[str, ...] = ()
    counted = count(attempts, "attempt")
    if failure.without_lock:
        what = f"migration {name} could not acquire a lock after {counted}: {words}"
        held = tuple(f"held by {holder}" for holder in holders) or ("the holder is unknown",)
        hint = "End that session or wait for it, or allow more attempts with `invoke db.migrate --lock-budget 30min`."
    elif failure.concurrent:
        what, hint = f"migration {name} failed after {counted}: {words}", _CONCURRENT
    else:
        what = f"migration {name} failed: {words}"
        known = _HINTS_BY_CLASS.get((error.sqlstate or "")[:2], _AGAIN)
        hint = _TIMED_OUT if failure.timed_out else _HINTS.get(error.sqlstate or "", known)
    return MigrationError(
        what,
        where=failure.migration.label,
        location=failure.location,
        notes=(*held, *said, *notes),
        sqlstate=error.sqlstate or "",
        state=state,
        hint=hint,
    )


def lost(failure: StatementError, state: str, *, commit: bool = False) -> LostConnectionError:
    """Return the operator's error for a connection that ended during a migration, or during its commit."""
    during = "the commit" if commit else f"migration {failure.migration.name}"
    return LostConnectionError(
        f"the connection was lost during {during}",
        where="COMMIT" if commit else failure.migration.label,
        location=failure.location,
        notes=tuple(f"server: {line}" for line in str(failure.error).strip().split("\n")),
        sqlstate=failure.error.sqlstate or "",
        state=state,
        hint="When the server is back (`invoke db.wait`), run the command again.",
    )
