"""The label of a database: its environment, kept beside the ledger as the comment of schema dbops.

The server's system identifier goes with it, to tell a copy of a database from the original. So does a line for each of
the latest rebuilds, which a rebuild takes over from the database that it replaces.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from psycopg import sql

from dbops import __version__
from dbops.postgres import Connection
from dbops.settings import ENVIRONMENTS

# How many rebuilds are kept: a comment has no limit of its own, and a database for development is rebuilt often.
KEPT_REBUILDS = 50

QUERY = """
SELECT pg_catalog.obj_description(n.oid, 'pg_namespace'),
       (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() AS c)
FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'dbops'
"""
# Time, role and address as the server has them, not as the client says.
_WHO = """
SELECT pg_catalog.to_char(pg_catalog.clock_timestamp(), 'YYYY-MM-DD HH24:MI:SS "UTC"'), session_user::text,
       coalesce(pg_catalog.host(pg_catalog.inet_client_addr()), 'local')
"""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """One rebuild: when (UTC), by which role, from which address, with which version of this tool, giving what."""

    at: str
    by: str
    address: str
    tool: str
    fingerprint: str

    def __str__(self) -> str:
        address = "" if self.address == "local" else f" from {self.address}"
        return f"{self.at} by {self.by}{address}, kapman-dbops {self.tool}, fingerprint {self.fingerprint[:12]}"


@dataclass(frozen=True, slots=True)
class KeptDatabase:
    """A database that was replaced and kept: its name, since when (UTC), its bytes, None where that is not known."""

    name: str
    since: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Label:
    """An environment, and whether the label was written on this very server (else the database is a copy).

    `rebuilds` are the latest, the oldest first; the database's owner can change them as any comment.
    """

    environment: str
    native: bool
    rebuilds: tuple[Rebuild, ...] = field(default=(), compare=False)


def parse(rows: Sequence[Any]) -> Label | None:
    """Return the label that the rows of QUERY hold, or None if there is none or it is invalid.

    What is not a rebuild among its rebuilds is left out, so that it never hides the environment.
    """
    try:
        comment, identifier, *_ = rows[0]
        data = json.loads(comment)
        environment = str(data["environment"])
        native = str(data.get("system_identifier")) == identifier
        noted = data.get("rebuilds")
    except (IndexError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if environment not in ENVIRONMENTS:
        return None
    names = [each.name for each in fields(Rebuild)]
    rebuilds = [
        Rebuild(**{name: item[name] for name in names})
        for item in (noted if isinstance(noted, list) else [])
        if isinstance(item, dict) and all(isinstance(item.get(name), str) for name in names)
    ]
    return Label(environment, native, tuple(rebuilds[-KEPT_REBUILDS:]))


def read(connection: Connection) -> Label | None:
    """Return the label of the connected database, or None."""
    return parse(connection.execute(QUERY).fetchall())


def write(connection: Connection, environment: str, rebuilds: Sequence[Rebuild] = ()) -> None:
    """Label the connected database, whose schema dbops must be there."""
    row: Any = connection.execute("SELECT system_identifier::text FROM pg_catalog.pg_control_system()").fetchone()
    connection.execute(label_sql(environment, row[0], rebuilds).encode())


def add_rebuild(connection: Connection, earlier: Label | None, fingerprint: str) -> None:
    """Note in the label of the connected database, just built and labelled, that it was rebuilt.

    `earlier` is the label of the database that it replaces, whose rebuilds are kept, and `fingerprint` that of its
    schema. Does nothing where there is no label.
    """
    row: Any = connection.execute(f"SELECT * FROM ({QUERY}) AS label, ({_WHO}) AS who").fetchone()  # noqa: S608
    if row and (found := parse([row])):
        _, system_identifier, at, by, address = row
        rebuild = Rebuild(at, by, address, __version__, fingerprint)
        rebuilds = (*(earlier.rebuilds if earlier else ()), rebuild)
        connection.execute(label_sql(found.environment, system_identifier, rebuilds).encode())


def label_sql(environment: str, system_identifier: str, rebuilds: Sequence[Rebuild] = ()) -> str:
    """Return the statement that labels a database on the server of this system identifier."""
    data: dict[str, Any] = {"environment": environment, "system_identifier": system_identifier}
    if rebuilds:
        data["rebuilds"] = [asdict(rebuild) for rebuild in rebuilds[-KEPT_REBUILDS:]]
    return sql.SQL("COMMENT ON SCHEMA dbops IS {}").format(sql.Literal(json.dumps(data))).as_string(None)
