"""What server and role must be and may do for a database to be created."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from dbops.errors import PreflightError
from dbops.lock import direct_pid
from dbops.preflight.model import Finding, View, judged

OLDEST_TIMESCALEDB = (2, 10)
NEXT_TIMESCALEDB = (3,)
PROTECTED = ("postgres", "template0", "template1")
TIMESCALEDB = """
SELECT v.version, v.trusted, current_setting('timescaledb.max_background_workers', true) IS NOT NULL
FROM pg_available_extensions e
JOIN pg_available_extension_versions v ON v.name = e.name AND v.version = e.default_version
WHERE e.name = 'timescaledb'
"""
MAY_GIVE = "SELECT pg_has_role(%s, %s)"


def name_is_free(view: View) -> Finding:
    """Return whether the name belongs to no database of the server itself."""
    name = view.target.database
    return judged(
        "database name",
        name not in {*PROTECTED, view.target.maintenance_database},
        f"{name} belongs to the server itself",
        "Name a database of your own in DATABASE_URL.",
    )


def is_primary(view: View) -> Finding:
    """Return whether the server takes writes."""
    return judged(
        "primary server",
        not view.server.in_recovery,
        "the server is a standby, or still recovering",
        "Connect to the primary server.",
    )


def is_direct(view: View) -> Finding:
    """Return whether no pooler stands in between, which could not hold the operator's lock."""
    name = "direct connection"
    try:
        direct_pid(view.connection, view.target)
    except PreflightError as error:
        return Finding(name, False, error.what, error.hint)
    return Finding(name, True)


def may_create(view: View) -> Finding:
    """Return whether this role may create a database and give it to its owner."""
    role, owner = view.server.role, view.wanted.owner
    if not (view.server.superuser or view.server.createdb):
        remedy = f'As a superuser, run ALTER ROLE "{role}" CREATEDB.'
        return Finding("right to create", False, f"{role} may not create databases", remedy)
    privilege = "SET" if view.server.version >= 160000 else "MEMBER"
    try:
        row: Any = view.connection.execute(MAY_GIVE, [owner, privilege]).fetchone()
    except psycopg.errors.UndefinedObject:
        remedy = f'Create it: CREATE ROLE "{owner}".'
        return Finding("right to create", False, f"the owner to be, {owner}, does not exist any more", remedy)
    return judged(
        "right to create",
        bool(row[0]),
        f"{role} may not give a database to {owner}",
        f"Connect as {owner} or as a superuser.",
    )


def is_supported(version: str) -> bool:
    """Return whether a version of TimescaleDB, such as 2.19.3 or 2.20.0-dev, is one that all of this is made for."""
    number = tuple(int(part) for part in version.split("-")[0].split(".")[:2])
    return OLDEST_TIMESCALEDB <= number < NEXT_TIMESCALEDB


def has_timescaledb(view: View) -> Iterator[Finding]:
    """Yield whether TimescaleDB is there, supported, loaded, and may be created."""
    row: Any = view.connection.execute(TIMESCALEDB).fetchone()
    missing = Finding(
        "TimescaleDB available",
        False,
        "TimescaleDB is not installed on the server",
        "Install it there, or use a server that has it: `invoke server.install`, `invoke server.up`.",
    )
    if row is None:
        yield missing
        return
    version, trusted, preloaded = row
    yield Finding("TimescaleDB available", True)
    yield judged(
        "TimescaleDB version",
        is_supported(version),
        f"TimescaleDB {version} is not supported",
        "Install TimescaleDB 2.10 or a newer 2.x.",
    )
    yield judged(
        "TimescaleDB preloaded",
        preloaded,
        "TimescaleDB is installed, but the server does not load it",
        "Add timescaledb to shared_preload_libraries and restart the server.",
    )
    yield judged(
        "right to create TimescaleDB",
        view.server.superuser or trusted,
        f"only a superuser may create the extension here, and {view.server.role} is none",
        "Connect as a superuser.",
    )
