"""What the migrations before a file have created: the tables that may be in use while the file runs.

The statements are read by their first words, as the rules need no more. A table that the file itself creates is not
among them: it is not in use yet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dbops.migrations import files
from dbops.migrations.names import ALTER_TABLE, NAME, TABLE, VALIDATE_CONSTRAINT, qualified, stored
from dbops.migrations.sqlsplit import split, without_comments

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
    validated CHECK constraint says so, which spares SET NOT NULL the scan.
    """

    tables: frozenset[str] = frozenset()
    hypertables: frozenset[str] = frozenset()
    not_null: frozenset[tuple[str, str]] = frozenset()


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


def table_of(sql: str) -> str:
    """Return the table that a statement creates, drops, alters or indexes, with its schema; empty if none."""
    match = _CREATE.match(sql) or ALTER_TABLE.match(sql) or _INDEX.match(sql) or _DROP.match(sql)
    return qualified(match["table"]) if match else ""


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
    texts = (path.read_text(encoding="utf-8", errors="replace") for path, _, _ in files_at)
    for _, sql in (statement for text in texts for statement in statements(text)):
        if match := _CREATE.match(sql):
            tables.add(qualified(match["table"]))
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
        hypertables |= {qualified(match["name"]) for match in _HYPERTABLE.finditer(sql)}
    return Schema(frozenset(tables), frozenset(hypertables), frozenset(not_null))
