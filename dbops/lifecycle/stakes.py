"""What would be lost with a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from dbops import postgres
from dbops.errors import DbopsError
from dbops.lifecycle import label
from dbops.lifecycle.label import Label
from dbops.lifecycle.properties import find
from dbops.lifecycle.rows import KEEPERS, Evidence, any_row, be_careful
from dbops.lifecycle.sessions import Session, sessions
from dbops.postgres import Connection
from dbops.settings import Target

# Chunks and partitions count for the table that they are a part of.
TABLES = f"""
WITH RECURSIVE part AS (
    SELECT c.oid AS leaf, c.oid AS root {KEEPERS}
    UNION ALL
    SELECT part.leaf, i.inhparent FROM part JOIN pg_inherits i ON i.inhrelid = part.root
)
SELECT n.nspname, r.relname,
       sum(greatest(l.reltuples, pg_stat_get_live_tuples(l.oid), 0))::int8, sum(pg_total_relation_size(l.oid))::int8,
       (SELECT a.attname FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = r.oid AND i.indisvalid
          AND a.atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
        ORDER BY a.attnum LIMIT 1)
FROM part
JOIN pg_class l ON l.oid = part.leaf
JOIN pg_class r ON r.oid = part.root
JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = part.root)
GROUP BY n.nspname, r.relname, r.oid
ORDER BY 3 DESC, 1, 2
"""  # noqa: S608 (a constant of ours goes in, nothing else)


@dataclass(frozen=True, slots=True)
class TableStakes:
    """One table: rows as the server estimates them, bytes with indexes, its newest time where an index tells."""

    name: str
    estimated_rows: int
    size: int
    newest: str | None


@dataclass(frozen=True, slots=True)
class Stakes:
    """What would be lost: `evidence` names a place where a row was `seen`, or says why none could be looked for.

    No evidence means no row. A database that is not `readable` let nobody in at all.
    """

    database: str
    server: str
    environment: str
    exists: bool
    evidence: str | None = None
    seen: bool = False
    readable: bool = True
    tables: tuple[TableStakes, ...] = ()
    size: int | None = None
    sessions: tuple[Session, ...] = ()
    label: Label | None = None

    @property
    def at_stake(self) -> bool:
        """Return whether a row would be lost, or could be for all that is known."""
        return self.evidence is not None

    @property
    def estimated_rows(self) -> int:
        """Return the server's estimate over all tables."""
        return sum(table.estimated_rows for table in self.tables)


def stakes(target: Target) -> Stakes:
    """Return what dropping the target would lose; a database that lets nobody look counts as full."""
    empty = Stakes(target.database, target.server, target.environment, exists=False)
    with postgres.maintenance(target) as connection:
        found = find(connection, target.database)
        if found is None or found.invalid:
            return empty
        inside = sessions(connection, target.database)
        size = _size(connection, target.database)
    try:
        with postgres.translated(target), postgres.connect(target) as connection:
            evidence: Evidence | None = any_row(connection)
            tables = _tables(connection)
            known = label.read(connection)
    except DbopsError as error:
        evidence, tables, known = Evidence(f"it lets nobody look ({error.what})", seen=False), (), None
        readable = False
    else:
        readable = True
    return Stakes(
        database=target.database,
        server=target.server,
        environment=target.environment,
        exists=True,
        evidence=evidence.text if evidence else None,
        seen=evidence is not None and evidence.seen,
        readable=readable,
        tables=tables,
        size=size,
        sessions=inside,
        label=known,
    )


def _tables(connection: Connection) -> tuple[TableStakes, ...]:
    """Return the tables with the most rows first; none if they can't be listed in time."""
    be_careful(connection)
    try:
        rows: list[Any] = connection.execute(TABLES).fetchall()
    except psycopg.Error:
        return ()
    connection.execute("SET statement_timeout = '1s'")
    return tuple(
        TableStakes(f"{schema}.{name}", estimate, size, _newest(connection, schema, name, column) if column else None)
        for schema, name, estimate, size, column in rows
    )


def _newest(connection: Connection, schema: str, name: str, column: str) -> str | None:
    query = sql.SQL("SELECT max({})::text FROM {}").format(sql.Identifier(column), sql.Identifier(schema, name))
    try:
        row: Any = connection.execute(query).fetchone()
    except psycopg.Error:
        return None
    return row[0] if row else None


def _size(connection: Connection, database: str) -> int | None:
    """Return the database's bytes, or None if this role may not know."""
    try:
        row: Any = connection.execute("SELECT pg_database_size(%s)", [database]).fetchone()
    except psycopg.Error:
        return None
    return int(row[0])
