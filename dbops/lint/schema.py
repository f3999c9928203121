"""What the migrations before a file have created: the tables that may be in use while the file runs.

A table that the file itself creates is not among them: it is not in use yet.
"""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from dbops.migrations import files
from dbops.migrations.sqlsplit import qualified, stored
from dbops.migrations.statements import (
    CREATES_INDEX,
    CREATES_TABLE,
    DROPS_TABLES,
    LIST,
    MAYBE,
    NAME,
    NAMED,
    WORD,
    Column,
    Tokens,
    defined_column,
    statements,
)
from dbops.migrations.tokens import groups

# The last file of the first release: when these run, no table is in use.
BASELINE = 6

RETYPES = re.compile(rf"ALTER (?:COLUMN )?(?P<name>{WORD}) (?:SET DATA )?TYPE ")
_NUMBER = re.compile(r"(\d+)_.*\.sql")
_HYPERTABLE_OPTION = re.compile(r"\bWITH \( (?:[^)]* )?(?:TSDB|TIMESCALEDB) \. HYPERTABLE\b")
_DEFAULT_PARTITION = re.compile(rf"\bPARTITION OF {NAMED} .*\bDEFAULT\b")
_MOVES = re.compile(rf"(?:RENAME TO|(?P<schema>SET SCHEMA)) (?P<new>{WORD}) ")
_MOVES_COLUMN = re.compile(rf"RENAME (?:COLUMN )?(?P<old>{WORD}) TO (?P<new>{WORD}) ")
_MOVES_CONSTRAINT = re.compile(rf"RENAME CONSTRAINT (?P<old>{WORD}) TO (?P<new>{WORD}) ")
_DROPS_COLUMN = re.compile(rf"DROP (?:COLUMN )?(?!CONSTRAINT ){MAYBE}(?P<name>{WORD}) ")
_DROPS_NOT_NULL = re.compile(rf"ALTER (?:COLUMN )?(?P<name>{WORD}) DROP NOT NULL ")
_VALIDATES = re.compile(rf"VALIDATE CONSTRAINT (?P<constraint>{WORD}) ")
_CHECKS_NULL = re.compile(rf"ADD CONSTRAINT (?P<constraint>{WORD}) CHECK \( (?P<column>{WORD}) IS NOT NULL \) ")
_DROPS_CONSTRAINT = re.compile(rf"DROP CONSTRAINT {MAYBE}(?P<constraint>{WORD}) ")
_CREATES_VIEW = re.compile(rf"CREATE MATERIALIZED VIEW {MAYBE}{NAMED} ")
_DROPS_VIEWS = re.compile(rf"DROP MATERIALIZED VIEW {MAYBE}{LIST} ")
_CREATES_DOMAIN = re.compile(rf"CREATE DOMAIN {NAMED} (?:AS )?(?P<base>{NAME}) ")
_CONSTRAINS_DOMAIN = re.compile(rf"ALTER DOMAIN {NAMED} (?:ADD|SET NOT NULL)\b")
_CREATES_FUNCTION = re.compile(rf"CREATE (?:OR REPLACE )?FUNCTION {NAMED} ")


