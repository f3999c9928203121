"""What CREATE INDEX leaves behind when it fails outside a transaction: an index that is invalid, and in the way.

That is CREATE INDEX CONCURRENTLY, and on a hypertable CREATE INDEX ... WITH (timescaledb.transaction_per_chunk).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from psycopg import sql

from dbops.migrations.statements import Statement, without_comments
from dbops.postgres import Connection

_NAME = r'(?:"(?:[^"]|"")++"|[^\W\d][\w$]*+)'
# Possessive throughout: CONCURRENTLY and ON are no names, even where that leaves nothing to match.
_BUILDS = re.compile(
    rf"CREATE\s+(?:UNIQUE\s+)?+INDEX\s+(?:CONCURRENTLY\b\s*)?+(?:IF\s+NOT\s+EXISTS\b\s*)?+(?P<name>{_NAME})"
    rf"\s*ON\b\s*(?:ONLY\b\s*)?+(?P<table>{_NAME}(?:\s*\.\s*{_NAME})?+)",
    re.IGNORECASE,
)
_INVALID = """
SELECT i.indexrelid::bigint, n.nspname::text, c.relname::text
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid)
"""
_ITS_OWN = _INVALID + " AND c.relname = (parse_ident(%s))[1] AND i.indrelid = to_regclass(%s)"


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is not valid."""

    oid: int
    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Build:
    """A build outside a transaction: the index's name and its table, as the statement writes them."""

    name: str
    table: str


def builds(statement: Statement) -> bool:
    """Tell whether a statement builds an index."""
    return statement.begins("CREATE", "INDEX") or statement.begins("CREATE", "UNIQUE", "INDEX")


def build_of(text: str) -> Build | None:
    """Return the build of an index that a statement's text is; None if it is none, or names no index."""
    match = _BUILDS.match(without_comments(text))
    return Build(match["name"], match["table"]) if match else None


def invalid_indexes(connection: Connection) -> frozenset[Index]:
    """Return the indexes of this database that are not valid, without those that are being built."""
    return _indexes(connection.execute(_INVALID).fetchall())


def leftover(connection: Connection, build: Build | None) -> Index | None:
    """Return the invalid index that an earlier try at a build left, names being looked up as the session does."""
    if build is None:
        return None
    return next(iter(_indexes(connection.execute(_ITS_OWN, [build.name, build.table]).fetchall())), None)


def drop(connection: Connection, index: Index) -> None:
    """Drop an index without locking out its table's readers and writers."""
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(index.schema, index.name)))


def _indexes(rows: list[tuple[object, ...]]) -> frozenset[Index]:
    return frozenset(Index(int(str(oid)), str(schema), str(name)) for oid, schema, name in rows)
