"""The session that migrations run in: its settings, how statements travel, who blocks it, and that it is alone."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from types import TracebackType
from typing import Any, Protocol, Self, cast

import psycopg
from psycopg import sql
from psycopg.errors import Diagnostic, error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from dbops import events, postgres
from dbops.errors import DbopsError, PreflightError, UsageError
from dbops.events import Report
from dbops.migrations import ledger
from dbops.migrations.alone import MIGRATION_LOCK
from dbops.migrations.errors import StatementError
from dbops.migrations.files import Migration, seconds
from dbops.migrations.sqlsplit import Statement, split, without_comments
from dbops.postgres import Connection
from dbops.settings import Target

# A session that waits for a strong lock blocks all sessions queued behind it: hence many short attempts, the first of
# 100 ms, each of the next twice as long, up to the timeout.
LOCK_TIMEOUT = "1s"
FIRST_LOCK_SECONDS = 0.1
LOCK_BUDGET = "5min"
# What is made for tables in use blocks no reader or writer while it waits, and a timeout leaves an invalid index.
PATIENT_LOCK_TIMEOUT = "10min"
_PATIENT = re.compile(
    r"\s*(?:(?:CREATE|DROP|REINDEX|ALTER|REFRESH)\b[^'$]*\bCONCURRENTLY|ANALYZE|VACUUM(?!.*\bFULL\b))\b",
    re.IGNORECASE | re.DOTALL,
)
PATIENCE_SECONDS = 60.0
TRANSACTION_TIMEOUT_SINCE = 170000

_ALIVE_SECONDS = 10.0
_LONGEST_INTERVAL = 1.0
_SHORTEST_INTERVAL = 0.025
_SHOWN_CHARACTERS = 60
_LEVELS = {"WARNING": "WARNING", "NOTICE": "INFO", "INFO": "INFO"}

# Whether the migration lock was free or this session's, and is so now; the role to act as, unless it is the session's
# own: the one that was named, or the owner of the database if this role may act as it.
_OPEN = """
SELECT pg_catalog.pg_try_advisory_lock({lock}), nullif(coalesce(nullif(%s::pg_catalog.text, ''), CASE
    WHEN pg_catalog.pg_has_role(session_user, d.datdba, {privilege})
    THEN pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text END), session_user::pg_catalog.text)
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
SELECT CASE
    WHEN l.mode = 'ExclusiveLock' AND l.objsubid = 1 THEN pg_catalog.pg_advisory_unlock(k.key)
    WHEN l.mode = 'ExclusiveLock' THEN pg_catalog.pg_advisory_unlock(l.classid::int4, l.objid::int4)
    WHEN l.objsubid = 1 THEN pg_catalog.pg_advisory_unlock_shared(k.key)
    ELSE pg_catalog.pg_advisory_unlock_shared(l.classid::int4, l.objid::int4) END
FROM pg_catalog.pg_locks AS l, LATERAL (SELECT (l.classid::int8 << 32) | l.objid::int8) AS k (key)
WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid()
  AND NOT (l.objsubid = 1 AND k.key = {MIGRATION_LOCK})
