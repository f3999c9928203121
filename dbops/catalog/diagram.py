"""The schema for people: Markdown with a Mermaid diagram and a section per table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dbops.catalog.text import fingerprint, read, schema_text
from dbops.postgres import Connection, reading

QUERIES = ("diagram_columns", "diagram_constraints", "diagram_indexes", "diagram_dimensions", "diagram_types")
HEAD = """# Schema

Written by `invoke db.diagram` from a build of the migrations: change those, not this.
`invoke db.fingerprint` prints `{fingerprint}` for it.
"""

# Mermaid takes letters, digits and underscores in the name of a type.
SHORT = (
    ("timestamp with time zone", "timestamptz"),
    ("timestamp without time zone", "timestamp"),
    ("time with time zone", "timetz"),
    ("time without time zone", "time"),
    ("character varying", "varchar"),
    ("double precision", "float8"),
    ("[]", "_array"),
    ("public.", ""),
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `default` and `comment` are empty if there is none. The fields are those of the query."""

    name: str
    type: str
    not_null: bool
    default: str
    comment: str


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint; `kind` is p, u, f, c or x as in pg_constraint; `refers_to` names a foreign key's table."""

    name: str
    kind: str
    definition: str
    columns: Sequence[str]
    refers_to: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table with all that its section shows; `dimensions` are sentences about a hypertable."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    constraints: tuple[Constraint, ...]
    indexes: tuple[tuple[str, str], ...]
    dimensions: tuple[str, ...]

    def relations(self) -> Iterator[str]:
        """Yield the lines of the diagram for the table's foreign keys."""
        for key in (key for key in self.constraints if key.kind == "f"):
            # One row, or none if a column may be null, to none or many.
            required = all(column.not_null for column in self.columns if column.name in key.columns)
            ends = f"{_entity(key.refers_to)} {'||' if required else '|o'}--o{{ {_entity(self.name)}"
            label = ", ".join(key.columns).replace('"', "'")
            yield f'    {ends} : "{label}"'

    def entity(self) -> Iterator[str]:
        """Yield the lines of the diagram for the table and its columns, with the keys that these are part of."""
        yield f"    {_entity(self.name)} {{"
        for column in self.columns:
            name = re.sub(r"^(?=\d|[PFU]K$)", "_", re.sub(r"\W", "_", column.name))
            kind = column.type
            for long, short in SHORT:
                kind = kind.replace(long, short)
            kind = re.sub(r"[^A-Za-z0-9]+", "_", kind).strip("_")
            part_of = {constraint.kind for constraint in self.constraints if column.name in constraint.columns}
            keys = ", ".join(word for letter, word in (("p", "PK"), ("f", "FK"), ("u", "UK")) if letter in part_of)
            yield f"        {kind} {name} {keys}".rstrip()
        yield "    }"

    def section(self) -> list[str]:
        """Return the lines of the table's section."""
        columns = (
            (_code(c.name), _code(c.type), "no" if c.not_null else "yes", _code(c.default), _cell(c.comment))
            for c in self.columns
        )
        return [
            *(f"## {self.name}", ""),
            *((_cell(self.comment), "") if self.comment else ()),
            *((f"A hypertable: {'; '.join(self.dimensions)}.", "") if self.dimensions else ()),
            *_rows(("column", "type", "null", "default", "meaning"), columns),
            *_rows(("constraint", "definition"), ((_code(c.name), _code(c.definition)) for c in self.constraints)),
            *_rows(("index", "definition"), ((_code(name), _code(text)) for name, text in self.indexes)),
        ]


def diagram(connection: Connection) -> str:
    """Return docs/schema.md for the connected database: the same text for the same schema."""
    with reading(connection):
        head = HEAD.format(fingerprint=fingerprint(schema_text(connection)))
        columns, constraints, indexes, dimensions, types = read(connection, [(name,) for name in QUERIES])
    tables = [
        Table(
            name,
            comment,
            tuple(Column(*row[2:]) for row in columns if row[0] == name),
            tuple(Constraint(*row[1:]) for row in constraints if row[0] == name),
            tuple((index, definition) for table, index, definition in indexes if table == name),
            tuple(f"{kind} dimension `{column}`, {size}" for table, column, kind, size in dimensions if table == name),
        )
        for name, comment in dict(row[:2] for row in columns).items()
    ]
    lines = [*head.split("\n"), "```mermaid", "erDiagram"]
    for table in tables:
        lines += table.relations()
    for table in tables:
        lines += table.entity()
    lines += ["```", ""]
    for table in tables:
        lines += table.section()
    if types:
        cells = [(_code(name), ", ".join(map(_code, labels)), _cell(comment)) for name, labels, comment in types]
        lines += ["## Enumerated types", "", *_rows(("type", "labels, in order", "meaning"), cells)]
    return "\n".join(lines)


def _entity(name: str) -> str:
    """Return a table's name in quotes: bare, Mermaid takes `one`, `class` and others for keywords."""
    return '"' + name.removeprefix("public.").replace('"', "") + '"'


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return a Markdown table with an empty line after it, or nothing if it has no row."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *lines, ""] if lines else []


def _cell(text: str) -> str:
    """Return a text that stays in its cell."""
    return re.sub(r"\s+", " ", text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _code(text: str) -> str:
    return f"`{' '.join(text.split()).replace('|', chr(92) + '|')}`" if text else ""
