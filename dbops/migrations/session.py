"""The session that migrations run in: its settings, how statements travel, who blocks it, and that it is alone."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.errors import Diagnostic, error_from_result
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.waiting import Ready, Wait

from dbops import postgres
from dbops.errors import DbopsError, PreflightError, UsageError
from dbops.events import Message, Report
from dbops.migrations import errors
from dbops.migrations.errors import StatementError
from dbops.migrations.files import Migration, seconds
from dbops.migrations.sqlsplit import Statement, location_at
from dbops.postgres import Connection
from dbops.settings import Target

# A session that waits for a strong lock blocks all sessions queued behind it: hence many short attempts.
LOCK_TIMEOUT = "1s"
LOCK_BUDGET = "5min"
# Outside a transaction (CREATE INDEX CONCURRENTLY) waiting blocks no session, and a timeout leaves an invalid index.
PATIENT_LOCK_TIMEOUT = "10min"
STATEMENT_TIMEOUT = "0"
MIGRATION_LOCK = int.from_bytes(b"dbopsmig")
TRANSACTION_TIMEOUT_SINCE = 170000

_POLL_SECONDS = 0.2
_ALIVE_SECONDS = 10.0
_LONGEST_INTERVAL = 1.0
_SHOWN_CHARACTERS = 60
# How much travels ahead of its results: enough for a slow link, and bounded.
_MOST_COMMANDS = 200
_MOST_BYTES = 1 << 20
_LEVELS = {"WARNING": "WARNING", "NOTICE": "INFO", "INFO": "INFO"}

# Whether the migration lock was free and is ours now; the owner of the database, if this role may act as it and is not
# it already.
_OPEN = """
SELECT pg_catalog.pg_try_advisory_lock({lock}), CASE
    WHEN pg_catalog.pg_get_userbyid(d.datdba) <> session_user
    AND pg_catalog.pg_has_role(session_user, d.datdba, {privilege})
    THEN pg_catalog.pg_get_userbyid(d.datdba)::text END
FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
"""

# Only some roles may set these, so they are left alone where they are as they should be.
_PRIVILEGED = """
SELECT pg_catalog.set_config(s.name, s.value, {})
FROM (VALUES ('session_replication_role', 'origin'), ('lc_messages', 'C')) AS s (name, value)
WHERE pg_catalog.current_setting(s.name) <> s.value
  AND (s.name <> 'lc_messages' OR pg_catalog.has_parameter_privilege(s.name, 'SET'))
"""

# What a file took for the session besides the migration lock, which pg_advisory_unlock_all releases, too.
_ADVISORY = f"""
SELECT CASE WHEN l.objsubid = 1
    THEN pg_catalog.pg_advisory_unlock((l.classid::int8 << 32) | l.objid::int8)
    ELSE pg_catalog.pg_advisory_unlock(l.classid::int4, l.objid::int4) END
FROM pg_catalog.pg_locks AS l
WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid() AND l.mode = 'ExclusiveLock'
  AND NOT (l.objsubid = 1 AND (l.classid::int8 << 32) | l.objid::int8 = {MIGRATION_LOCK})
"""
_ADVISORY_SHARED = _ADVISORY.replace("pg_advisory_unlock(", "pg_advisory_unlock_shared(").replace(
    "'ExclusiveLock'", "'ShareLock'"
)
_TRY_LOCK = f"SELECT pg_catalog.pg_try_advisory_lock({MIGRATION_LOCK})"

_PROGRESS = """
SELECT p.phase, p.done, p.total FROM (
    SELECT pid, phase, blocks_done + tuples_done, blocks_total + tuples_total
    FROM pg_catalog.pg_stat_progress_create_index
    UNION ALL SELECT pid, phase, heap_blks_scanned, heap_blks_total FROM pg_catalog.pg_stat_progress_cluster
    UNION ALL SELECT pid, 'copying', bytes_processed, bytes_total FROM pg_catalog.pg_stat_progress_copy
) AS p (pid, phase, done, total) WHERE p.pid = %s
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator asked for; empty leaves it to a file's header, then to the default."""

    lock: str = ""
    statement: str = ""
    budget: str = ""

    def lock_for(self, migration: Migration) -> str:
        """Return how long a migration may wait for a lock at a time."""
        default = LOCK_TIMEOUT if migration.header.transactional else PATIENT_LOCK_TIMEOUT
        return self.lock or migration.header.lock_timeout or default

    def statement_for(self, migration: Migration) -> str:
        """Return how long one of a migration's statements may take."""
        return self.statement or migration.header.statement_timeout or STATEMENT_TIMEOUT

    def budget_for(self, migration: Migration) -> str:
        """Return how long to go on trying to acquire a migration's locks."""
        return self.budget or migration.header.lock_budget or LOCK_BUDGET


