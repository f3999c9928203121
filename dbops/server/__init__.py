"""The embedded server: PostgreSQL with TimescaleDB from local programs, in a directory of its own."""

from __future__ import annotations

from collections.abc import Mapping

from dbops.events import Report, ignore
from dbops.server.find import Installation
from dbops.server.layout import Layout
from dbops.server.log import follow_log, log_lines
from dbops.server.verbs import Place, Status, destroy, down, install, status, up

__all__ = [
    "Installation",
    "Layout",
    "Place",
    "Status",
    "destroy",
    "down",
    "ensure_running",
    "follow_log",
    "install",
    "log_lines",
    "status",
    "up",
]


def ensure_running(environ: Mapping[str, str], *, ask: bool = False, report: Report = ignore) -> str:
    """Return the running embedded server's address without a database, after installing and starting it if need be.

    `ask` lets sudo ask for a password. Raises ServerError, with the other ways to get a server, if it cannot.
    """
    from dbops.server import access

    place = Place.of(environ)
    if not place.installations() and not place.layout.made:
        install(place, ask=ask, report=report)
    running = up(place, report=report)
    return access.by_socket(place.layout, running).url()
