"""The statements of a migration by their tokens, so that nothing hides behind what a parser does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from dbops.migrations.sqlsplit import qualified, split
from dbops.migrations.tokens import Token, form, listed, outside, read, split_at

# Names in the form of a statement.
WORD = r'(?:"[^"]*"|[^\s."()]+)'
NAME = rf"{WORD}(?: \. {WORD})*"
LIST = rf"(?P<names>{NAME}(?: , {NAME})*)"
NAMED = rf"(?P<name>{NAME})"
MAYBE = r"(?:IF (?:NOT )?EXISTS )?(?:ONLY )?"
CREATES_TABLE = re.compile(rf"CREATE (?:UNLOGGED |FOREIGN )?TABLE {MAYBE}{NAMED} ")
DROPS_TABLES = re.compile(rf"DROP TABLE {MAYBE}{LIST} ")
CREATES_INDEX = re.compile(
    rf"CREATE (?P<unique>UNIQUE )?INDEX (?P<concurrently>CONCURRENTLY )?(?:IF NOT EXISTS )?(?:(?P<index>{WORD}) )??"
    rf"ON (?P<only>ONLY )?{NAMED} "
)
_ALTERS_TABLE = re.compile(rf"ALTER (?:FOREIGN )?TABLE {MAYBE}{NAMED} (?:\* )?")
_ADDS = re.compile(r"ADD (?:COLUMN )?(?:IF NOT EXISTS )?")
_NO_COLUMN = {"CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "EXCLUDE", "LIKE"}
_AFTER_TYPE = {
    "CONSTRAINT", "NOT", "NULL", "DEFAULT", "PRIMARY", "UNIQUE", "REFERENCES", "CHECK", "GENERATED", "COLLATE",
    "COMPRESSION", "STORAGE", "USING",
}  # fmt: skip


@dataclass(frozen=True)
class Tokens:
    """A statement's tokens; `form` leaves out what stands in parentheses, `nested` does not."""

    parts: list[Token]

    @cached_property
    def form(self) -> str:
        """Return the form without what stands in parentheses."""
        return form(self.parts, nested=False)

    @cached_property
    def nested(self) -> str:
        """Return the whole form."""
        return form(self.parts, nested=True)

    @property
    def offset(self) -> int:
        """Return where it begins in the file."""
        return self.parts[0].offset

    def named(self, pattern: re.Pattern[str]) -> str:
        """Return the name, with its schema, that a statement of a kind is about; empty for another statement."""
        match = pattern.match(self.form)
        return self.name(match) if match else ""

    def name(self, match: re.Match[str]) -> str:
        """Return the name, with its schema, that a pattern has matched in the form, which shows no blank in a name."""
        begin = self.form.count(" ", 0, match.start("name"))
        parts = outside(self.parts)[begin : begin + match["name"].count(" ") + 1]
        names = [part.name for part in parts if part.name]
        return ".".join(names if len(names) > 1 else ["public", *names])

    def calls(self, pattern: str) -> Iterator[Token]:
        """Yield the names of the functions that are called and match."""
        for part, after in pairwise(self.parts):
            if part.name and after.text == "(" and after.kind == "other" and re.fullmatch(pattern, part.name):
                yield part

    @cached_property
    def actions(self) -> list[Tokens]:
        """Return the actions of an ALTER TABLE; none for another statement."""
        match = _ALTERS_TABLE.match(self.form)
        if not match:
            return []
        parts = self.parts[len(match[0].split()) :]
        if parts and parts[-1].text == ";" and parts[-1].kind == "other":
            parts = parts[:-1]
        return [Tokens(action) for action in split_at(parts, {","}) if action]

    @property
    def table(self) -> str:
        """Return the table that a statement creates, alters, indexes or (as the first) drops; empty if none."""
        drops = DROPS_TABLES.match(self.form)
        dropped = qualified(drops["names"].split(" , ")[0]) if drops else ""
        return self.named(CREATES_TABLE) or self.altered or self.named(CREATES_INDEX) or dropped

    @property
    def altered(self) -> str:
        """Return the table that an ALTER TABLE is about, with its schema; empty for another statement."""
        return self.named(_ALTERS_TABLE)

    @property
    def added_column(self) -> Column | None:
        """Return the column that this adds as an action of ALTER TABLE; None for another action."""
        match = _ADDS.match(self.form)
        return defined_column(self.parts[len(match[0].split()) :]) if match else None

    @property
    def tables_read(self) -> set[str]:
        """Return the tables that a query reads, also one that fills a materialized view."""
        begins = re.match(r"(?:SELECT|WITH|CREATE MATERIALIZED VIEW|REFRESH|ANALYZE)\b", self.form)
        if not begins or "WITH NO DATA" in self.form:
            return set()
        named = re.finditer(rf"\b(?:FROM|JOIN) (?:ONLY )?{NAMED} ", self.nested)
        return {qualified(match["name"]) for match in named}

    @property
    def inside(self) -> list[list[Token]]:
        """Return what the first pair of parentheses lists, as the columns of a table or an index."""
        return [part for part in listed(self.parts) if part]


@lru_cache(maxsize=1024)
def statements(text: str) -> tuple[Tokens, ...]:
    """Return the statements of a file in order."""
    return tuple(Tokens(read(statement.text, statement.start)) for statement in split(text))


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a definition writes it: its type is in lower case and without blanks."""

    name: str
    type: str
    not_null: bool


def defined_column(parts: list[Token]) -> Column | None:
    """Return the column that a part of CREATE TABLE defines; None for a constraint."""
    if len(parts) < 2 or not parts[0].name or (parts[0].kind == "word" and parts[0].text in _NO_COLUMN):
        return None
    stop = next(
        (n for n, part in enumerate(parts) if n and part.kind == "word" and part.text in _AFTER_TYPE), len(parts)
    )
    words = [part.text for part in parts if part.kind == "word"]
    return Column(
        parts[0].name,
        "".join(part.text.lower() for part in parts[1:stop]),
        ("NOT", "NULL") in pairwise(words) or "PRIMARY" in words,
    )
