"""The schema for people: Markdown with a Mermaid diagram and a section per table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dbops.catalog.text import Rows, fingerprint, read, schema_text
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

    def keys(self, column: str) -> str:
        """Return the keys that a column is part of, as Mermaid writes them."""
        kinds = {constraint.kind for constraint in self.constraints if column in constraint.columns}
        return ", ".join(word for kind, word in (("p", "PK"), ("f", "FK"), ("u", "UK")) if kind in kinds)


def diagram(connection: Connection) -> str:
    """Return docs/schema.md for the connected database: the same text for the same schema."""
    with reading(connection):
        head = HEAD.format(fingerprint=fingerprint(schema_text(connection)))
        columns, constraints, indexes, dimensions, types = read(connection, [(name,) for name in QUERIES])
    tables = _tables(columns, constraints, indexes, dimensions)
    parts = [head, _mermaid(tables), *(_section(table) for table in tables), _types(types)]
    return "\n".join(part for part in parts if part)


def _tables(columns: Rows, constraints: Rows, indexes: Rows, dimensions: Rows) -> tuple[Table, ...]:
    return tuple(
        Table(
            name,
            comment,
            tuple(Column(*row[2:]) for row in columns if row[0] == name),
            tuple(Constraint(*row[1:]) for row in constraints if row[0] == name),
            tuple((index, definition) for table, index, definition in indexes if table == name),
            tuple(f"{kind} dimension `{column}`, {size}" for table, column, kind, size in dimensions if table == name),
        )
        for name, comment in dict(row[:2] for row in columns).items()
    )


def _mermaid(tables: tuple[Table, ...]) -> str:
    lines = ["```mermaid", "erDiagram"]
    for table in tables:
        lines += [_relation(table, key) for key in table.constraints if key.kind == "f"]
    for table in tables:
        lines.append(f"    {_entity(table.name)} {{")
        lines += [f"        {_attribute(table, column)}" for column in table.columns]
        lines.append("    }")
    return "\n".join([*lines, "```", ""])


def _relation(table: Table, key: Constraint) -> str:
    """Return a foreign key as a line: one (or, if a column may be null, none or one) to none or many."""
    required = all(column.not_null for column in table.columns if column.name in key.columns)
    one = "||" if required else "|o"
    label = ", ".join(key.columns).replace('"', "'")
    return f'    {_entity(key.refers_to)} {one}--o{{ {_entity(table.name)} : "{label}"'


def _entity(name: str) -> str:
    """Return a table's name in quotes: bare, Mermaid takes `one`, `class` and others for keywords."""
    return '"' + name.removeprefix("public.").replace('"', "") + '"'


def _attribute(table: Table, column: Column) -> str:
    name = re.sub(r"^(?=\d|[PFU]K$)", "_", re.sub(r"\W", "_", column.name))
    return f"{_short_type(column.type)} {name} {table.keys(column.name)}".rstrip()


def _short_type(name: str) -> str:
    for long, short in SHORT:
        name = name.replace(long, short)
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")


def _section(table: Table) -> str:
    lines = [f"## {table.name}", ""]
    lines += [_cell(table.comment), ""] if table.comment else []
    lines += [f"A hypertable: {'; '.join(table.dimensions)}.", ""] if table.dimensions else []
    lines += _rows(
        ("column", "type", "null", "default", "meaning"),
        (
            (_code(c.name), _code(c.type), "no" if c.not_null else "yes", _code(c.default), _cell(c.comment))
            for c in table.columns
        ),
    )
    lines += _rows(("constraint", "definition"), ((_code(c.name), _code(c.definition)) for c in table.constraints))
    lines += _rows(("index", "definition"), ((_code(name), _code(text)) for name, text in table.indexes))
    return "\n".join(lines)


def _types(rows: Rows) -> str:
    cells = [(_code(name), ", ".join(map(_code, labels)), _cell(comment)) for name, labels, comment in rows]
    lines = ["## Enumerated types", "", *_rows(("type", "labels, in order", "meaning"), cells)]
    return "\n".join(lines) if cells else ""


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return a Markdown table with an empty line after it, or nothing if it has no row."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *lines, ""] if lines else []


def _cell(text: str) -> str:
    """Return a text that stays in its cell."""
    return re.sub(r"\s+", " ", text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _code(text: str) -> str:
    return f"`{' '.join(text.split()).replace('|', chr(92) + '|')}`" if text else ""
