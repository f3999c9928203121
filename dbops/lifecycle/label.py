"""Which environment a database belongs to, kept in the database, beside the ledger.

The server's system identifier goes with it, so that a copy restored elsewhere does not count as the original.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from dbops.postgres import Connection

READ = "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'dbops'"
IDENTIFIER = "SELECT system_identifier::text FROM pg_control_system()"


@dataclass(frozen=True, slots=True)
class Label:
    """An environment, and whether it was written on this very server."""

    environment: str
    native: bool


def read(connection: Connection) -> Label | None:
    """Return the label of the connected database, or None if it has none that can be understood."""
    row: Any = connection.execute(READ).fetchone()
    here: Any = connection.execute(IDENTIFIER).fetchone()
    try:
        data = json.loads(row[0] if row and row[0] else "")
        return Label(str(data["environment"]), str(data["system_identifier"]) == here[0])
    except (ValueError, KeyError, TypeError):
        return None


def write(connection: Connection, environment: str) -> None:
    """Label the connected database, whose ledger's schema must be there."""
    here: Any = connection.execute(IDENTIFIER).fetchone()
    text = json.dumps({"environment": environment, "system_identifier": here[0]})
    connection.execute(sql.SQL("COMMENT ON SCHEMA dbops IS {}").format(sql.Literal(text)))
