"""Cut SQL into statements exactly as PostgreSQL's lexer and psql do, keeping each one's position in the file.

Each statement is sent by itself, so that every failure has a position, even those for which the server reports
none. The rules are those of PostgreSQL's scan.l and psqlscan.l, with standard_conforming_strings on:
quotes, E'' escapes, dollar quotes, nested comments, parentheses (CREATE RULE), and BEGIN ATOMIC bodies.
Time and memory are linear in the size of the text, whatever it contains: every repetition is possessive. The names in
statements are here too, in patterns and in the form that the catalog has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from sys import intern

from dbops.errors import Location

# Letters and everything beyond ASCII, as negated classes: a range up to U+10FFFF takes long to compile.
_LETTER = r"[^\x00-@\[-^`{-\x7f]"
_LETTER_OR_DIGIT = r"[^\x00-/:-@\[-^`{-\x7f]"
_WORD = rf"{_LETTER}[^\x00-#%-/:-@\[-^`{{-\x7f]*"
# Blanks, and the token behind them.
_TOKEN = re.compile(
    rf"""[ \t\n\r\f\v]*+ (?:
    (?P<escaped> [eE]' )
  | (?P<word> {_WORD} )
  | (?P<end> ; )
  | (?P<open> \(+ )
  | (?P<close> \)+ )
  | (?P<line_comment> --[^\n\r]* )
  | (?P<comment> /\* )
  | (?P<string> '[^']*(?:'|\Z) )
  | (?P<quoted> "[^"]*(?:"|\Z) )
  | (?P<dollar> \$(?:{_LETTER}{_LETTER_OR_DIGIT}*)?\$ )
  | (?P<backslash> \\ )
  | (?P<nothing> \Z )
  | (?P<other> [0-9,.=<>+*|:]+ | . )
    )""",
    re.VERBOSE | re.DOTALL,
)
# What needs no look inside parentheses, many tokens at a time: rows of VALUES are most of a large file.
_RUN = re.compile(rf"(?:[ \t\n\r\f\v0-9,.:=<>+*|]++|(?>{_WORD})(?!')|'[^']*+')++")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_ESCAPED_REST = re.compile(r"(?:[^'\\]++|\\.|'')*+(?:'|\\?\Z)", re.DOTALL)
_CONTINUED = re.compile(r"(?:[ \t\f\v]++|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f\v]++|--[^\n\r]*+[\n\r])*+'")
_ANY_WORD = re.compile(r"\w+")
_LINE_END = re.compile(r"[\r\n]")
# Names as a text writes them.
NAME = r'(?:"(?:[^"]|"")++"|[^\W\d][\w$]*+)'
CREATES_ROUTINE = re.compile(r"CREATE (OR REPLACE )?(FUNCTION|PROCEDURE) ")
_KEPT_WORDS = 12


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement between two offsets of a `source`, on a line counted from 1, with its semicolon.

    `words` are its first words outside parentheses: unquoted ones in capitals, quoted names as they stand. `psql` is
    the offset of a backslash, or -1.
    """

    source: str = field(repr=False)
    start: int
    end: int
    line: int
    words: tuple[str, ...]
    psql: int = -1

    @property
    def text(self) -> str:
        """Return its text, which is not kept: what has many statements is held in memory once."""
        return self.source[self.start : self.end]

    def begins(self, *words: str) -> bool:
        """Return whether the statement begins with these words."""
        return self.words[: len(words)] == words


@dataclass(slots=True)
class _Open:
    """The statement being read; `blocks` counts what END has yet to close of a BEGIN ATOMIC body."""

    start: int = -1
    end: int = -1
    depth: int = 0
    blocks: int = 0
    words: list[str] = field(default_factory=list)
    last: str = ""
    psql: int = -1

    def word(self, word: str) -> None:
        """Note a word, and follow the BEGIN ATOMIC ... END of a routine, where CASE has an END too."""
        # The same few words begin most statements.
        capitals = intern(word.upper())
        if self.blocks:
            self.blocks += (capitals == "CASE") - (capitals == "END")
        elif capitals == "ATOMIC" and self.last == "BEGIN" and CREATES_ROUTINE.match(" ".join(self.words[:5]) + " "):
            self.blocks = 1
        self.last = capitals
        if len(self.words) < _KEPT_WORDS:
            self.words.append(capitals)


def split(text: str) -> Iterator[Statement]:
    """Yield the statements of a text in order; a construct that never ends reaches to the end of the text."""
    current = _Open()
    position, line, counted = 0, 1, 0
    while position < len(text) or current.start >= 0:
        if current.depth and (run := _RUN.match(text, position)):
            position = current.end = run.end()
            continue
        kind, start, position = _token(text, position)
        if kind == "comment" or (kind in ("end", "nothing") and current.start < 0):
            continue
        if kind != "nothing":
            current.start = start if current.start < 0 else current.start
            current.end = position
        if kind == "word" and not current.depth:
            current.word(text[start:position])
        elif kind == "quoted" and not current.depth and len(current.words) < _KEPT_WORDS:
            current.words.append(text[start:position])
        elif kind == "open":
            current.depth += position - start
        elif kind == "close":
            current.depth = max(0, current.depth - (position - start))
        elif kind == "backslash" and current.psql < 0:
            current.psql = start
        elif kind == "nothing" or (kind == "end" and not current.depth and not current.blocks):
            line += _line_ends(text, counted, current.start)
            counted = current.start
            yield Statement(text, counted, current.end, line, tuple(current.words), current.psql)
            current = _Open()


def location_at(text: str, offset: int, path: str) -> Location:
    """Return the location of the character at an offset (from 0) of a text in which no line ends with CRLF."""
    offset = min(max(offset, 0), len(text))
    start = max(text.rfind(end, 0, offset) for end in "\r\n") + 1
    stop = _LINE_END.search(text, offset)
    line = _line_ends(text, 0, offset) + 1
    return Location(path, line, offset - start + 1, text[start : stop.start() if stop else len(text)])


def tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the kind, the start and the end of each token of a text, comments among them, without the blanks between.

    A run of parentheses is one token, and so is one of operators, commas, and digits. Blanks at the end of the text are
    followed by a token of kind "nothing".
    """
    position = 0
    while position < len(text):
        kind, start, position = _token(text, position)
        yield kind, start, position


def leading(text: str) -> Iterator[str]:
    """Yield the comments, and the blanks between them, that stand before the first statement."""
    position = 0
    for kind, start, end in tokens(text):
        if start > position:
            yield text[position:start]
        if kind not in ("comment", "end"):
            return
        yield text[start:end]
        position = end


def all_words(text: str) -> set[str]:
    """Return the words of a text in lower case, those in comments and literals too: to see what is not there."""
    return set(_ANY_WORD.findall(text.lower()))


def without_comments(text: str) -> str:
    """Return a text with each comment, and blanks between words, replaced by one blank."""
    parts: list[str] = []
    position = 0
    for kind, start, end in tokens(text):
        parts += [" " if start > position else "", " " if kind == "comment" else text[start:end]]
        position = end
    return "".join(parts)


def stored(name: str) -> str:
    """Return a name, or two with a dot between them, without quotes and in the case that PostgreSQL keeps."""
    parts = [part[1:-1].replace('""', '"') if part[0] == '"' else part.lower() for part in re.findall(NAME, name)]
    return ".".join(parts)


def qualified(table: str) -> str:
    """Return a table's name as PostgreSQL keeps it, with the schema public where none is written."""
    name = stored(table)
    return name if len(re.findall(NAME, table)) > 1 else f"public.{name}"


def _line_ends(text: str, start: int, end: int) -> int:
    return text.count("\n", start, end) + text.count("\r", start, end)


def _token(text: str, position: int) -> tuple[str, int, int]:
    """Return the kind, the start and the end of the token at a position, or behind the blanks there.

    It is of kind "nothing" at the end of the text. A comment that never ends belongs to a statement, so that the
    server refuses it: it is of kind "other".
    """
    match = _TOKEN.match(text, position)
    assert match  # noqa: S101 - some alternative matches everywhere
    kind, start, end = match.lastgroup or "", match.start(match.lastindex or 0), match.end()
    if kind == "line_comment":
        return "comment", start, end
    if kind == "comment":
        depth = 1
        while depth and (edge := _COMMENT_EDGE.search(text, end)):
            depth += 1 if edge.group() == "/*" else -1
            end = edge.end()
        return ("other", start, len(text)) if depth else (kind, start, end)
    if kind == "dollar":
        close = text.find(match["dollar"], end)
        return kind, start, len(text) if close < 0 else close + end - start
    while kind == "escaped":
        rest = _ESCAPED_REST.match(text, end)
        end = rest.end() if rest else len(text)
        # It goes on, still escaped, in a quote on a later line.
        more = _CONTINUED.match(text, end)
        if more is None:
            break
        end = more.end()
    return kind, start, end
