"""Where in a migration file the server's complaint belongs."""

from __future__ import annotations

import re

from psycopg.errors import Diagnostic

from dbops.errors import Location
from dbops.migrations.statements import Statement

_LINE_END = re.compile(r"[\r\n]")
_INLINE = re.compile(r"\binline_code_block\D+(?P<line>\d+)")
_BODY = re.compile(r"\$\w*\$")


class LineCounter:
    """Tells the lines of offsets that only rise, in one pass over the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._offset = 0
        self._line = 1

    def line_at(self, offset: int) -> int:
        """Return the line, from 1, of an offset that is not before the last one asked for."""
        self._line += sum(self._text.count(end, self._offset, offset) for end in "\r\n")
        self._offset = offset
        return self._line


def place_at(text: str, offset: int, path: str) -> Location:
    """Return the place of the character at an offset (from 0) of a normalised text."""
    offset = min(max(offset, 0), len(text))
    line, start = 1, 0
    for end in _LINE_END.finditer(text, 0, offset):
        line, start = line + 1, end.end()
    stop = _LINE_END.search(text, offset)
    return Location(path, line, offset - start + 1, text[start : stop.start() if stop else len(text)])


def offset_of(text: str, statement: Statement, diag: Diagnostic, *, counts_bytes: bool = False) -> int:
    """Return the offset in the file that an error in a statement of it belongs to.

    It is the server's own position if it gives one; else the line of a DO block that failed, or the place in
    it of the query that failed; else where the statement begins. A server without an encoding (SQL_ASCII)
    counts bytes.
    """
    sql = text[statement.start : statement.end]
    if diag.statement_position:
        position = int(diag.statement_position) - 1
        return statement.start + (_characters(sql, position) if counts_bytes else position)
    return statement.start + (_inside_block(sql, statement, diag) or 0)


def _characters(sql: str, size: int) -> int:
    """Return how many characters the first bytes of a statement are."""
    return len(sql.encode()[:size].decode("utf-8", "ignore"))


def _inside_block(sql: str, statement: Statement, diag: Diagnostic) -> int | None:
    """Return the offset in a DO statement of what failed, if the outermost context is a line of its own body."""
    frames = (diag.context or "").rstrip().split("\n")
    match = _INLINE.search(frames[-1])
    body = _BODY.search(sql)
    if not statement.begins("DO") or not match or not body:
        return None
    start = body.end()
    for _ in range(int(match["line"]) - 1):
        start = sql.find("\n", start) + 1
        if not start:
            return None
    if diag.internal_position and diag.internal_query and _is_innermost(frames):
        query = _find_query(sql, start, diag.internal_query)
        if query is not None:
            return query + int(diag.internal_position) - 1
    return start + len(sql[start:]) - len(sql[start:].lstrip(" \t"))


def _is_innermost(frames: list[str]) -> bool:
    """Tell whether the query that failed is the block's own, and not of a function that it called."""
    return sum("function " in frame for frame in frames) == 1


def _find_query(sql: str, start: int, query: str) -> int | None:
    """Return where a query of a block stands in it; PL/pgSQL blanks out what it takes for itself, as INTO targets."""
    pattern = "".join(r"[\s\S]" if c.isspace() else re.escape(c) for c in query.rstrip())
    found = re.compile(pattern).search(sql, start)
    return found.start() if found else None
