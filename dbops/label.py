"""The label of a database: its environment, kept beside the ledger as the comment of schema dbops.

The server's system identifier goes with it, to tell a copy of a database from the original.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from dbops.postgres import Connection
from dbops.settings import ENVIRONMENTS

QUERY = """
SELECT pg_catalog.obj_description(n.oid, 'pg_namespace'),
       (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() AS c)
FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'dbops'
"""


@dataclass(frozen=True, slots=True)
class Label:
    """An environment, and whether the label was written on this very server (else the database is a copy)."""

    environment: str
    native: bool


def parse(rows: Sequence[Any]) -> Label | None:
    """Return the label that the rows of QUERY hold, or None if there is none or it is invalid."""
    try:
        comment, identifier = rows[0]
        data = json.loads(comment)
        environment = str(data["environment"])
        native = str(data.get("system_identifier")) == identifier
        return Label(environment, native) if environment in ENVIRONMENTS else None
    except (IndexError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def read(connection: Connection) -> Label | None:
    """Return the label of the connected database, or None."""
    return parse(connection.execute(QUERY).fetchall())


def write(connection: Connection, environment: str) -> None:
    """Label the connected database, whose schema dbops must be there."""
    row: Any = connection.execute("SELECT system_identifier::text FROM pg_catalog.pg_control_system()").fetchone()
    connection.execute(statement(environment, row[0]).encode())


def statement(environment: str, system_identifier: str) -> str:
    """Return the statement that labels a database on the server of this system identifier."""
    text = json.dumps({"environment": environment, "system_identifier": system_identifier})
    return sql.SQL("COMMENT ON SCHEMA dbops IS {}").format(sql.Literal(text)).as_string(None)
