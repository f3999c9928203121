"""What the migrations before a file have created: the tables that may be in use while the file runs.

The statements are read by their first words, as the rules need no more. A table that the file itself creates is not
among them: it is not in use yet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from dbops.migrations import files
from dbops.migrations.names import ALTER_TABLE, NAME, TABLE, VALIDATE_CONSTRAINT, qualified, stored
from dbops.migrations.sqlsplit import split, without_comments
from dbops.migrations.tokens import Token, groups, read, split_at

# The last file of the first release: when these run, no table is in use.
BASELINE = 6

_OPTIONAL = r"(?:IF\s+(?:NOT\s+)?EXISTS\s+)?(?:ONLY\s+)?"
_NUMBER = re.compile(r"(\d+)_.*\.sql")
_CREATE = re.compile(rf"CREATE\s+(?:UNLOGGED\s+|FOREIGN\s+)?TABLE\s+{_OPTIONAL}{TABLE}", re.IGNORECASE)
_DROP = re.compile(rf"DROP\s+TABLE\s+{_OPTIONAL}(?P<names>{TABLE}[^;]*)", re.IGNORECASE)
_LISTED = re.compile(rf"(?:\A|,)\s*{TABLE}")
_MOVE = re.compile(rf"\s*(?:RENAME\s+TO|(?P<schema>SET\s+SCHEMA))\s+(?P<new>{NAME})", re.IGNORECASE)
_INDEX = re.compile(
    rf"CREATE\s+(?:UNIQUE\s+)?INDEX\s+(?:CONCURRENTLY\s+)?{_OPTIONAL}(?:{NAME}\s+)??ON\s+(?:ONLY\s+)?{TABLE}",
    re.IGNORECASE,
)
_HYPERTABLE = re.compile(r"\bcreate_hypertable\s*\(\s*(?:relation\s*=>\s*)?'(?P<name>[^']+)'", re.IGNORECASE)
_HYPERTABLE_OPTION = re.compile(r"\bWITH\s*\([^)]*\b(?:tsdb|timescaledb)\.hypertable\b", re.IGNORECASE)
_NO_COLUMN = {"CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "EXCLUDE", "LIKE"}
_AFTER_TYPE = {
    "CONSTRAINT", "NOT", "NULL", "DEFAULT", "PRIMARY", "UNIQUE", "REFERENCES", "CHECK", "GENERATED", "COLLATE",
    "COMPRESSION", "STORAGE", "USING",
}  # fmt: skip
_UNIQUE_INDEX = re.compile(
    rf"CREATE\s+UNIQUE\s+INDEX\s+(?:CONCURRENTLY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?(?P<index>{NAME})\s+ON\b", re.IGNORECASE
)
_DEFAULT_PARTITION = re.compile(rf"\bPARTITION\s+OF\s+{TABLE}[^;]*\bDEFAULT\b", re.IGNORECASE)
_ADD_COLUMN = re.compile(
    rf"ADD\s+(?:COLUMN\s+)?(?:IF\s+NOT\s+EXISTS\s+)?(?P<column>{NAME}\s.*)", re.IGNORECASE | re.DOTALL
)
_RETYPE = re.compile(
    rf"ALTER\s+(?:COLUMN\s+)?(?P<column>{NAME})\s+(?:SET\s+DATA\s+)?TYPE\s+(?P<type>.*)", re.IGNORECASE | re.DOTALL
)
_VARCHAR_TYPES = ("varchar", "charactervarying")
_NAMED = rf"{_OPTIONAL}(?P<table>{NAME}(?:\s*\.\s*{NAME})?)"
_VIEW = re.compile(rf"(?P<what>CREATE|DROP)\s+MATERIALIZED\s+VIEW\s+{_NAMED}", re.IGNORECASE)
_DOMAIN = re.compile(rf"CREATE\s+DOMAIN\s+{_NAMED}\s+(?:AS\s+)?(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_ALTER_DOMAIN = re.compile(rf"ALTER\s+DOMAIN\s+{_NAMED}\s+(?:ADD|SET\s+NOT\s+NULL)\b", re.IGNORECASE)
_CONSTRAINED = re.compile(r"\b(?:CHECK\s*\(|NOT\s+NULL)", re.IGNORECASE)
_FUNCTION = re.compile(rf"CREATE\s+(?:OR\s+REPLACE\s+)?FUNCTION\s+{_NAMED}", re.IGNORECASE)
_STABLE = re.compile(r"\b(?:IMMUTABLE|STABLE)\b", re.IGNORECASE)
_PARTITIONED = re.compile(r"\bPARTITION\s+BY\b", re.IGNORECASE)
_TABLE = re.compile(TABLE)
_LITERAL = re.compile(r"\$(\w*)\$.*?\$\1\$|'(?:[^']|'')*'", re.DOTALL)
_CHECK = re.compile(r"\bCHECK\s*\(", re.IGNORECASE)
_NOT_VALID = re.compile(r"\bNOT\s+VALID\b", re.IGNORECASE)
_NOT_NULL = re.compile(
    rf"\bADD\s+CONSTRAINT\s+(?P<constraint>{NAME})\s+CHECK\s*\(\s*(?P<column>{NAME})\s+IS\s+NOT\s+NULL\s*\)"
    r"(?P<later>\s*NOT\s+VALID)?",
    re.IGNORECASE,
)
_DROP_CHECK = re.compile(rf"\bDROP\s+CONSTRAINT\s+{_OPTIONAL}(?P<constraint>{NAME})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables that exist before a file runs, as schema.name, and the columns that hold no null.

    `hypertables` are those among `tables` that are one; `not_null` are pairs of table and column for which a
    validated CHECK constraint says so, which spares SET NOT NULL the scan. `views` are materialized; `checked` are the
    tables with a valid CHECK constraint; `domains` are the domains with a constraint; `stable` are the functions that
    are declared to be stable or immutable, and `volatile` the others; `defaults` are the tables with a default
    partition. `types` are those of columns that no CHECK constraint names, by table and column, as `varchar(20)`;
    `indexes` are the columns of unique indexes. `varchars` are the names of columns of type varchar, in any table.
    """

    tables: frozenset[str] = frozenset()
    hypertables: frozenset[str] = frozenset()
    not_null: frozenset[tuple[str, str]] = frozenset()
    views: frozenset[str] = frozenset()
    partitioned: frozenset[str] = frozenset()
    checked: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    stable: frozenset[str] = frozenset()
    volatile: frozenset[str] = frozenset()
    defaults: frozenset[str] = frozenset()
    varchars: frozenset[str] = frozenset()
    types: Mapping[tuple[str, str], str] = field(default_factory=dict)
    indexes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def before(path: Path | None) -> Schema:
    """Return the schema that the lower numbered files in a migration's directory build.

    It is empty for a file of the baseline, and for one that is not a migration.
    """
    if path is None or number(path) <= BASELINE:
        return Schema()
    earlier = sorted((number(other), other) for other in path.parent.glob("*.sql") if 0 < number(other) < number(path))
    changed = ((other, other.stat()) for _, other in earlier)
    return _built(tuple((other, stat.st_mtime_ns, stat.st_size) for other, stat in changed))


