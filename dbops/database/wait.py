"""Wait until a server accepts connections and TimescaleDB can be loaded; the target database need not exist."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from dbops import postgres
from dbops.database.inspection import TIMESCALEDB
from dbops.database.preflight import INSTALL, PRELOAD
from dbops.errors import ServerError
from dbops.events import Message, Report, ignore
from dbops.settings import Target

PAUSE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Ready:
    """A server that is ready, after `seconds`."""

    server: str
    postgresql: str
    timescaledb: str
    seconds: float


def wait(target: Target, *, timeout: float, report: Report = ignore) -> Ready:
    """Return when the server is ready; ServerError after `timeout` seconds, or at once if it rejects this role."""
    began = time.monotonic()
    said = ""
    while True:
        found = _look(target)
        spent = time.monotonic() - began
        if not isinstance(found, ServerError):
            return Ready(target.server, *found, spent)
        if spent + PAUSE_SECONDS > timeout:
            raise found
        if found.what != said:
            report(Message("INFO", f"waiting up to {timeout:g} s: {found.what}", target.server))
            said = found.what
        time.sleep(PAUSE_SECONDS)


def _look(target: Target) -> tuple[str, str] | ServerError:
    """Return the versions of PostgreSQL and TimescaleDB, or why the server is not ready yet.

    Raises ServerError only for a server that accepts connections, but rejects this one.
    """
    if (trouble := _unreachable(target)) is not None:
        return trouble
    try:
        with (
            postgres.translated(target, target.maintenance_database),
            postgres.connect(target, target.maintenance_database, settings=postgres.UNLOADED) as connection,
        ):
            version: Any = connection.execute("SHOW server_version").fetchone()
            row: Any = connection.execute(TIMESCALEDB).fetchone()
    except ServerError:
        if (trouble := _unreachable(target)) is not None:
            return trouble
        raise
    if row is None:
        return ServerError("TimescaleDB is not installed on the server", where=target.server, hint=INSTALL)
    if not row[2]:
        what = "TimescaleDB is installed, but the server does not load it"
        return ServerError(what, where=target.server, hint=PRELOAD)
    return version[0], row[0]


def _unreachable(target: Target) -> ServerError | None:
    """Return why no connection is accepted at all, or None; a wrong password does not matter here."""
    parameters = {"connect_timeout": "5", **target.parameters, "dbname": target.maintenance_database}
    answer = Ping(PGconn.ping(make_conninfo("", **parameters).encode()))
    if answer == Ping.OK:
        return None
    if answer == Ping.REJECT:
        return ServerError("the server is starting or stopping", where=target.server, hint=postgres.UNREACHABLE)
    try:
        postgres.connect(target, target.maintenance_database, connect_timeout=5).close()
    except ServerError as error:
        return error
    return None
