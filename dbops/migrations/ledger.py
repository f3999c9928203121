"""The ledger: the one table that says which migrations a database has had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import psycopg
from psycopg import sql

from dbops import __version__
from dbops.errors import MigrationError, PreflightError, ServerError
from dbops.migrations.files import Migration
from dbops.postgres import Connection

SCHEMA = "dbops"
TABLE = "schema_migrations"
LEDGER = f"{SCHEMA}.{TABLE}"

_CREATE_TABLE = f"""
CREATE TABLE {LEDGER} (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT session_user,
    duration_ms bigint,
    tool_version text NOT NULL,
    CONSTRAINT schema_migrations_pkey PRIMARY KEY (version),
    CONSTRAINT schema_migrations_version_check CHECK (version > 0),
    CONSTRAINT schema_migrations_checksum_check CHECK (checksum ~ '^[0-9a-f]{{64}}$'),
    CONSTRAINT schema_migrations_duration_ms_check CHECK (duration_ms >= 0)
);
COMMENT ON TABLE {LEDGER} IS 'Which migrations this database has had; written by the migration runner only';
COMMENT ON COLUMN {LEDGER}.checksum IS 'sha256 of the file without BOM and with LF line ends';
COMMENT ON COLUMN {LEDGER}.applied_at IS 'When the file was applied, or begun where it has not finished';
COMMENT ON COLUMN {LEDGER}.applied_by IS 'Role that connected, whoever owns what it made';
COMMENT ON COLUMN {LEDGER}.duration_ms IS
    'How long the file took; NULL where it runs outside a transaction and has not finished';
COMMENT ON COLUMN {LEDGER}.tool_version IS 'Version of the runner';
"""

_COLUMNS = """
SELECT attname::text FROM pg_catalog.pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""

# Relations of nobody's extension, in no extension's schema: TimescaleDB's chunks lie in one of those.
_FIRST_RELATION = """
SELECT c.oid::regclass::text FROM pg_catalog.pg_class AS c
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
  AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
  AND c.relnamespace <> 'pg_toast'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.deptype = 'e' AND (
        (d.classid = 'pg_class'::regclass AND d.objid = c.oid)
        OR (d.classid = 'pg_namespace'::regclass AND d.objid = c.relnamespace)))
ORDER BY c.oid LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the ledger; `duration_ms` is None for a file that began outside a transaction and did not finish."""

    version: int
    name: str
    checksum: str
    applied_at: datetime
    applied_by: str
    duration_ms: int | None
    tool_version: str

    @property
    def finished(self) -> bool:
        """Tell whether the file ran to its end."""
        return self.duration_ms is not None

    @property
    def when(self) -> str:
        """Return for people when it was applied or begun, in UTC."""
        return f"{self.applied_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


_FIELDS = ("version", "name", "checksum", "applied_at", "applied_by", "duration_ms", "tool_version")


def exists(connection: Connection) -> bool:
    """Tell whether the ledger is there; MigrationError if a table of its name is something else."""
    columns = tuple(str(row[0]) for row in connection.execute(_COLUMNS, [LEDGER]))
    if columns in ((), _FIELDS):
        return bool(columns)
    raise MigrationError(
        f"{LEDGER} is there and is no ledger of this tool: its columns are {', '.join(columns)}",
        where=f"database {connection.info.dbname}",
        hint="Nothing was changed. Move that table away, or correct the database's name in DATABASE_URL.",
    )


@contextmanager
def readable(connection: Connection) -> Iterator[None]:
    """Turn a refusal to read the ledger into a ServerError that names the grants."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        role = sql.Identifier(connection.info.user).as_string(connection)
        raise ServerError(
            f"role {connection.info.user} may not read the ledger {LEDGER}: {error.diag.message_primary}",
            where=f"database {connection.info.dbname}",
            hint="Connect as the database's owner, or let it run: "
            f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}; GRANT SELECT ON {LEDGER} TO {role};",
        ) from None


def first_relation(connection: Connection) -> str:
    """Return a relation that belongs to no extension, or nothing if there is none."""
    row = connection.execute(_FIRST_RELATION).fetchone()
    return str(row[0]) if row else ""


def refuse_stranger(database: str, relation: str) -> None:
    """Raise PreflightError if a database without ledger has a relation of somebody's: it is not ours to adopt."""
    if not relation:
        return
    raise PreflightError(
        f"the database has relations (such as {relation}) but no ledger {LEDGER}",
        where=f"database {database}",
        notes=("nobody knows which migrations they correspond to, so none is applied and nothing is adopted",),
        hint="Build it anew with `invoke db.rebuild`, or correct the database's name in DATABASE_URL.",
    )


def create(connection: Connection) -> None:
    """Create the ledger in the open transaction; its schema may be there already."""
    row = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", [SCHEMA]).fetchone()
    if not (row and row[0]):
        connection.execute(f"CREATE SCHEMA {SCHEMA}".encode())
    connection.execute(_CREATE_TABLE.encode())


def read(connection: Connection) -> tuple[Entry, ...]:
    """Return the ledger's rows in order of version."""
    rows = connection.execute(
        "SELECT version, name, checksum, applied_at, applied_by, duration_ms, tool_version"
        " FROM dbops.schema_migrations ORDER BY version"
    ).fetchall()
    return tuple(_entry(row) for row in rows)


def _entry(row: tuple[object, ...]) -> Entry:
    version, name, checksum, applied_at, applied_by, duration_ms, tool_version = row
    return Entry(
        version=cast("int", version),
        name=str(name),
        checksum=str(checksum),
        applied_at=cast("datetime", applied_at),
        applied_by=str(applied_by),
        duration_ms=cast("int | None", duration_ms),
        tool_version=str(tool_version),
    )


def record(migration: Migration, duration_ms: int | None) -> sql.Composed:
    """Return the statement that writes a migration's row, or completes the one of a run that did not finish."""
    return sql.SQL(
        "INSERT INTO dbops.schema_migrations (version, name, checksum, duration_ms, tool_version)"
        " VALUES ({}, {}, {}, {}, {}) ON CONFLICT (version) DO UPDATE SET name = excluded.name,"
        " checksum = excluded.checksum, applied_at = excluded.applied_at, applied_by = excluded.applied_by,"
        " duration_ms = excluded.duration_ms, tool_version = excluded.tool_version"
        " WHERE schema_migrations.duration_ms IS NULL"
    ).format(migration.version, migration.name, migration.checksum, duration_ms, __version__)
