"""Waits that end: a connection that is given up at a deadline, or when nothing can come over it any more."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.waiting import Ready, Wait

from dbops.postgres.errors import is_answer

Result = TypeVar("Result")

# After so many seconds without a byte from the server another session asks what this one does there.
SILENCE = 15.0
# How long that other session may take, to connect and to answer, in seconds.
PATIENCE = 5.0
# A session that waits for its client, while the client waits for the session: what one of them sent was lost.
_STATE = """
SELECT CASE
    WHEN a.state IS NULL OR a.state OPERATOR(pg_catalog.=) 'disabled' THEN 'unknown'
    WHEN a.state OPERATOR(pg_catalog.<>) 'active' OR a.wait_event_type OPERATOR(pg_catalog.=) 'Client' THEN 'stalled'
    ELSE 'at work' END
FROM pg_catalog.pg_stat_activity AS a WHERE a.pid OPERATOR(pg_catalog.=) %s
"""

_limit: ContextVar[tuple[float, float] | None] = ContextVar("limit", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End the connections that wait for their server when so many seconds have passed since this was entered.

    The code that waits gets psycopg.OperationalError, as for a connection that was lost. A deadline inside another one
    does not prolong it.
    """
    ends = time.monotonic() + seconds
    outer = _limit.get()
    token = _limit.set(outer if outer and outer[0] < ends else (ends, seconds))
    try:
        yield
    finally:
        _limit.reset(token)


def attempts(seconds: float, pause: float) -> Iterator[None]:
    """Yield at once and, with a pause in seconds before each, again and again until so many seconds have passed.

    A loop over it tries once at least, and ends with a `return` or a `break` when there is nothing left to wait for.
    """
    ends = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() > ends:
            return
        time.sleep(pause)


def seconds_left(timeout: str) -> str:
    """Return a `connect_timeout` that does not go beyond the deadline, in seconds as libpq takes it."""
    limit = _limit.get()
    if not limit:
        return timeout
    left = max(1, math.ceil(limit[0] - time.monotonic()))
    return str(min(left, int(timeout)) if timeout.isdigit() and int(timeout) else left)


class WatchedConnection(psycopg.Connection[tuple[object, ...]]):
    """A connection that does not wait for ever: `given_up` says why it was closed while it waited.

    `parameters` are those that it was made with. It sends nothing unless its settings are known to be `in_force`. It is
    `direct` if the server knows the session by the number that the client knows, which a pooler's client does not.
    `maintenance` is the database in which another session is asked if this one's takes no connections.
    """

    parameters: Mapping[str, str]
    in_force = False
    direct = False
    maintenance = "postgres"
    given_up = ""

    def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:
        """Consume a generator of psycopg's, until the deadline or until nothing can come any more."""
        if not self.in_force:
            raise RuntimeError("a statement outside of a transaction that has the settings of this tool")
        try:
            return super().wait(self._watched(gen), interval=interval, timeout=timeout)
        except psycopg.OperationalError:
            if self.given_up:
                raise psycopg.OperationalError(self.given_up) from None
            raise

    def _watched(self, gen: PQGen[Result]) -> Generator[Wait, Ready | int, Result]:
        """Hand on what psycopg's generator waits for, and look in between whether the wait has an end."""
        heard = time.monotonic()
        silence = SILENCE
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                now = time.monotonic()
                limit = _limit.get()
                if ready:
                    heard, silence = now, SILENCE
                if limit and now >= limit[0]:
                    self._give_up(f"no result within {limit[1]:g} s")
                elif now - heard >= silence:
                    if self._is_stalled():
                        self._give_up(f"the connection has stalled: nothing came for {now - heard:.0f} s")
                    heard, silence = time.monotonic(), min(2 * silence, 4 * SILENCE)
                wanted = gen.send(ready)
        except StopIteration as end:
            result: Result = end.value
            return result

    def _give_up(self, reason: str) -> None:
        """End the connection below libpq, which then reports a lost one to the code that waits."""
        if not self.given_up:
            self.given_up = reason
            with suppress(OSError), socket.socket(fileno=os.dup(self.pgconn.socket)) as end:
                end.shutdown(socket.SHUT_RDWR)

    def _is_stalled(self) -> bool:
        """Return whether the server, asked in another session, has nothing to do for this one, or does not answer.

        A server that answers, but not this question, may be at work.
        """
        for database in dict.fromkeys((self.info.dbname, self.maintenance)):
            # One of several hosts.
            there = {"host": self.info.host, "hostaddr": self.info.hostaddr, "port": str(self.info.port)}
            given = {**self.parameters, **there, "dbname": database, "connect_timeout": f"{PATIENCE:.0f}"}
            try:
                with (
                    deadline(PATIENCE),
                    WatchedConnection.connect(make_conninfo("", **given), autocommit=True) as other,
                ):
                    other.in_force = True  # No name in the query below needs a setting.
                    row = other.execute(_STATE, [self.info.backend_pid]).fetchone()
            except psycopg.Error as error:
                if not is_answer(error):
                    return True
            else:
                return row == ("stalled",) or (row is None and self.direct)
        return False
