"""Wait until a server accepts connections and TimescaleDB can be loaded; the target database need not exist."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from dbops import postgres
from dbops.database.inspection import TIMESCALEDB
from dbops.database.preflight import timescaledb
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
    with postgres.deadline(timeout + PAUSE_SECONDS):
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


def _look(target: Target, *, again: bool = True) -> tuple[str, str] | ServerError:
    """Return the versions of PostgreSQL and TimescaleDB, or why the server is not ready yet.

    A role that may not connect to the maintenance database looks from the target. Raises ServerError only for a server
    that accepts connections, but rejects this one.
    """
    refusals: list[ServerError] = []
    target = replace(target, parameters={"connect_timeout": "5", **target.parameters})
    for database in dict.fromkeys((target.maintenance_database, target.database)):
        try:
            with (
                postgres.reader(target, database, settings=postgres.UNLOADED) as connection,
                postgres.reading(connection),
            ):
                version: Any = connection.execute("SHOW server_version").fetchone()
                row: Any = connection.execute(TIMESCALEDB).fetchone()
        except ServerError as error:
            refusals.append(error)
            parameters = {**target.parameters, "dbname": target.maintenance_database}
            if Ping(PGconn.ping(make_conninfo("", **parameters).encode())) != Ping.OK:
                return error  # No connection at all is accepted, whatever user and password.
        else:
            available, _, preloaded = row or ("", False, False)
            lacking = [c for c in timescaledb(available, preloaded=preloaded) if not c.passed]
            if lacking:
                return ServerError(lacking[0].reason, where=target.server, hint=lacking[0].remedy)
            return version[0], available
    # It may have become ready since it refused.
    if again:
        return _look(target, again=False)
    raise refusals[0]