"""
_CLOCK = "SELECT pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())"
_TRY_LOCK = f"SELECT pg_catalog.pg_try_advisory_lock({MIGRATION_LOCK})"

_WAITING = """
SELECT extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.min(l.waitstart))::float8
FROM pg_catalog.pg_locks AS l WHERE l.pid = %s AND NOT l.granted
"""
# If it still waits by then.
_CANCEL = """
SELECT pg_catalog.pg_cancel_backend(l.pid) FROM pg_catalog.pg_locks AS l WHERE l.pid = %s AND NOT l.granted LIMIT 1
"""
_PROGRESS = """
SELECT p.phase, p.done, p.total FROM (
    SELECT pid, phase, blocks_done + tuples_done, blocks_total + tuples_total
    FROM pg_catalog.pg_stat_progress_create_index
    UNION ALL SELECT pid, phase, heap_blks_scanned, heap_blks_total FROM pg_catalog.pg_stat_progress_cluster
    UNION ALL SELECT pid, 'copying', bytes_processed, bytes_total FROM pg_catalog.pg_stat_progress_copy
) AS p (pid, phase, done, total) WHERE p.pid = %s
"""


class Custody(Protocol):
    """Keeps a database that is being built away from its owner-to-be, but for the transactions that build it."""

    def hand_over(self) -> tuple[str, ...]:
        """Return the statements that begin a transaction of the owner's."""

    def take_back(self, inside: Connection) -> None:
        """End it, before its commit, over the session that migrates."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a run was asked to do; UsageError for an invalid value.

    `to` is the last version to apply. Timeouts and the lock budget are durations such as `5s`, and override the files'
    headers. `commit` is "all" for one transaction or "file" for one each; `fresh` allows commits in between, on a
    database that this run has created; `check` rolls everything back, all in one transaction. `with_times` asks the
    server for each statement's time; outside a transaction the client measures it. `patience` is how many seconds to
    wait for another migration of the same database. `owner` is the role that what is made is to belong to; empty, it is
    the database's owner where the connecting role may act as it, else the connecting role. `custody` is for a database
    that belongs to that owner only within the transactions.
    """

    to: int | None = None
    lock_timeout: str = ""
    statement_timeout: str = ""
    lock_budget: str = ""
    commit: str = "all"
    fresh: bool = False
    check: bool = False
    with_times: bool = False
    patience: float = PATIENCE_SECONDS
    owner: str = ""
    custody: Custody | None = None

    def __post_init__(self) -> None:
        for option, value in (
            ("--lock-timeout", self.lock_timeout),
            ("--statement-timeout", self.statement_timeout),
            ("--lock-budget", self.lock_budget),
        ):
            try:
                seconds(value or "0")
            except ValueError as error:
                raise UsageError(str(error), where=option, hint=f"Write it as in `{option} 5s`.") from None
        if self.commit not in ("all", "file"):
            raise UsageError(f'invalid value "{self.commit}"', where="--commit", hint="Write all or file.")

    def lock_timeout_for(self, migration: Migration) -> str:
        """Return how long a migration may wait for a lock at a time."""
        if chosen := self.lock_timeout or migration.header.lock_timeout:
            return chosen
        patient = not migration.header.transactional and _PATIENT.match(without_comments(migration.text))
        return PATIENT_LOCK_TIMEOUT if patient else LOCK_TIMEOUT

    def attempt_seconds(self, migration: Migration, attempt: int) -> float:
        """Return how long an attempt (from 1) may wait for locks in all, and for one of them; 0 is no limit.

        It grows up to the lock timeout, unless that was chosen, or no session can be waiting.
        """
        limit = seconds(self.lock_timeout_for(migration))
        chosen = self.fresh or self.lock_timeout or migration.header.lock_timeout or not migration.header.transactional
        return limit if chosen else min(limit, FIRST_LOCK_SECONDS * 2 ** (attempt - 1))

    def statement_timeout_for(self, migration: Migration) -> str:
        """Return how long one of a migration's statements may take."""
        return self.statement_timeout or migration.header.statement_timeout or "0"

    def lock_budget_for(self, migration: Migration) -> str:
        """Return how long to go on trying to acquire a migration's locks."""
        return self.lock_budget or migration.header.lock_budget or LOCK_BUDGET


@dataclass(frozen=True, slots=True)
class Command:
    """One statement to send for a migration: one of its own, or one of the runner's; `done` receives its result."""

    sql: str
    migration: Migration
    statement: Statement | None = None
    done: Callable[[PGresult], None] | None = None

    @property
    def where(self) -> str:
        """Return the file, and the line where it is one of the file's statements."""
        label = self.migration.label
        return f"{label}:{self.statement.line}" if self.statement else label


@dataclass(slots=True)
class Outgoing:
    """What holds in the session once all that was sent has run, which may be far ahead of what has happened.

    `clean` is whether no file leaves anything in the session, `in_force` are the settings, empty if they are not known,
    `prepared` those that the prepared statement puts into force again; `locks` counts how often the session takes the
    migration lock.
    """

    clean: bool = False
    in_force: str = ""
    prepared: str = ""
    locks: int = 1