def checked_limits(lock_timeout: str, statement_timeout: str, lock_budget: str) -> Limits:
    """Return the operator's limits; UsageError for one that is not a duration."""
    for option, value in (
        ("--lock-timeout", lock_timeout),
        ("--statement-timeout", statement_timeout),
        ("--lock-budget", lock_budget),
    ):
        try:
            seconds(value or "0")
        except ValueError as error:
            raise UsageError(str(error), where=option, hint=f"Write it as in `{option} 5s`.") from None
    return Limits(lock_timeout.strip(), statement_timeout.strip(), lock_budget.strip())


@dataclass(frozen=True, slots=True)
class Command:
    """One statement to send for a migration: its own, at `statement` of its text, or one of the runner's.

    `done` receives its result.
    """

    sql: str
    migration: Migration
    statement: Statement | None = None
    line: int = 0
    done: Callable[[PGresult], None] | None = None

    @property
    def where(self) -> str:
        """Return the file, and the line where it is one of the file's statements."""
        return f"{self.migration.label}:{self.line}" if self.line else self.migration.label


@dataclass(slots=True)
class Session:
    """An open session.

    `where` is what is at work, for notices, since the client's monotonic clock `since`; `clean` is whether no file has
    left anything in it; `locks` counts how often it has taken the migration lock.
    """

    connection: Connection
    target: Target
    limits: Limits
    watch: LockWatch
    report: Report
    owner: str | None
    where: str = ""
    clean: bool = False
    since: float = 0.0
    locks: int = 0

    @property
    def in_transaction(self) -> bool:
        """Return whether a transaction is open and sound."""
        return self.connection.info.transaction_status == TransactionStatus.INTRANS

    def script(self, *statements: str | sql.Composable) -> None:
        """Run statements of the runner's own in one round trip."""
        parts = [sql.SQL(part) if isinstance(part, str) else part for part in statements]
        self.connection.execute(sql.SQL("; ").join(parts))

    def resetting(self, *, local: bool) -> list[str]:
        """Return what takes back all that a file may have left in the session; `local` in a transaction."""
        self.locks += 1
        return [
            "RESET SESSION AUTHORIZATION",
            "RESET ALL",
            "SET client_encoding = 'UTF8'",
            _PRIVILEGED.format(str(local).lower()),
            # What a file locked for its transaction only is still locked, and says so.
            f"SET {'LOCAL ' if local else ''}client_min_messages = error",
            "CLOSE ALL",
            "DEALLOCATE ALL",
            "UNLISTEN *",
            "DISCARD TEMP",
            _ADVISORY,
            _ADVISORY_SHARED,
            _TRY_LOCK,
            *self.as_owner(local=local),
        ]

    def as_owner(self, *, local: bool) -> list[str]:
        """Return what makes the following act as the database's owner."""
        if not self.owner:
            return []
        return [f"SET {'LOCAL ' if local else ''}ROLE {sql.Identifier(self.owner).as_string(self.connection)}"]

    def settings(self, migration: Migration, path: str, *, local: bool, statement_timeout: str = "0") -> str:
        """Return what puts a search path and a migration's limits into force, as a select list."""
        values = {
            "search_path": path,
            "client_min_messages": "notice",
            "lock_timeout": self.limits.lock_for(migration),
            "statement_timeout": statement_timeout,
            **(
                {"transaction_timeout": "0"} if self.connection.info.server_version >= TRANSACTION_TIMEOUT_SINCE else {}
            ),
        }
        return ", ".join(f"pg_catalog.set_config('{name}', '{value}', {local})" for name, value in values.items())

    def keep_lock(self) -> str:
        """Return what holds the migration lock for the open transaction, whatever a file releases."""
        return f"SELECT pg_catalog.pg_try_advisory_xact_lock({MIGRATION_LOCK})"

    def close(self) -> None:
        """Leave the connection as it was: without what files left in it, and without the migration lock."""
        if self.connection.closed or self.connection.info.transaction_status != TransactionStatus.IDLE:
            return
        reset = [] if self.clean else [*self.resetting(local=False), "RESET ROLE", "RESET client_min_messages"]
        unlock = (
            f"SELECT pg_catalog.pg_advisory_unlock({MIGRATION_LOCK}) FROM pg_catalog.generate_series(1, {self.locks})"
        )
        with suppress(psycopg.Error):
            self.script(*reset, unlock)

    def begin(self, command: Command) -> None:
        """Note that the server turns to a command."""
        self.where = command.where
        self.since = time.monotonic()
        self.watch.begin(command.where, command.sql, seconds(self.limits.lock_for(command.migration)))

    def end(self, command: Command, result: PGresult) -> None:
        """Hand on the result of a command, or raise StatementError if it is an error."""
        self.watch.end()
        if result.status == ExecStatus.FATAL_ERROR:
            raise self.failure(command, error_from_result(result, encoding="utf-8"))
        if command.done:
            command.done(result)

    def failure(self, command: Command, error: psycopg.Error) -> StatementError:
        """Return the error of a command with its location in the file."""
        migration, statement = command.migration, command.statement
        limit = seconds(self.limits.statement_for(migration))
        took = time.monotonic() - self.since
        timed_out = error.sqlstate == "57014" and bool(limit) and took >= 0.9 * limit
        location = None
        if statement:
            counts_bytes = self.connection.info.parameter_status("server_encoding") == "SQL_ASCII"
            offset = errors.offset_of(migration.text, statement, error.diag, counts_bytes=counts_bytes)
            location = location_at(migration.text, offset, migration.label)
        return StatementError(migration, error, location, timed_out=timed_out)

    def run(self, commands: Iterable[Command], began: Callable[[Command], None]) -> None:
        """Run commands one by one; StatementError for the first that fails."""
        for command in commands:
            began(command)
            self.begin(command)
            try:
                cursor = self.connection.execute(command.sql.encode())
            except psycopg.Error as error:
                raise self.failure(command, error) from None
            finally:
                self.watch.end()
            if command.done and cursor.pgresult:
                command.done(cursor.pgresult)

    def stream(self, commands: Iterator[Command], began: Callable[[Command], None]) -> None:
        """Run commands in libpq's pipeline mode: sent ahead of their results; StatementError for the first that fails.

        The server skips whatever follows a command that failed.
        """
        pgconn = self.connection.pgconn
        pgconn.enter_pipeline_mode()
        try:
            failure = self.connection.wait(self._streamed(commands, began))
        finally:
            self.watch.end()
            if pgconn.status == ConnStatus.OK:
                try:
                    pgconn.exit_pipeline_mode()
                except psycopg.Error:
                    self.connection.close()  # An exception of ours left results unread.
        if failure:
            raise failure

    def _streamed(
        self, commands: Iterator[Command], began: Callable[[Command], None]
    ) -> Generator[Wait, Ready | int, StatementError | None]:
        """Return the first failure, once all results are read: psycopg reads on when it cancels what runs."""
        pgconn = self.connection.pgconn
        sent: deque[Command] = deque()
        size = 0
        failure: StatementError | None = None
        result: PGresult | None = None
        complete = False
        while True:
            while not complete and len(sent) < _MOST_COMMANDS and size < _MOST_BYTES:
                command = None if failure else next(commands, None)
                if command is None:
                    pgconn.pipeline_sync()
                    complete = True
                    break
                pgconn.send_query_params(command.sql.encode(), None)
                pgconn.send_flush_request()
                size += len(command.sql)
                sent.append(command)
                if len(sent) == 1:
                    began(command)
                    self.begin(command)
            ready = yield Wait.RW if pgconn.flush() else Wait.R
            # psycopg resumes with nothing ready after it has canceled what runs.
            if ready and ready & Ready.R:
                try:
                    pgconn.consume_input()
                except psycopg.Error as error:
                    if not (failure or sent):
                        raise
                    return failure or self.failure(sent[0], error)
            while not pgconn.is_busy():
                received = pgconn.get_result()
                if received is None:
                    if result is None:
                        break
                    # A command is complete: the server turns to the next one.
                    command = sent.popleft()
                    size -= len(command.sql)
                    if result.status != ExecStatus.PIPELINE_ABORTED and failure is None:
                        try:
                            self.end(command, result)
                        except StatementError as error:
                            failure = error
                    if sent and failure is None:
                        began(sent[0])
                        self.begin(sent[0])
                    result = None
                elif received.status == ExecStatus.PIPELINE_SYNC:
                    return failure
                else:
                    result = received

    def on_notice(self, diag: Diagnostic) -> None:
        """Report what the server says on the side, with the file that made it say so."""
        level = _LEVELS.get(diag.severity_nonlocalized or "", "DEBUG")
        detail = "".join(f" ({part})" for part in (diag.message_detail, diag.message_hint) if part)
        self.report(Message(level, f"{diag.severity}: {diag.message_primary}{detail}", self.where))


