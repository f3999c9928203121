"""Watch the session that migrates from another one: who blocks it, how long it has waited, how far a statement is."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psycopg

from dbops import events, postgres
from dbops.errors import DbopsError
from dbops.events import Report
from dbops.postgres import Connection, sql_file
from dbops.settings import Target

_ALIVE_SECONDS = 10.0
_LONGEST_INTERVAL = 1.0
_SHORTEST_INTERVAL = 0.025
_SHOWN_CHARACTERS = 60

_PROGRESS = sql_file("dbops.migrations", "progress")
_WAITING = """
SELECT extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.min(l.waitstart))::float8
FROM pg_catalog.pg_locks AS l WHERE l.pid = %s AND NOT l.granted
"""
# What the server's own limit is late by at most, in seconds.
_SLACK = 1.0
# If it still waits by then.
_CANCEL = """
SELECT pg_catalog.pg_cancel_backend(l.pid) FROM pg_catalog.pg_locks AS l WHERE l.pid = %s AND NOT l.granted LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class _Running:
    """What the watched session does now; `since` is the client's monotonic clock, `interval` how soon to look.

    `bound` is how long the attempt may wait for locks in all, `longest` how long for one of them; all are seconds, and
    0 is no bound.
    """

    where: str
    sql: str
    since: float
    interval: float
    bound: float = 0.0
    longest: float = 0.0


class LockWatch:
    """Watches one session from a thread of its own; `blockers` are those seen last while it waited.

    `waited` is for how many seconds an attempt has waited for locks that it got, `expired` whether it was canceled
    since it had waited for long enough.

    It looks through the connection `observer`, which has no other use meanwhile, or else, once something takes long,
    through one of its own.
    """

    def __init__(self, target: Target, pid: int, observer: Connection | None, report: Report) -> None:
        self.blockers: tuple[str, ...] = ()
        self.told = False
        self.waited = 0.0
        self.expired = False
        self._waiting = 0.0
        self._target = target
        self._pid = pid
        self._observer = observer
        self._report = report
        self._running: _Running | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="lock-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=2)

    def new_attempt(self) -> None:
        """Count from now on what an attempt waits for locks."""
        self.blockers = ()
        self.waited = 0.0
        self.expired = False

    def begin(self, where: str, statement: str, limit: float, *, bounded: bool) -> None:
        """Watch from now on a statement; `limit` is how long it may wait for a lock, in seconds, and 0 is no limit.

        If `bounded`, the attempt may wait no longer for all of its locks: the statement that does is canceled. So is
        one that waits much longer for a single lock, as where a file has put the server's own limit out of force.
        """
        self.blockers = ()
        interval = min(_LONGEST_INTERVAL, limit / 4) or _LONGEST_INTERVAL
        longest = limit + _SLACK if limit else 0.0
        self._running = _Running(where, statement, time.monotonic(), interval, limit if bounded else 0.0, longest)

    def end(self) -> None:
        """Watch no longer."""
        self._running = None
        self.waited += self._waiting
        self._waiting = 0.0

    def _loop(self) -> None:
        """Look whenever a statement has been running for one interval, and less often the longer it runs.

        A statement that takes long is reported, with its progress.
        """
        connection = self._observer
        spoken = 0.0
        pause = _SHORTEST_INTERVAL
        try:
            while not self._stop.wait(pause):
                # Read once: the session at work may end the statement between two reads.
                running = self._running
                pause = running.interval if running else _SHORTEST_INTERVAL
                if running is None or time.monotonic() - running.since < running.interval:
                    continue
                connection = connection or postgres.connect(self._target)
                self._look(connection, running)
                elapsed = time.monotonic() - running.since
                if not self.blockers:
                    pause = max(pause, min(elapsed / 4, _LONGEST_INTERVAL))
                if min(elapsed, time.monotonic() - spoken) < _ALIVE_SECONDS:
                    continue
                spoken = time.monotonic()
                row: Any = connection.execute(_PROGRESS.encode(), [self._pid]).fetchone()
                if self._running is running:
                    how = "; still waiting for a lock" if self.blockers else ""
                    if row:
                        phase, done, total = row
                        how += f"; {phase}" + (f", {100 * done // total}%" if total else "")
                    text = " ".join(running.sql.split())
                    shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
                    self._report(events.Message("INFO", f"running for {elapsed:.0f} s: {shown}{how}", running.where))
        except (psycopg.Error, DbopsError):
            return  # Watching is optional: the watched session reports its own failure.
        finally:
            if connection and connection is not self._observer:
                connection.close()

    def _look(self, connection: Connection, running: _Running) -> None:
        """See who blocks the statement, say so the first time, and cancel it if the attempt has waited long enough."""
        seen = postgres.sessions_blocking(connection, self._pid)
        if self._running is not running:
            return
        if not seen:
            self.waited += self._waiting
            self._waiting = 0.0
            return
        self.blockers = seen
        if not self.told:
            self.told = True
            self._report(events.Message("INFO", f"waiting for a lock held by {'; '.join(seen)}", running.where))
        row: Any = connection.execute(_WAITING, [self._pid]).fetchone()
        self._waiting = float(row[0] or 0)
        late = 0 < running.bound < self.waited + self._waiting or 0 < running.longest < self._waiting
        if late and self._running is running:
            self.expired = True
            connection.execute(_CANCEL, [self._pid])