@dataclass(slots=True)
class Incoming:
    """What has happened: `command` is what the server works on since the client's monotonic clock `since`.

    `done` is how many files it has done; `clock` is the server's, in seconds, when it was last read.
    """

    command: Command | None = None
    since: float = 0.0
    done: int = 0
    clock: float = 0.0


@dataclass(slots=True)
class Session:
    """The one session that migrates a database, as `owner` where that is another role than its own.

    `guarded` is the superuser that the session is or may become, where other roles may have code in the database;
    `attempt` counts those at the transaction that runs.
    """

    connection: Connection
    target: Target
    options: Options
    watch: LockWatch
    report: Report
    owner: str | None
    guarded: str = ""
    attempt: int = 1
    outgoing: Outgoing = field(default_factory=Outgoing)
    incoming: Incoming = field(default_factory=Incoming)

    def script(self, *statements: str | sql.Composable) -> None:
        """Run statements of the runner's own in one round trip."""
        parts = [sql.SQL(part) if isinstance(part, str) else part for part in statements]
        self.connection.execute(sql.SQL("; ").join(parts))

    def reset_sql(self, *, local: bool) -> list[str]:
        """Return what takes back all that a file may have left in the session; `local` in a transaction."""
        self.outgoing.locks += 1
        self.outgoing.prepared = ""
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
            _TRY_LOCK,
            *self.owner_sql(local=local),
        ]

    def owner_sql(self, *, local: bool) -> list[str]:
        """Return what makes the following act as the database's owner."""
        if not self.owner:
            return []
        return [f"SET {'LOCAL ' if local else ''}ROLE {sql.Identifier(self.owner).as_string(self.connection)}"]

    def settings(self, migration: Migration, path: str, *, local: bool, statement_timeout: str = "0") -> str:
        """Return what puts a search path and a migration's limits into force, as a select list."""
        values = {
            "search_path": path,
            "client_min_messages": "notice",
            "lock_timeout": f"{round(self.options.attempt_seconds(migration, self.attempt) * 1000)}ms",
            "statement_timeout": statement_timeout,
        }
        if self.connection.info.server_version >= TRANSACTION_TIMEOUT_SINCE:
            values["transaction_timeout"] = "0"
        return ", ".join(f"pg_catalog.set_config('{name}', '{value}', {local})" for name, value in values.items())

    def putting_in_force(self, migration: Migration, path: str, statement_timeout: str = "0") -> Iterator[Command]:
        """Yield what puts a search path and a migration's limits into force for the transaction, unless they are."""
        settings = self.settings(migration, path, local=True, statement_timeout=statement_timeout)
        if settings != self.outgoing.in_force:
            self.outgoing.in_force = settings
            yield Command(f"SELECT {settings}", migration)

    def preparing(self, migration: Migration) -> Iterator[Command]:
        """Yield what prepares the statement that writes a migration's row, unless it is prepared for these settings."""
        if self.outgoing.prepared != self.outgoing.in_force:
            if self.outgoing.prepared:
                yield Command("DEALLOCATE ALL", migration)
            self.outgoing.prepared = self.outgoing.in_force
            yield Command(ledger.prepare_sql(self.outgoing.prepared, ledger.tool(migration.path.parent)), migration)

    def statements(self, migration: Migration) -> Iterator[Command]:
        """Yield the statements of a file; the server is asked for its clock around each where times are wanted."""
        if self.options.with_times:
            yield Command(_CLOCK, migration, done=partial(self._tick, None))
        for statement in split(migration.text):
            command = Command(statement.text, migration, statement)
            yield command
            if self.options.with_times:
                yield Command(_CLOCK, migration, done=partial(self._tick, command))

    def _tick(self, command: Command | None, result: PGresult) -> None:
        """Read the server's clock, and report the command that ran since it was read before."""
        before, self.incoming.clock = self.incoming.clock, float(texts(result)[0][0] or 0)
        if command:
            self.report(events.Statement(command.sql, max(0.0, self.incoming.clock - before), command.where))

    def begin(self, command: Command) -> None:
        """Note that the server turns to a command, and report when a file begins."""
        if not self.incoming.command or command.migration is not self.incoming.command.migration:
            self.report(events.Progress("migrate", self.incoming.done, command.migration.name))
        self.incoming.command = command
        self.incoming.since = time.monotonic()
        limit = self.options.attempt_seconds(command.migration, self.attempt)
        # Outside a transaction no session waits behind this one; in a new database there is no other.
        bounded = command.migration.header.transactional and not self.options.fresh
        self.watch.begin(command.where, command.sql, limit, bounded=bounded)

    def end(self, command: Command, result: PGresult) -> None:
        """Report a command that ran and hand on its result, or raise StatementError if that is an error."""
        self.watch.end()
        if result.status == ExecStatus.FATAL_ERROR:
            raise self.failure(command, error_from_result(result, encoding="utf-8"))
        if command.statement and not self.options.with_times:
            self.report(events.Statement(command.sql, None, command.where))
        if command.done:
            command.done(result)

    def failure(self, command: Command, error: psycopg.Error) -> StatementError:
        """Return the error of a command with its location in the file."""
        limit = seconds(self.options.statement_timeout_for(command.migration))
        # The message names the timeout in English only; in other languages the elapsed time is compared with the limit.
        message = error.diag.message_primary or ""
        late = "statement timeout" in message or time.monotonic() - self.incoming.since >= 0.9 * limit
        return StatementError(
            command.migration,
            error,
            command.statement,
            # The errors of a closed connection are not the server's, and have no position.
            counts_bytes=not self.connection.closed
            and self.connection.info.parameter_status("server_encoding") == "SQL_ASCII",
            timed_out=error.sqlstate == "57014" and bool(limit) and late,
            waited=self.watch.waited if error.sqlstate == "57014" and self.watch.expired else 0.0,
        )

    def run(self, command: Command) -> None:
        """Run a command by itself, outside a transaction; StatementError if it fails."""
        self.begin(command)
        try:
            self.connection.execute(command.sql.encode())
        except psycopg.Error as error:
            raise self.failure(command, error) from None
        finally:
            self.watch.end()
        self.report(events.Statement(command.sql, time.monotonic() - self.incoming.since, command.where))

    def stream(self, commands: Iterator[Command]) -> None:
        """Run commands in a pipeline: sent ahead of their results; StatementError for the first that fails.

        The server skips whatever follows a command that failed.
        """
        failure: StatementError | None = None
        running: Command | None = None

        def until_one_fails() -> Iterator[Command | None]:
            # No command is taken that would not be sent: taking one notes what the session's settings will be.
            while failure is None and (command := next(commands, None)):
                yield command
            yield None

        def begin(command: Command) -> None:
            nonlocal running
            if failure is None:
                running = command
                self.begin(command)

        def end(command: Command | None, result: PGresult) -> None:
            nonlocal failure, running
            running = None
            if command and failure is None and result.status != ExecStatus.PIPELINE_ABORTED:
                try:
                    self.end(command, result)
                except StatementError as error:
                    failure = error

        try:
            postgres.exchange(self.connection, until_one_fails(), attrgetter("sql"), end, begin)
        except psycopg.Error as error:
            if failure is None and running is None:
                raise
            failure = failure or self.failure(cast("Command", running), error)
        finally:
            self.watch.end()
        if failure:
            raise failure

    def on_notice(self, diag: Diagnostic) -> None:
        """Report what the server says on the side, with the file that made it say so."""
        level = _LEVELS.get(diag.severity_nonlocalized or "", "DEBUG")
        detail = "".join(f" ({part})" for part in (diag.message_detail, diag.message_hint) if part)
        where = self.incoming.command.where if self.incoming.command else ""
        self.report(events.Message(level, f"{diag.severity}: {diag.message_primary}{detail}", where))


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


