"""Who stands in the way: the sessions that hold a lock, seen from a second connection while the first one waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import psycopg

from dbops import postgres
from dbops.errors import DbopsError
from dbops.events import Message, Report
from dbops.postgres import Connection
from dbops.settings import Target

_DESCRIBE = """
SELECT CASE WHEN b.pid = 0 THEN 'a prepared transaction' ELSE concat_ws(', ',
    'session ' || b.pid, 'role ' || a.usename, nullif(a.application_name, ''), host(a.client_addr), a.state,
    'for ' || extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.backend_start))::integer || ' s',
    nullif(left(regexp_replace(a.query, '\\s+', ' ', 'g'), 60), '')) END
FROM {} AS b (pid) LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid ORDER BY b.pid
"""
_BLOCKERS = _DESCRIBE.format("(SELECT DISTINCT unnest(pg_catalog.pg_blocking_pids(%s)))")
_HOLDERS = _DESCRIBE.format(
    """(SELECT pid FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) + objid::bigint = %s)"""
)


def holders(connection: Connection, key: int) -> tuple[str, ...]:
    """Return who holds a session advisory lock of this database, a line each."""
    return tuple(str(row[0]) for row in connection.execute(_HOLDERS, [key]))


class LockWatch:
    """Watches one session from a thread of its own; `blockers` are those seen last while it waited."""

    def __init__(self, target: Target, pid: int, report: Report) -> None:
        self.blockers: tuple[str, ...] = ()
        self._target = target
        self._pid = pid
        self._report = report
        self._interval = 0.25
        self._since: float | None = None
        self._where = ""
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

    @contextmanager
    def statement(self, where: str, lock_timeout: float) -> Iterator[None]:
        """Watch while a statement runs; `lock_timeout` in seconds tells how soon to look, 0 is none."""
        self.blockers = ()
        self._where = where
        self._interval = min(1.0, lock_timeout / 4) or 1.0
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def _loop(self) -> None:
        """Look whenever a statement has been running for longer than one interval."""
        connection: Connection | None = None
        try:
            while not self._stop.wait(self._interval):
                # Read once: the session at work may end the wait between two reads.
                since = self._since
                if since is None or time.monotonic() - since < self._interval:
                    continue
                connection = connection or postgres.connect(self._target)
                self._look(connection)
        except (psycopg.Error, DbopsError):
            return  # Watching is a courtesy: what is watched reports its own failure.
        finally:
            if connection:
                connection.close()

    def _look(self, connection: Connection) -> None:
        seen = tuple(str(row[0]) for row in connection.execute(_BLOCKERS, [self._pid]))
        if seen and seen != self.blockers and self._since is not None:
            first = not self.blockers
            self.blockers = seen
            if first:
                self._report(Message("INFO", f"waits for a lock held by {'; '.join(seen)}", self._where))