def number(path: Path) -> int:
    """Return a migration's number; 0 for a file that is not a migration."""
    match = _NUMBER.fullmatch(path.name)
    return int(match[1]) if match else 0


@lru_cache(maxsize=1024)
def statements(text: str) -> tuple[tuple[int, str], ...]:
    """Return the statements of a file in order: where each begins, and its SQL without comments."""
    return tuple((statement.start, without_comments(statement.text)) for statement in split(text))


def made_function(sql: str) -> tuple[str, bool] | None:
    """Return the function that a statement creates, and whether it is declared to be stable or immutable."""
    match = _FUNCTION.match(sql)
    return (qualified(match["table"]), _STABLE.search(_LITERAL.sub("", sql)) is not None) if match else None


def table_of(sql: str) -> str:
    """Return the table that a statement creates, drops, alters or indexes, with its schema; empty if none."""
    match = _CREATE.match(sql) or ALTER_TABLE.match(sql) or _INDEX.match(sql) or _DROP.match(sql)
    return qualified(match["table"]) if match else ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a definition writes it: its type is in lower case and without blanks."""

    name: str
    type: str
    not_null: bool


def defined_column(parts: list[Token]) -> Column | None:
    """Return the column that a part of CREATE TABLE or ADD COLUMN defines; None for a constraint."""
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


def listed_columns(sql: str) -> list[Column]:
    """Return the columns that a CREATE TABLE lists."""
    inside = next(groups(read(sql, 0)), ([], ""))[0]
    return [found for part in split_at(inside, ",") if (found := defined_column(part))]


def varchar_columns(sql: str) -> set[str]:
    """Return the columns of type varchar that a CREATE TABLE or ALTER TABLE makes."""
    if _CREATE.match(sql):
        return {column.name for column in listed_columns(sql) if column.type.startswith(_VARCHAR_TYPES)}
    found: set[str] = set()
    match = ALTER_TABLE.match(sql)
    for action in split_at(read(match["actions"].rstrip("; "), 0), ",") if match else ():
        text = match["actions"][action[0].offset :] if match and action else ""
        added = _ADD_COLUMN.match(text) or _RETYPE.match(text)
        if added and (added.groupdict().get("type") or added["column"].split(None, 1)[-1]).lower().lstrip().startswith(
            ("varchar", "character varying")
        ):
            found.add(stored(added["column"].split(None, 1)[0]))
    return found


def _checked_names(sql: str) -> set[str]:
    """Return the names in the CHECK constraints of a statement."""
    parts = read(sql, 0)
    found: set[str] = set()
    for n, part in enumerate(parts):
        if part.kind == "word" and part.text == "CHECK":
            found |= {inner.name for inner in next(groups(parts[n:]), ([], ""))[0] if inner.name}
    return found


def is_transactional(text: str) -> bool:
    """Return whether the runner applies a file in a transaction; one whose header is refused counts as such."""
    try:
        return files.parse_header(text).transactional
    except ValueError:
        return True


@lru_cache(maxsize=64)
def _built(files_at: tuple[tuple[Path, int, int], ...]) -> Schema:
    """Return the schema that files build, in order; the rules ask for it at every statement.

    The times and sizes are there for the cache: a file that changed is read again.
    """
    tables: set[str] = set()
    hypertables: set[str] = set()
    not_null: set[tuple[str, str]] = set()
    checks: dict[tuple[str, str], str] = {}
    views: set[str] = set()
    partitioned: set[str] = set()
    checked: set[str] = set()
    domains: set[str] = set()
    stable: set[str] = set()
    volatile: set[str] = set()
    defaults: set[str] = set()
    varchars: set[str] = set()
    types: dict[tuple[str, str], str] = {}
    indexes: dict[str, tuple[str, ...]] = {}
    texts = (path.read_text(encoding="utf-8", errors="replace") for path, _, _ in files_at)
    for _, sql in (statement for text in texts for statement in statements(text)):
        varchars |= varchar_columns(sql)
        if match := _CREATE.match(sql):
            table = qualified(match["table"])
            tables.add(table)
            in_checks = _checked_names(sql)
            for defined in listed_columns(sql):
                if defined.name not in in_checks:
                    types[table, defined.name] = defined.type
                if defined.not_null:
                    not_null.add((table, defined.name))
            if parent := _DEFAULT_PARTITION.search(sql):
                defaults.add(qualified(parent["table"]))
            partitioned |= {table} if _PARTITIONED.search(sql) else set()
            checked |= {table} if _CHECK.search(sql) else set()
            if _HYPERTABLE_OPTION.search(sql):
                hypertables.add(qualified(match["table"]))
        elif match := _DROP.match(sql):
            dropped = {qualified(listed["table"]) for listed in _LISTED.finditer(match["names"])}
            tables -= dropped
            hypertables -= dropped
            not_null = {(table, column) for table, column in not_null if table not in dropped}
        elif match := ALTER_TABLE.match(sql):
            table = qualified(match["table"])
            if moved := _MOVE.match(match["actions"]):
                namespace, name = table.split(".", 1)
                word = stored(moved["new"])
                new = f"{word}.{name}" if moved["schema"] else f"{namespace}.{word}"
                for names in (tables, hypertables):
                    if table in names:
                        names.remove(table)
                        names.add(new)
            if VALIDATE_CONSTRAINT.search(match["actions"]) or (
                _CHECK.search(match["actions"]) and not _NOT_VALID.search(match["actions"])
            ):
                checked.add(table)
            for name in _checked_names(match["actions"]):
                types.pop((table, name), None)
            for action in split_at(read(match["actions"].rstrip("; "), 0), ","):
                text = match["actions"][action[0].offset :] if action else ""
                if added := _ADD_COLUMN.match(text):
                    definition = defined_column(split_at(read(added["column"].rstrip("; "), 0), ",")[0])
                    types |= {(table, definition.name): definition.type} if definition else {}
                elif retyped := _RETYPE.match(text):
                    types.pop((table, stored(retyped["column"])), None)
            for check in _NOT_NULL.finditer(match["actions"]):
                checks[table, stored(check["constraint"])] = stored(check["column"])
                if not check["later"]:
                    not_null.add((table, stored(check["column"])))
            for valid in VALIDATE_CONSTRAINT.finditer(match["actions"]):
                if column := checks.get((table, stored(valid["constraint"]))):
                    not_null.add((table, column))
            for gone in _DROP_CHECK.finditer(match["actions"]):
                if column := checks.pop((table, stored(gone["constraint"])), ""):
                    not_null.discard((table, column))
        elif match := _VIEW.match(sql):
            views = views - {qualified(match["table"])} | (
                {qualified(match["table"])} if match["what"].upper() == "CREATE" else set()
            )
        elif match := _DOMAIN.match(sql):
            base = _TABLE.match(match["rest"])
            if _CONSTRAINED.search(match["rest"]) or (base and qualified(base["table"]) in domains):
                domains.add(qualified(match["table"]))
        elif match := _ALTER_DOMAIN.match(sql):
            domains.add(qualified(match["table"]))
        elif match := _FUNCTION.match(sql):
            function, is_stable = made_function(sql) or ("", False)
            (volatile if is_stable else stable).discard(function)
            (stable if is_stable else volatile).add(function)
        elif match := _UNIQUE_INDEX.match(sql):
            inside = next(groups(read(sql, 0)), ([], ""))[0]
            indexes[stored(match["index"])] = tuple(part[0].name for part in split_at(inside, ",") if part)
        hypertables |= {qualified(match["name"]) for match in _HYPERTABLE.finditer(sql)}
    return Schema(
        tables=frozenset(tables),
        hypertables=frozenset(hypertables),
        not_null=frozenset(not_null),
        views=frozenset(views),
        partitioned=frozenset(partitioned),
        checked=frozenset(checked),
        domains=frozenset(domains),
        stable=frozenset(stable),
        volatile=frozenset(volatile),
        defaults=frozenset(defaults),
        varchars=frozenset(varchars),
        types=types,
        indexes=indexes,
    )
