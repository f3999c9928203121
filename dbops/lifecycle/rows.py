"""Whether a database holds any row: exact, and unknown counts as yes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from dbops.postgres import Connection

# The tables whose rows somebody could lose. The ledger is none: a rebuild writes it again. Nor is what TimescaleDB
# keeps for itself; any other extension may have rows of its users in its tables.
KEEPERS = """
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND (n.nspname, c.relname) <> ('dbops', 'schema_migrations')
  AND NOT (n.nspname LIKE '\\_timescaledb\\_%' AND EXISTS (
    SELECT FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' AND e.extname = 'timescaledb'))
"""
RELATIONS = f"""
SELECT n.nspname, c.relname {KEEPERS}
  AND pg_relation_size(c.oid) > 0
ORDER BY c.reltuples DESC, 1, 2
"""
CAREFUL = {"statement_timeout": "10s", "lock_timeout": "1s", "row_security": "off", "search_path": "pg_catalog"}


def be_careful(connection: Connection) -> None:
    """Make a session that hides no row, runs nobody else's functions and waits for nobody."""
    for name, value in CAREFUL.items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])


@dataclass(frozen=True, slots=True)
class Evidence:
    """A place where a row was seen, or the reason why rows could not be looked for."""

    text: str
    seen: bool = True


def any_row(connection: Connection) -> Evidence | None:
    """Return the first place where a row is, or why that can't be known; None if there is no row at all.

    Looks into every table and materialised view of any schema, chunks among them, and at large objects.
    """
    be_careful(connection)
    try:
        relations: list[Any] = connection.execute(RELATIONS).fetchall()
        for schema, name in relations:
            if _has_row(connection, schema, name):
                return Evidence(f"{schema}.{name}")
        found: Any = connection.execute("SELECT EXISTS (SELECT FROM pg_largeobject_metadata)").fetchone()
    except psycopg.Error as error:
        return Evidence(f"its rows cannot be read ({error.diag.message_primary or error})", seen=False)
    return Evidence("a large object") if found[0] else None


def count_rows(connection: Connection) -> int:
    """Return how many rows there are in all tables and materialised views; meant for a database just built."""
    be_careful(connection)
    relations: list[Any] = connection.execute(RELATIONS).fetchall()
    total = 0
    for schema, name in relations:
        query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, name))
        row: Any = connection.execute(query).fetchone()
        total += row[0]
    return total


def _has_row(connection: Connection, schema: str, name: str) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})").format(sql.Identifier(schema, name))
    found: Any = connection.execute(query).fetchone()
    return bool(found[0])