@dataclass(slots=True)
class Schema:
    """What statements have built, by the names that PostgreSQL keeps, with their schemas.

    `hypertables`, `partitioned`, those with a default partition (`defaults`) and those with a valid CHECK constraint
    (`checked`) are among the `tables`; `views` are materialized; `domains` have a constraint. Functions are `stable` if
    they are declared to be stable or immutable, else `volatile`. `types` are those of columns that no CHECK constraint
    names, by table and column, as `varchar(20)`. The columns in `not_null` hold no null, also by a valid CHECK
    constraint, which spares SET NOT NULL the scan; `proofs` are such constraints, by table and name. `indexes` are the
    columns of unique indexes, by the index's name alone, `varchars` the names of columns of type varchar, in any table.
    """

    tables: set[str] = field(default_factory=set)
    hypertables: set[str] = field(default_factory=set)
    partitioned: set[str] = field(default_factory=set)
    defaults: set[str] = field(default_factory=set)
    checked: set[str] = field(default_factory=set)
    views: set[str] = field(default_factory=set)
    domains: set[str] = field(default_factory=set)
    stable: set[str] = field(default_factory=set)
    volatile: set[str] = field(default_factory=set)
    types: dict[tuple[str, str], str] = field(default_factory=dict)
    not_null: set[tuple[str, str]] = field(default_factory=set)
    proofs: dict[tuple[str, str], str] = field(default_factory=dict)
    indexes: dict[str, list[str]] = field(default_factory=dict)
    varchars: set[str] = field(default_factory=set)

    def after(self, text: str) -> Schema:
        """Return the schema that the statements of a file make of this one."""
        later = replace(self, **{item.name: copy(getattr(self, item.name)) for item in fields(self)})
        for statement in statements(text):
            if table := statement.named(CREATES_TABLE):
                later.tables.add(table)
                later._note_columns(table, [column for part in statement.inside if (column := defined_column(part))])
                for name in _names_in_checks(statement):
                    later.types.pop((table, name), None)
                later.checked |= {table} if "CHECK (" in statement.nested else set()
                later.partitioned |= {table} if " PARTITION BY " in statement.form else set()
                later.hypertables |= {table} if _HYPERTABLE_OPTION.search(statement.nested) else set()
                if parent := _DEFAULT_PARTITION.search(statement.form):
                    later.defaults.add(qualified(parent["name"]))
            elif match := DROPS_TABLES.match(statement.form):
                for table in map(qualified, match["names"].split(" , ")):
                    later._rename(table)
            elif table := statement.altered:
                for action in statement.actions:
                    later._alter(table, action)
            elif view := statement.named(_CREATES_VIEW):
                later.views.add(view)
            elif match := _DROPS_VIEWS.match(statement.form):
                later.views.difference_update(map(qualified, match["names"].split(" , ")))
            elif match := _CREATES_DOMAIN.match(statement.form):
                if qualified(match["base"]) in later.domains or re.search(r"\bCHECK \(|\bNOT NULL\b", statement.nested):
                    later.domains.add(qualified(match["name"]))
            elif domain := statement.named(_CONSTRAINS_DOMAIN):
                later.domains.add(domain)
            elif function := statement.named(_CREATES_FUNCTION):
                is_stable = re.search(r"\b(?:IMMUTABLE|STABLE)\b", statement.form)
                now, other = (later.stable, later.volatile) if is_stable else (later.volatile, later.stable)
                now.add(function)
                other.discard(function)
            elif (match := CREATES_INDEX.match(statement.form)) and match["unique"] and match["index"]:
                later.indexes[stored(match["index"])] = [part[0].name for part in statement.inside]
            for call in statement.calls("create_hypertable"):
                arguments = (
                    part.text for part in statement.parts if part.kind == "string" and part.offset > call.offset
                )
                later.hypertables |= {qualified(argument) for argument in list(arguments)[:1]}
        return later

    def _note_columns(self, table: str, columns: list[Column]) -> None:
        for column in columns:
            self.types[table, column.name] = column.type
            self.not_null |= {(table, column.name)} if column.not_null else set()
            if column.type.startswith(("varchar", "charactervarying")):
                self.varchars.add(column.name)

    def _rename(self, table: str, new: str = "") -> None:
        """Move what is known of a table to its new name; without one the table is gone."""
        for names in (self.tables, self.hypertables, self.partitioned, self.defaults, self.checked):
            if table in names:
                names.remove(table)
                names |= {new} if new else set()
        self.types = {(new if of == table else of, c): t for (of, c), t in self.types.items() if new or of != table}
        self.proofs = {(new if of == table else of, k): c for (of, k), c in self.proofs.items() if new or of != table}
        self.not_null = {(new if of == table else of, c) for of, c in self.not_null if new or of != table}

    def _rename_column(self, table: str, name: str, new: str = "") -> None:
        """Move what is known of a column to its new name; without one the column is gone."""
        kind = self.types.pop((table, name), "")
        if new and kind:
            self.types[table, new] = kind
        if (table, name) in self.not_null:
            self.not_null.remove((table, name))
            self.not_null |= {(table, new)} if new else set()
        self.proofs = {
            (of, c): new if (of, proven) == (table, name) else proven
            for (of, c), proven in self.proofs.items()
            if new or (of, proven) != (table, name)
        }

    def _alter(self, table: str, action: Tokens) -> None:
        """Note what an action of ALTER TABLE makes of a table."""
        if moved := _MOVES.match(action.form):
            namespace, name = table.split(".", 1)
            new = stored(moved["new"])
            self._rename(table, f"{new}.{name}" if moved["schema"] else f"{namespace}.{new}")
        elif moved := _MOVES_COLUMN.match(action.form):
            self._rename_column(table, stored(moved["old"]), stored(moved["new"]))
        elif moved := _MOVES_CONSTRAINT.match(action.form):
            if column_of_it := self.proofs.pop((table, stored(moved["old"])), ""):
                self.proofs[table, stored(moved["new"])] = column_of_it
        elif match := _DROPS_COLUMN.match(action.form):
            self._rename_column(table, stored(match["name"]))
        elif match := _DROPS_NOT_NULL.match(action.form):
            self.not_null.discard((table, stored(match["name"])))
        is_valid = "NOT VALID" not in action.form
        if "CHECK (" in action.nested and is_valid:
            self.checked.add(table)
        for name in _names_in_checks(action):
            self.types.pop((table, name), None)
        if column := action.added_column:
            self._note_columns(table, [column])
        elif match := RETYPES.match(action.form):
            self.types.pop((table, stored(match["name"])), None)
            if re.match(r"VARCHAR|CHARACTER VARYING", action.form[match.end() :]):
                self.varchars.add(stored(match["name"]))
        elif match := _CHECKS_NULL.match(action.nested):
            self.proofs[table, stored(match["constraint"])] = stored(match["column"])
            self.not_null |= {(table, stored(match["column"]))} if is_valid else set()
        elif match := _VALIDATES.match(action.form):
            self.checked.add(table)
            if proven := self.proofs.get((table, stored(match["constraint"]))):
                self.not_null.add((table, proven))
        elif match := _DROPS_CONSTRAINT.match(action.form):
            self.not_null.discard((table, self.proofs.pop((table, stored(match["constraint"])), "")))