def texts(result: PGresult | None) -> list[tuple[str | None, ...]]:
    """Return the rows of a result as the server writes them."""
    if result is None:
        return []
    return [
        tuple(
            None if (value := result.get_value(row, column)) is None else bytes(value).decode()
            for column in range(result.nfields)
        )
        for row in range(result.ntuples)
    ]


@contextmanager
def opened(
    connection: Connection,
    target: Target,
    limits: Limits,
    observer: Connection | None,
    patience: float,
    report: Report,
) -> Iterator[Session]:
    """Make a connection the one session that migrates the database, watched by `observer` or a connection of its own.

    Raises PreflightError if another session migrates it for longer than `patience` seconds.
    """
    with LockWatch(target, connection.info.backend_pid, observer, report) as watch:
        privilege = "'SET'" if connection.info.server_version >= 160000 else "'MEMBER'"
        if connection.info.encoding != "utf-8":
            connection.execute("SET client_encoding = 'UTF8'")
        row: Any = connection.execute(_OPEN.format(lock=MIGRATION_LOCK, privilege=privilege).encode()).fetchone()
        locked, owner = row
        session = Session(connection, target, limits, watch, report, owner, locks=int(locked))
        connection.add_notice_handler(session.on_notice)
        try:
            _wait_alone(session, patience)
            yield session
        finally:
            connection.remove_notice_handler(session.on_notice)
            session.close()


