"""The fence around a database that is to be dropped: nobody gets in, whoever is inside is ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from psycopg import sql

from dbops.errors import ServerError
from dbops.events import Message, Report
from dbops.lifecycle import workers
from dbops.lifecycle.sessions import Session, end, sessions
from dbops.postgres import Connection, maintenance, run
from dbops.settings import Target

PAUSE = 0.05


@dataclass(slots=True)
class Fence:
    """A fence that is up; `own` are our sessions inside, `ended` collects those that were ended, by process."""

    connection: Connection
    target: Target
    report: Report
    own: tuple[int, ...] = ()
    ended: dict[int, Session] = field(default_factory=dict)

    def raise_up(self) -> None:
        """Let nobody in from now on, superusers included."""
        run(self.connection, _allow(self.target.database, False), self.report)

    def clear(self, deadline: float) -> tuple[Session, ...]:
        """End all sessions inside and wait until they are gone; return those left at the deadline."""
        while True:
            left = sessions(self.connection, self.target.database, own=self.own)
            for session in left:
                if session.endable and session.pid not in self.ended and end(self.connection, session):
                    self.ended[session.pid] = session
                    self.report(Message("DEBUG", f"ended {session}"))
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(PAUSE)


def lift(target: Target, report: Report) -> str:
    """Make a fenced database work as before, TimescaleDB's scheduler too; return what could not be done, or nothing.

    Uses a connection of its own, since the one that raised the fence may be broken.
    """
    with maintenance(target) as connection:
        run(connection, _allow(target.database, True), report)
    if workers.restart(target):
        return ""
    return (
        "TimescaleDB's scheduler does not run in it: "
        "as a superuser, call _timescaledb_functions.start_background_workers() there"
    )


def lift_quietly(target: Target, report: Report) -> str:
    """Lift the fence where an error is already on its way: what could not be done is returned, never raised."""
    try:
        return lift(target, report)
    except ServerError as error:
        return f"its fence could not be lifted ({error.what}): run `invoke db.rebuild` or `invoke db.drop` again"


def _allow(database: str, allowed: bool) -> sql.Composable:
    value = sql.SQL("true" if allowed else "false")
    return sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(database), value)