def _names_in_checks(statement: Tokens) -> set[str]:
    """Return the names in the CHECK constraints of a statement."""
    found: set[str] = set()
    for n, part in enumerate(statement.parts):
        if part.kind == "word" and part.text == "CHECK":
            found |= {inner.name for inner in next(groups(statement.parts[n:]), ([], ""))[0] if inner.name}
    return found


# What the files that were asked about last have built, since the next file needs one more. Each file is named with its
# time and size, so that one that changed is read again.
_BUILT: dict[tuple[tuple[Path, int, int], ...], Schema] = {}


def before(path: Path) -> Schema:
    """Return the schema that the lower numbered files in a migration's directory build.

    It is empty for a file of the baseline, and for one that is not a migration.
    """
    own = number(path)
    if own <= BASELINE:
        return Schema()
    earlier = sorted((n, other) for other in path.parent.glob("*.sql") if 0 < (n := number(other)) < own)
    there = ((other, other.stat()) for _, other in earlier)
    wanted = tuple((other, stat.st_mtime_ns, stat.st_size) for other, stat in there)
    built = next((known for known in _BUILT if wanted[: len(known)] == known), ())
    schema = _BUILT.get(built, Schema())
    for file, _, _ in wanted[len(built) :]:
        schema = schema.after(file.read_text(encoding="utf-8", errors="replace"))
    _BUILT.clear()
    _BUILT[wanted] = schema
    return schema


def number(path: Path) -> int:
    """Return a migration's number; 0 for a file that is not a migration."""
    match = _NUMBER.fullmatch(path.name)
    return int(match[1]) if match else 0


def is_transactional(text: str) -> bool:
    """Return whether the runner applies a file in a transaction; one whose header is refused counts as such."""
    try:
        return files.parse_header(text).transactional
    except ValueError:
        return True
