"""What a migration file may contain."""

from __future__ import annotations

from itertools import pairwise

from dbops.errors import Location
from dbops.migrations import headers, indexes
from dbops.migrations.headers import Header
from dbops.migrations.place import place_at
from dbops.migrations.statements import Statement

_OWNED = {
    ("BEGIN",), ("START", "TRANSACTION"), ("COMMIT",), ("END",), ("ROLLBACK",), ("ABORT",),
    ("SAVEPOINT",), ("RELEASE",), ("PREPARE", "TRANSACTION"),
}  # fmt: skip


class UnlawfulError(Exception):
    """What is wrong with one file, for people, and where in it if that is known."""

    def __init__(self, what: str, location: Location | None = None) -> None:
        super().__init__(what)
        self.location = location


def check_statement(path: str, text: str, statement: Statement) -> None:
    """Raise UnlawfulError for what a migration may not contain."""
    words = statement.words
    if statement.psql >= 0:
        what, offset = "psql's backslash commands cannot run here: write SQL only", statement.psql
    elif any(statement.begins(*owned) for owned in _OWNED):
        what, offset = f"{words[0]} is not for a migration: the runner owns the transaction", statement.start
    elif statement.begins("COPY") and {("FROM", "STDIN"), ("TO", "STDOUT")} & set(pairwise(words)):
        what, offset = "COPY has nothing to read from or write to here: use INSERT or a table", statement.start
    else:
        return
    raise UnlawfulError(what, place_at(text, offset, path))


def check_index(path: str, text: str, statement: Statement) -> None:
    """Raise UnlawfulError for an index outside a transaction that could not be found again if it failed."""
    if indexes.builds(statement) and not indexes.build_of(text[statement.start : statement.end]):
        what = "builds an index that is not named: outside a transaction, write CREATE INDEX CONCURRENTLY name ON table"
        raise UnlawfulError(what, place_at(text, statement.start, path))


def check_gap(path: str, text: str, start: int, end: int) -> None:
    """Raise UnlawfulError for a directive between statements or after the last one."""
    if late := headers.DIRECTIVE.search(text, start, end):
        source = place_at(text, late.start(), path)
        raise UnlawfulError("has a directive below its first statement, where it has no effect", source)


def check_whole(text: str, header: Header, count: int) -> None:
    """Raise UnlawfulError for a file without statements, or with too many to run alone."""
    if not count:
        raise UnlawfulError("is empty" if not text.strip() else "has comments only, and no statement")
    if not header.transactional and count != 1:
        raise UnlawfulError(f'says "migrate: no-transaction" and has {count} statements: it must have one')
