"""Which environment a database belongs to, kept in the database, beside the ledger.

The server's system identifier goes with it, so that a copy restored elsewhere does not count as the original.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from dbops import postgres
from dbops.errors import ConsentError
from dbops.postgres import Connection
from dbops.settings import Target

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


def assert_matches(target: Target) -> None:
    """Raise ConsentError if the database is labelled as another environment's than the target's, and one is prod."""
    with postgres.connect(target) as connection, postgres.translated(target):
        label = read(connection)
    if label is None or not label.native or label.environment == target.environment:
        return
    if "prod" in (label.environment, target.environment):
        raise ConsentError(
            f"{target.database} is a {label.environment} database, and {target.environment} was chosen",
            where=str(target),
            hint=f"If you mean this database, choose --env {label.environment}.",
        )