def owner_to_act_as(connection: Connection, named: str = "") -> str | None:
    """Take the migration lock, and return the role to act as: the one named, or the owner of the database.

    None if that is the session's own role, or if it may not act as the owner. Raises PreflightError if another session
    has the lock.
    """
    privilege = "'SET'" if connection.info.server_version >= 160000 else "'MEMBER'"
    row: Any = connection.execute(_OPEN.format(lock=MIGRATION_LOCK, privilege=privilege).encode(), [named]).fetchone()
    locked, owner = row
    if not locked:
        raise PreflightError(
            f"another migration of this database is running: {postgres.lock_holder(connection, MIGRATION_LOCK)}",
            where=f"database {connection.info.dbname}",
            state="Nothing was applied.",
            hint="Wait for it to end, then run the command again.",
        )
    return str(owner) if owner else None


@contextmanager
def opened(
    connection: Connection, target: Target, options: Options, observer: Connection | None, report: Report
) -> Iterator[Session]:
    """Make a connection the one session that migrates the database, watched by `observer` or a connection of its own.

    It is left as it was, without what files left in it. Raises PreflightError if another session has the migration
    lock: who may have to wait for it uses `alone.only_session`.
    """
    with LockWatch(target, connection.info.backend_pid, observer, report) as watch:
        if connection.info.encoding != "utf-8":
            connection.execute("SET client_encoding = 'UTF8'")
        owner = owner_to_act_as(connection, options.owner)
        session = Session(connection, target, options, watch, report, owner)
        connection.add_notice_handler(session.on_notice)
        try:
            yield session
        finally:
            connection.remove_notice_handler(session.on_notice)
            # A database that this run has created is its own: nothing waits for its lock.
            left = not (options.fresh and session.outgoing.clean)
            if left and not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE:
                reset = ["DEALLOCATE ALL"]
                if not session.outgoing.clean:
                    reset = [*session.reset_sql(local=False), "SET ROLE NONE", "RESET client_min_messages"]
                times = f"pg_catalog.generate_series(1, {session.outgoing.locks})"
                with suppress(psycopg.Error):
                    session.script(*reset, f"SELECT pg_catalog.pg_advisory_unlock({MIGRATION_LOCK}) FROM {times}")


