"""Cut SQL into statements exactly as PostgreSQL's lexer and psql do, keeping each one's position in the file.

Each statement is sent by itself, so that every failure has a position, even those for which the server reports
none. The rules are those of PostgreSQL's scan.l and psqlscan.l, with standard_conforming_strings on:
quotes, E'' escapes, dollar quotes, nested comments, parentheses (CREATE RULE), and BEGIN ATOMIC bodies.
Time and memory are linear in the size of the text, whatever it contains: every repetition is possessive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dbops.errors import Location

# Letters, and all beyond ASCII, said by what they are not: a range up to U+10FFFF takes long to compile.
_LETTER = r"[^\x00-@\[-^`{-\x7f]"
_LETTER_OR_DIGIT = r"[^\x00-/:-@\[-^`{-\x7f]"
_WORD = rf"{_LETTER}[^\x00-#%-/:-@\[-^`{{-\x7f]*"
_TOKEN = re.compile(
    rf"""
    (?P<skip> [ \t\n\r\f\v]+ | --[^\n\r]* )
  | (?P<comment> /\* )
  | (?P<escaped> [eE]' )
  | (?P<string> '[^']*(?:'|\Z) )
  | (?P<quoted> "[^"]*(?:"|\Z) )
  | (?P<dollar> \$(?:{_LETTER}{_LETTER_OR_DIGIT}*)?\$ )
  | (?P<word> {_WORD} )
  | (?P<end> ; )
  | (?P<open> \(+ )
  | (?P<close> \)+ )
  | (?P<backslash> \\ )
  | (?P<other> [0-9,.=<>+*|:]+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)
# What needs no look inside parentheses, many tokens at a time: rows of VALUES are most of a large file.
_RUN = re.compile(rf"(?:[ \t\n\r\f\v0-9,.:=<>+*|]++|(?>{_WORD})(?!')|'[^']*+')++")
_BETWEEN = re.compile(r"[ \t\n\r\f\v;]+")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_ESCAPED_REST = re.compile(r"(?:[^'\\]++|\\.|'')*+(?:'|\\?\Z)", re.DOTALL)
_CONTINUED = re.compile(r"(?:[ \t\f\v]++|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f\v]++|--[^\n\r]*+[\n\r])*+'")
_LINE_END = re.compile(r"[\r\n]")
_ROUTINE = re.compile(r"CREATE (OR REPLACE )?(FUNCTION|PROCEDURE) ")
_KEPT_WORDS = 12


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement at `text[start:end]`, its semicolon included; `words` are its first words outside parentheses.

    Unquoted words are in capitals, quoted names as they stand; `psql` is the offset of a backslash, or -1.
    """

    start: int
    end: int
    words: tuple[str, ...]
    psql: int = -1

    def begins(self, *words: str) -> bool:
        """Return whether the statement begins with these words."""
        return self.words[: len(words)] == words


class _Open:
    """The statement being read."""

    __slots__ = ("blocks", "depth", "end", "last", "psql", "start", "words")

    def __init__(self) -> None:
        self.start = -1
        self.end = -1
        self.depth = 0
        self.blocks = 0
        self.words: list[str] = []
        self.last = ""
        self.psql = -1

    def word(self, word: str) -> None:
        """Note a word, and follow the BEGIN ATOMIC ... END of a routine, where CASE has an END too."""
        if self.depth:
            return
        capitals = word.upper()
        if self.blocks:
            self.blocks += (capitals == "CASE") - (capitals == "END")
        elif capitals == "ATOMIC" and self.last == "BEGIN" and self._is_routine():
            self.blocks = 1
        self.last = capitals
        if len(self.words) < _KEPT_WORDS:
            self.words.append(capitals)

    def _is_routine(self) -> bool:
        return _ROUTINE.match(" ".join(self.words[:5]) + " ") is not None


def split(text: str) -> Iterator[Statement]:
    """Yield the statements of a text in order; a construct that never ends reaches to the end of the text."""
    current = _Open()
    position = 0
    while True:
        if current.depth and (run := _RUN.match(text, position)):
            position = current.end = run.end()
            continue
        if current.start < 0 and (between := _BETWEEN.match(text, position)):
            position = between.end()
        match = _TOKEN.match(text, position)
        if match is None:
            break
        kind = str(match.lastgroup)
        end = _end_of(kind, match, text)
        position = len(text) if end < 0 else end
        # A comment that never ends belongs to a statement, so that the server refuses it.
        if kind == "skip" or (kind == "comment" and end >= 0):
            continue
        _feed(current, kind, match, position)
        if kind == "end" and not current.depth and not current.blocks:
            yield _closed(current)
            current = _Open()
    if current.start >= 0:
        yield _closed(current)


class LineCounter:
    """Converts ascending offsets into line numbers, in one pass over the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._offset = 0
        self._line = 1

    def line_at(self, offset: int) -> int:
        """Return the line, from 1, of an offset that is not before the last one asked for."""
        self._line += sum(self._text.count(end, self._offset, offset) for end in "\r\n")
        self._offset = offset
        return self._line


def location_at(text: str, offset: int, path: str) -> Location:
    """Return the location of the character at an offset (from 0) of a text in which no line ends with CRLF."""
    offset = min(max(offset, 0), len(text))
    line, start = 1, 0
    for end in _LINE_END.finditer(text, 0, offset):
        line, start = line + 1, end.end()
    stop = _LINE_END.search(text, offset)
    return Location(path, line, offset - start + 1, text[start : stop.start() if stop else len(text)])


def leading(text: str) -> Iterator[str]:
    """Yield the comments, and the blanks between them, that stand before the first statement."""
    position = 0
    while match := _BETWEEN.match(text, position) or _TOKEN.match(text, position):
        end = _end_of(str(match.lastgroup), match, text)
        if match.lastgroup not in (None, "skip", "comment") or end < 0:
            return
        yield text[position:end]
        position = end


def without_comments(text: str) -> str:
    """Return a text with each comment replaced by a blank."""
    parts: list[str] = []
    position = 0
    while match := _TOKEN.match(text, position):
        kind, start = str(match.lastgroup), position
        end = _end_of(kind, match, text)
        position = len(text) if end < 0 else end
        parts.append(" " if kind in ("skip", "comment") else text[start:position])
    return "".join(parts)


def _feed(current: _Open, kind: str, match: re.Match[str], end: int) -> None:
    """Add a token to the statement being read."""
    if current.start < 0:
        current.start = match.start()
    current.end = end
    if kind == "word":
        current.word(match.group())
    elif kind == "quoted" and not current.depth and len(current.words) < _KEPT_WORDS:
        current.words.append(match.group())
    elif kind == "open":
        current.depth += len(match.group())
    elif kind == "close":
        current.depth = max(0, current.depth - len(match.group()))
    elif kind == "backslash" and current.psql < 0:
        current.psql = match.start()


def _closed(current: _Open) -> Statement:
    return Statement(current.start, current.end, tuple(current.words), current.psql)


def _end_of(kind: str, match: re.Match[str], text: str) -> int:
    """Return where a token ends, for those that a single pattern cannot follow."""
    if kind == "comment":
        return _end_of_comment(text, match.end())
    if kind == "escaped":
        return _end_of_escaped(text, match.end())
    if kind == "dollar":
        close = text.find(match.group(), match.end())
        return len(text) if close < 0 else close + len(match.group())
    return match.end()


def _end_of_comment(text: str, position: int) -> int:
    """Return the end of a comment, which may hold others, or -1 if it has none."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(text, position)):
        depth += 1 if edge.group() == "/*" else -1
        position = edge.end()
    return -1 if depth else position


def _end_of_escaped(text: str, position: int) -> int:
    """Return the end of an E'' string, which goes on, still escaped, in a quote on a later line."""
    while True:
        rest = _ESCAPED_REST.match(text, position)
        position = rest.end() if rest else len(text)
        again = _CONTINUED.match(text, position)
        if again is None:
            return position
        position = again.end()