def _wait_alone(session: Session, patience: float) -> None:
    """Take the database's migration lock for this session; PreflightError names its holder after `patience` seconds.

    It is polled for, since a session that waits for a lock holds a snapshot, and CREATE INDEX CONCURRENTLY in the
    session that has the lock would wait for that, for ever.
    """
    deadline = time.monotonic() + patience
    told = False
    while not session.locks:
        holder = postgres.lock_holder(session.connection, MIGRATION_LOCK)
        if not told:
            session.report(Message("INFO", f"waiting for another migration: {holder}"))
            told = True
        if time.monotonic() > deadline:
            raise PreflightError(
                f"another migration of this database is running: {holder}",
                where=str(session.target),
                state="Nothing was applied.",
                hint="Wait for it to end, then run `invoke db.migrate` again.",
            )
        time.sleep(_POLL_SECONDS)
        session.locks = int(postgres.try_lock(session.connection, MIGRATION_LOCK))


@dataclass(frozen=True, slots=True)
class _Running:
    """What the watched session does now; `since` is the client's monotonic clock, `interval` how soon to look."""

    where: str
    sql: str
    since: float
    interval: float


class LockWatch:
    """Watches one session from a thread of its own; `blockers` are those seen last while it waited.

    It looks through the connection `observer`, which has no other use meanwhile, or else, once something takes long,
    through one of its own.
    """

    def __init__(self, target: Target, pid: int, observer: Connection | None, report: Report) -> None:
        self.blockers: tuple[str, ...] = ()
        self.told = False
        self._target = target
        self._pid = pid
        self._observer = observer
        self._report = report
        self._running: _Running | None = None
        self._interval = 0.25
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

    def begin(self, where: str, statement: str, lock_timeout: float) -> None:
        """Watch from now on a statement whose lock timeout is so many seconds; 0 is none."""
        self.blockers = ()
        self._interval = min(_LONGEST_INTERVAL, lock_timeout / 4) or _LONGEST_INTERVAL
        self._running = _Running(where, statement, time.monotonic(), self._interval)

    def end(self) -> None:
        """Watch no longer."""
        self._running = None

    def _loop(self) -> None:
        """Look whenever a statement has been running for longer than one interval."""
        connection = self._observer
        spoken = 0.0
        try:
            while not self._stop.wait(self._interval):
                # Read once: the session at work may end the statement between two reads.
                running = self._running
                if running is None or time.monotonic() - running.since < running.interval:
                    continue
                connection = connection or postgres.connect(self._target)
                self._look(connection, running)
                elapsed = time.monotonic() - running.since
                if elapsed >= _ALIVE_SECONDS and time.monotonic() - spoken >= _ALIVE_SECONDS:
                    spoken = time.monotonic()
                    self._speak(connection, running, elapsed)
        except (psycopg.Error, DbopsError):
            return  # Watching is optional: the watched session reports its own failure.
        finally:
            if connection and connection is not self._observer:
                connection.close()

    def _look(self, connection: Connection, running: _Running) -> None:
        """See who blocks the statement, and say so the first time."""
        seen = postgres.sessions_blocking(connection, self._pid)
        if self._running is not running:
            return
        if seen:
            self.blockers = seen
            if not self.told:
                self.told = True
                self._report(Message("INFO", f"waiting for a lock held by {'; '.join(seen)}", running.where))

    def _speak(self, connection: Connection, running: _Running, elapsed: float) -> None:
        """Report the statement that runs, since when, and its progress."""
        row: Any = connection.execute(_PROGRESS, [self._pid]).fetchone()
        if self._running is not running:
            return
        how = "; still waiting for a lock" if self.blockers else ""
        if row:
            phase, done, total = row
            how += f"; {phase}" + (f", {100 * done // total}%" if total else "")
        text = " ".join(running.sql.split())
        shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
        self._report(Message("INFO", f"running for {elapsed:.0f} s: {shown}{how}", running.where))
