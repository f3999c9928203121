"""Inspections that no server made, for tests of what is decided from them."""

from __future__ import annotations

from dataclasses import replace

from dbops.database.inspection import Impact, Inspection, Role, Server
from dbops.database.properties import Database, Properties
from dbops.settings import Target

ROLE, DATABASE = "kapman", "kapman_dev"
PROPERTIES = Properties(ROLE, "UTF8", "c", "C.UTF-8", "C.UTF-8", None, None, "pg_default")
SERVER = Server(
    version_text="15.15",
    login=ROLE,
    role=ROLE,
    superuser=False,
    createdb=True,
    in_recovery=False,
    direct=True,
    timescaledb="2.19.3",
    may_create_timescaledb=True,
    timescaledb_preloaded=True,
    template0=PROPERTIES,
    roles={ROLE: Role(may_act=True, may_give=True, may_become=True)},
)
THERE = Database(
    oid=16384,
    name=DATABASE,
    invalid=False,
    template=False,
    accepts_connections=True,
    marker=None,
    unmarked=False,
    catalog=PROPERTIES,
    properties=PROPERTIES,
    size=8_000_000,
)
TARGET = Target({"host": "localhost"}, DATABASE)
NOTHING = Impact()


def inspection(
    environment: str = "dev", *, database: Database | None = THERE, server: Server = SERVER, impact: Impact = NOTHING
) -> Inspection:
    """Return what would have been found: by default an empty database that its owner works on."""
    return Inspection(
        target=replace(TARGET, environment=environment),
        server=server,
        database=database,
        scratch=(),
        sessions=(),
        migrating=(),
        attached={},
        impact=impact if database else NOTHING,
    )
