"""The errors that an operator sees: one base class, few leaves, each with its exit code.

Every error says three things, in PostgreSQL's style: what failed (lower case, no full stop), where, and what to do
next (a full sentence, naming a command where there is one). What the failure left behind is in `state`, written once,
where the failure is understood.
"""

from __future__ import annotations

import signal
import unicodedata
from dataclasses import dataclass

_WIDEST = 70


@dataclass(frozen=True, slots=True)
class Location:
    """A position in a file: line and column count characters from 1; text is the line without its newline."""

    path: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"

    def excerpt(self) -> str:
        """Return the line with a gutter above and a caret below, aligned under tabs and wide characters.

        A line that is too long for a terminal is cut on both sides of the caret.
        """
        number = str(self.line)
        gutter = " " * len(number) + " |"
        at = min(self.column - 1, len(self.text))
        begin, end = 0, len(self.text)
        if len(self.text) > _WIDEST or sum(map(_cells, self.text)) > _WIDEST:
            begin = end = at
            cells = 0
            while begin and cells < _WIDEST // 2:
                begin -= 1
                cells += _cells(self.text[begin])
            while end < len(self.text) and cells < _WIDEST:
                cells += _cells(self.text[end])
                end += 1
        left, right = "…" * (begin > 0), "…" * (end < len(self.text))
        padding = "".join(c if c == "\t" else " " * _cells(c) for c in left + self.text[begin:at])
        return f"{gutter}\n{number} | {left}{self.text[begin:end]}{right}\n{gutter} {padding}^"


def _cells(character: str) -> int:
    """Return how many terminal columns a character takes: 0, 1 or 2."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def count(number: int, what: str) -> str:
    """Return a number and what it counts, singular or plural."""
    return f"{number:,} {what if number == 1 else what + 's'}"


class DbopsError(Exception):
    """What every task prints as three lines on stderr, and its exit code.

    `where` is a file, a server, an option or a variable; `location` (if given) adds the line and a caret; `notes` are
    further facts, one line each, such as SQLSTATE or PostgreSQL's own detail; `sqlstate` is for machines, and empty
    where the error is not the server's; `state` says in full sentences what the failure left behind.
    """

    exit_code = 3

    def __init__(
        self,
        what: str,
        *,
        where: str,
        hint: str,
        location: Location | None = None,
        notes: tuple[str, ...] = (),
        sqlstate: str = "",
        state: str = "",
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.location = location
        self.notes = notes
        self.sqlstate = sqlstate
        self.state = state

    @property
    def advice(self) -> str:
        """Return what the failure left behind, and what to do next."""
        return f"{self.state} {self.hint}".strip()

    def render(self) -> str:
        """Return the error as plain text, without a newline at the end."""
        lines = [f"error: {self.what}", f"  --> {self.location or self.where}"]
        if self.location:
            lines.append(self.location.excerpt())
        lines += [f"  = {note}" for note in self.notes]
        return "\n".join([*lines, f"hint: {self.advice}"])


class CheckError(DbopsError):
    """A check failed, or drift was found."""

    exit_code = 1


class UsageError(DbopsError):
    """Wrong options, settings or files."""

    exit_code = 2


class ServerError(DbopsError):
    """The server cannot be reached, or cannot do what is needed."""

    exit_code = 3


class UnreachableError(ServerError):
    """No server answered, or not any more."""


class PreflightError(DbopsError):
    """A condition for the operation is not met; nothing was changed."""

    exit_code = 3


class MigrationError(DbopsError):
    """A migration failed, or the ledger and the files disagree."""

    exit_code = 4


class LostConnectionError(MigrationError):
    """The server could not be reached any more during a migration."""

    exit_code = 3


class ConsentError(DbopsError):
    """Data would be lost, and the operator has not agreed to that."""

    exit_code = 5


class UnforeseenError(DbopsError):
    """An exception that no part of the program expects."""

    # EX_SOFTWARE of sysexits.h. Never 1, Python's own: that means a failed check or drift.
    exit_code = 70


class NameTakenError(PreflightError):
    """Another session created a database of the name that a new one was about to get."""


class NotLetInError(PreflightError):
    """The server lets no session into a new database, whose name is not the target's; see pg_hba.conf."""


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end; psycopg cancels the running statement as it does for Ctrl-C.

    `state` says in full sentences what the interruption left behind.
    """

    def __init__(self, number: int = signal.SIGINT, state: str = "") -> None:
        super().__init__()
        self.number = number
        self.state = state