@dataclass(frozen=True, slots=True)
class _Running:
    """What the watched session does now; `since` is the client's monotonic clock, `interval` how soon to look.

    `bound` is how long the attempt may wait for locks in all; all are seconds, and 0 is no bound.
    """

    where: str
    sql: str
    since: float
    interval: float
    bound: float = 0.0


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
        self._interval = _SHORTEST_INTERVAL
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

        If `bounded`, the attempt may wait no longer for all of its locks: the statement that does is canceled.
        """
        self.blockers = ()
        self._interval = min(_LONGEST_INTERVAL, limit / 4) or _LONGEST_INTERVAL
        self._running = _Running(where, statement, time.monotonic(), self._interval, limit if bounded else 0.0)

    def end(self) -> None:
        """Watch no longer."""
        self._running = None
        self.waited += self._waiting
        self._waiting = 0.0

    def _loop(self) -> None:
        """Look whenever a statement has been running for one interval, and less often the longer it runs."""
        connection = self._observer
        spoken = 0.0
        pause = _SHORTEST_INTERVAL
        try:
            while not self._stop.wait(pause):
                pause = self._interval
                # Read once: the session at work may end the statement between two reads.
                running = self._running
                if running is None or time.monotonic() - running.since < running.interval:
                    continue
                connection = connection or postgres.connect(self._target)
                self._look(connection, running)
                elapsed = time.monotonic() - running.since
                pause = self._interval if self.blockers else max(self._interval, min(elapsed / 4, _LONGEST_INTERVAL))
                if elapsed >= _ALIVE_SECONDS and time.monotonic() - spoken >= _ALIVE_SECONDS:
                    spoken = time.monotonic()
                    self._speak(connection, running, elapsed)
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
        if running.bound and self.waited + self._waiting > running.bound and self._running is running:
            self.expired = True
            connection.execute(_CANCEL, [self._pid])

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
        self._report(events.Message("INFO", f"running for {elapsed:.0f} s: {shown}{how}", running.where))
