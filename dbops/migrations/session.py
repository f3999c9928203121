"""The session that migrates a database: what is sent over it, and what has happened on it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.errors import Diagnostic
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from dbops import events, label, postgres
from dbops.errors import DbopsError, MigrationError
from dbops.events import Report
from dbops.migrations import code_of_others, errors, ledger
from dbops.migrations.alone import MIGRATION, MIGRATION_LOCK, refused
from dbops.migrations.errors import StatementError
from dbops.migrations.files import Migration
from dbops.migrations.ledger import LedgerStatus
from dbops.migrations.options import MigrationOptions
from dbops.migrations.sqlsplit import Statement
from dbops.migrations.watch import LockWatch
from dbops.postgres import Connection, Pipeline
from dbops.settings import Target, parse_duration

TRANSACTION_TIMEOUT_SINCE = 170000
PAUSE_GROWTH = 1.5
PAUSE_JITTER = 0.25
MAX_PAUSE_SECONDS = 30.0
# Attempts where another session changed the same objects: it does so in a moment, or the failure does not pass.
MOST_CONCURRENT = 5
# How long to ask whether a commit whose answer was lost took place.
SETTLE_SECONDS = 5.0

_LEVELS = {"WARNING": "WARNING", "NOTICE": "INFO", "INFO": "INFO"}

# All that a file may have left in the session is taken back, in a transaction, which has its own lock. What a file has
# locked for that transaction stays locked, and would be warned of.
_RESET = (
    "RESET SESSION AUTHORIZATION",
    "RESET ALL",
    postgres.RESTORE_SETTINGS,
    # Only some roles may set these, so they are left alone where they are as they should be.
    """
    SELECT pg_catalog.set_config(s.name, s.value, true)
    FROM (VALUES ('session_replication_role', 'origin'), ('lc_messages', 'C')) AS s (name, value)
    WHERE pg_catalog.current_setting(s.name) <> s.value
      AND (s.name <> 'lc_messages' OR pg_catalog.has_parameter_privilege(s.name, 'SET'))
    """,
    "SET LOCAL client_min_messages = error",
    "CLOSE ALL",
    "DEALLOCATE ALL",
    "UNLISTEN *",
    "DISCARD TEMP",
    "SELECT pg_catalog.pg_advisory_unlock_all()",
    f"SELECT pg_catalog.pg_try_advisory_lock({MIGRATION_LOCK})",
)


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """A file that this run applied, and its seconds."""

    version: int
    name: str
    statements: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Command:
    """One statement to send for a migration: one of its own, or one of the runner's; its rows are added to `rows`."""

    sql: str
    migration: Migration
    statement: Statement | None = None
    rows: list[Any] | None = None

    @property
    def where(self) -> str:
        """Return the file, and the line where it is one of the file's statements."""
        label = self.migration.label
        return f"{label}:{self.statement.line}" if self.statement else label


@contextmanager
def migrating(
    connection: Connection,
    target: Target,
    options: MigrationOptions,
    found: LedgerStatus,
    observer: Connection | None,
    report: Report,
) -> Iterator[MigrationSession]:
    """Make a connection the session that migrates the database, watched by `observer` or a connection of its own.

    `found` is what the ledger says before. The session is left without what files left in it and without the migration
    lock, and acts as the role that connected.
    """
    with LockWatch(target, connection.info.backend_pid, observer, report) as watch:
        session = MigrationSession(connection, target, options, found, watch, report)
        connection.add_notice_handler(session.on_notice)
        try:
            yield session
        finally:
            connection.remove_notice_handler(session.on_notice)
            # A database that this run has created is its own: nothing waits for its lock.
            left = not (options.fresh and session.clean)
            if left and not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE:
                with suppress(psycopg.Error):
                    reset = () if session.clean else ("BEGIN", *_RESET, "COMMIT", "SET ROLE NONE")
                    session.script(*reset, "SELECT pg_catalog.pg_advisory_unlock_all()")


class MigrationSession:
    """The one session that migrates a database, the state of the run, and its attempts.

    What holds on the server once all that was sent has run, which may be far ahead of what has happened: `clean` is
    whether nothing of a file's is left in the session.

    What has happened: `rows` are what the ledger holds, as in LedgerStatus; `committed` are the files that this run has
    committed, `open` those in the open transaction; `doubt` says what is not known.

    `defers` is whether a constraint may be deferred; `guarded` is the superuser that the session is or may become,
    where other roles may have code in the database; `owner` is the role to act as, empty for the session's own.
    """

    def __init__(
        self,
        connection: Connection,
        target: Target,
        options: MigrationOptions,
        found: LedgerStatus,
        watch: LockWatch,
        report: Report,
    ) -> None:
        self.connection = connection
        self.target = target
        self.options = options
        self.watch = watch
        self.report = report
        self.owner = options.owner or found.owner
        self.guarded = ""

        self.clean = False

        self.rows = found.rows
        self.committed: list[AppliedMigration] = []
        self.open: list[AppliedMigration] = []
        self.doubt = ""
        self.defers = found.defers
        self.transactions = 0
        self.retries = 0
        self.attempt = 1
        self._open_rows = self.rows
        self._first_version = min((migration.version for migration in found.pending), default=0)
        # What must be created before the first row. Tables can hold rows as soon as they exist: from then on the
        # database must carry its environment.
        self._missing: list[str] = []
        if not found.has_ledger:
            named = label.label_sql(target.environment, found.system_identifier)
            self._missing = [*([] if found.has_schema else [ledger.CREATE_SCHEMA]), ledger.CREATE_TABLE, named]
        self._attempts_began = 0.0
        self._running: Command | None = None
        self._running_since = 0.0
        self._lock_seconds = 0.0
        self._pipeline = Pipeline(connection, self._end, self._begin)

    # What is sent.

    def script(self, *statements: str) -> list[list[Any]]:
        """Run statements of the runner's own in one round trip, and return the rows of each."""
        cursor = self.connection.execute("; ".join(statements).encode())
        found = [cursor.fetchall() if cursor.description else []]
        while cursor.nextset():
            found.append(cursor.fetchall() if cursor.description else [])
        return found

    def send(
        self, text: str, migration: Migration, statement: Statement | None = None, rows: list[Any] | None = None
    ) -> None:
        """Send a command for a migration without waiting for what came before; StatementError once one has failed.

        The server skips whatever follows a command that failed.
        """
        try:
            self._pipeline.send(text, Command(text, migration, statement, rows))
        except psycopg.Error as error:
            raise self._located(error) from None

    def finish(self) -> None:
        """Wait until all that was sent has run; StatementError if a command has failed."""
        try:
            self._pipeline.finish()
        except psycopg.Error as error:
            raise self._located(error) from None

    def run(self, command: Command) -> None:
        """Run a command outside a transaction, under the settings of its file; StatementError if it fails."""
        timeout = self.options.statement_timeout_for(command.migration)
        self._begin(command)
        try:
            self.script(self.settings_sql(command.migration, "public", local=False, statement_timeout=timeout))
            self.connection.execute(command.sql.encode())
            self.report(events.StatementFinished(command.sql, time.monotonic() - self._running_since, command.where))
        except psycopg.Error as error:
            raise self._located(error) from None
        finally:
            self.watch.end()
            if not self.connection.closed:
                self.script(self.settings_sql(command.migration, "pg_catalog", local=False))

    def owner_sql(self, *, local: bool = True) -> list[str]:
        """Return what makes the following act as the database's owner, if that is not the session's role."""
        if self.owner in ("", self.connection.info.user):
            return []
        return [postgres.set_role(self.owner, local=local).as_string()]

    def reset_sql(self, migration: Migration) -> list[str]:
        """Return what takes back all that a file may have left in the session, in the open transaction.

        The limits of a migration are in force then, which may be those of the next one.
        """
        return [*_RESET, *self.owner_sql(), self.settings_sql(migration, "pg_catalog")]

    def settings_sql(self, migration: Migration, path: str, *, statement_timeout: str = "0", local: bool = True) -> str:
        """Return what puts a search path and a migration's limits into force, for the transaction if `local`."""
        values = {
            "search_path": path,
            "client_min_messages": "notice",
            "lock_timeout": f"{round(self.options.attempt_seconds(migration, self.attempt) * 1000)}ms",
            "statement_timeout": statement_timeout,
        }
        if self.connection.info.server_version >= TRANSACTION_TIMEOUT_SINCE:
            values["transaction_timeout"] = "0"
        calls = (f"pg_catalog.set_config('{name}', '{value}', {local})" for name, value in values.items())
        return f"SELECT {', '.join(calls)}"

    @contextmanager
    def transaction(self, first: Migration) -> Iterator[str]:
        """Begin a transaction as the database's owner, in a session that no earlier file has changed.

        What is inside ends it by `commit`; whatever it raises rolls back, and closes a connection that is still busy.
        The transaction has the migration lock to its end, whatever a file releases. A database in custody is handed
        over to the owner, and the ledger is created if there is none: its definition is yielded. Raises StatementError
        where another attempt may succeed, PreflightError if another session has the lock.
        """
        custody = self.options.custody
        beginning = [
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
            f"SELECT pg_catalog.pg_try_advisory_xact_lock({MIGRATION_LOCK})",
            *(custody.hand_over_sql() if custody else ()),
            *([*self.owner_sql(), self.settings_sql(first, "pg_catalog")] if self.clean else self.reset_sql(first)),
        ]
        ending = [*self._missing, ledger.DEFINITION]
        try:
            try:
                if self.guarded:
                    _, [(locked,)], *_ = self.script(*beginning)
                    code_of_others.keep_out(self.connection, self.target, self.guarded)
                    definition = self.script(*self.owner_sql(), *ending)[-1]
                else:
                    _, [(locked,)], *_, definition = self.script(*beginning, *ending)
            except psycopg.Error as error:
                # Another session may hold a lock on the ledger's schema for a while; others are not the first file's.
                if (failure := StatementError(first, error)).transient:
                    raise failure from None
                raise
            if not locked:
                raise refused(self.target, MIGRATION, postgres.lock_holder(self.connection, MIGRATION_LOCK))
            self.clean = True
            yield str(definition[0][0]) if definition else ""
        except BaseException:
            self.open = []
            self.clean = False
            self._running = None
            self._pipeline.abandon()
            self._pipeline = Pipeline(self.connection, self._end, self._begin)
            if self.connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                self.connection.execute("ROLLBACK")
            elif self.connection.info.transaction_status == TransactionStatus.ACTIVE:
                self.connection.close()
            raise

    @contextmanager
    def outside_transaction(self, migration: Migration) -> Iterator[None]:
        """Act as the database's owner, with no settings but ours; what a file leaves behind is taken back later."""
        self.script(*self.owner_sql(local=False), self.settings_sql(migration, "pg_catalog", local=False))
        self.clean = False
        try:
            yield
        finally:
            if not self.connection.closed:
                self.script("RESET SESSION AUTHORIZATION", "SET ROLE NONE")

    def record(self, migration: Migration, duration_ms: int | None = None) -> None:
        """Send a file's row, in place of the one of a run that did not finish it."""
        self.send(ledger.record_sql(migration, duration_ms, begun=migration.version in self.rows), migration)

    def assert_ledger(self, files: Sequence[Migration], definition: str, *, finished: bool = True) -> None:
        """Wait until files have run and are recorded; MigrationError if the ledger is not what it is to be then.

        It must have the definition that it had, and no other rows. Unless `finished`, the files are yet to run.
        """
        durations: list[Any] = []
        defined: list[Any] = []
        digest: list[Any] = []
        last = files[-1]
        self.send(self.settings_sql(last, "pg_catalog"), last)
        if finished:
            text = ledger.DURATIONS.format(first=files[0].version, last=last.version)
            self.send(text, last, rows=durations)
        self.send(ledger.DEFINITION, last, rows=defined)
        self.send(ledger.DIGEST, last, rows=digest)
        self.finish()
        if self.connection.info.transaction_status != TransactionStatus.INTRANS:
            raise MigrationError(
                f"one of the migrations {files[0].name} to {last.name} ended the transaction",
                where=last.label,
                state=self.state(),
                hint="A migration must not contain transaction control: remove it, and see `invoke db.status`.",
            )
        rows = self.rows | {file.version: (file.name, file.checksum, finished) for file in files}
        if defined != [(definition,)] or digest != [(ledger.digest(rows),)]:
            suspects = [migration for migration in files if ledger.SCHEMA in migration.text.lower()]
            names = ", ".join(file.name for file in suspects) or f"one of {files[0].name} to {last.name}"
            raise MigrationError(
                f"the ledger {ledger.LEDGER} was changed by a migration: {names}",
                where=(suspects or files)[0].label,
                state="Nothing of its transaction was applied.",
                hint="Only the migration runner writes to the ledger: remove that from the file, and run "
                "`invoke db.migrate` again.",
            )
        seconds = {version: milliseconds / 1000 for version, milliseconds in durations}
        self.open = [
            AppliedMigration(file.version, file.name, len(file.statements), seconds[file.version])
            for file in files
            if finished
        ]
        self._open_rows = rows

    def commit(self, last: Migration) -> None:
        """Commit, and find out what became of it if the answer was lost; a check rolls back instead.

        A database in custody is taken back before. A check keeps what was done in `open`.
        """
        if self.options.custody:
            self.options.custody.take_back(self.connection)
        if self.options.check:
            self.script("ROLLBACK")
            return
        try:
            self.script("COMMIT")
        except psycopg.Error as error:
            failure = StatementError(last, error)
            if not self.connection.closed:
                raise failure from None
            self._settle(last.version)
            raise errors.lost(failure, self.state(), commit=True) from None
        except KeyboardInterrupt:
            self._settle(last.version)
            raise
        self._note_commit()

    def _settle(self, version: int) -> None:
        """Learn in a new connection whether the last version's row was committed, and keep that for the message.

        The session that was to write it held the migration lock: the next one that gets it sees what was left.
        """
        self.connection.close()
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            with suppress(psycopg.Error, DbopsError), postgres.connect(self.target) as connection:
                if postgres.try_lock(connection, MIGRATION_LOCK):
                    found = ledger.read_status(connection, self.target, ())
                    if found.rows.get(version) == self._open_rows[version]:
                        self._note_commit()
                    break
            time.sleep(0.1)
        else:
            self.doubt = "It is not known whether the last transaction was committed: see `invoke db.status`."
        self.open = []

    # What has happened.

    def _begin(self, command: Command) -> None:
        """Note that the server turns to a command, and report when a file begins."""
        if not self._running or command.migration is not self._running.migration:
            done = command.migration.version - self._first_version
            self.report(events.Progress("migrate", done, command.migration.name))
            self._lock_seconds = self.options.attempt_seconds(command.migration, self.attempt)
        self._running = command
        self._running_since = time.monotonic()
        # Outside a transaction no session waits behind this one; in a new database there is no other.
        bounded = command.migration.header.transactional and not self.options.fresh
        self.watch.begin(command.where, command.sql, self._lock_seconds, bounded=bounded)

    def _end(self, command: Command, result: PGresult) -> None:
        """Report a command that ran and keep its rows, or raise StatementError if its result is an error."""
        self.watch.end()
        if result.status == ExecStatus.FATAL_ERROR:
            raise self._failure(command, psycopg.errors.error_from_result(result, encoding="utf-8"))
        if command.statement:
            self.report(events.StatementFinished(command.sql, time.monotonic() - self._running_since, command.where))
        if command.rows is not None:
            command.rows.extend(postgres.answer(self.connection, result).rows)

    def _located(self, error: psycopg.Error) -> StatementError | psycopg.Error:
        """Return an error of the driver's with the command that the server was working on, if there is one."""
        self.watch.end()
        return self._failure(self._running, error) if self._running else error

    def _failure(self, command: Command, error: psycopg.Error) -> StatementError:
        """Return the error of a command with its location in the file."""
        limit = parse_duration(self.options.statement_timeout_for(command.migration))
        # The message names the timeout in English only; in other languages the elapsed time is compared with the limit.
        message = error.diag.message_primary or ""
        late = "statement timeout" in message or time.monotonic() - self._running_since >= 0.9 * limit
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

    def on_notice(self, diag: Diagnostic) -> None:
        """Report what the server says on the side, with the file that made it say so."""
        level = _LEVELS.get(diag.severity_nonlocalized or "", "DEBUG")
        detail = "".join(f" ({part})" for part in (diag.message_detail, diag.message_hint) if part)
        where = self._running.where if self._running else ""
        self.report(events.Message(level, f"{diag.severity}: {diag.message_primary}{detail}", where))

    def _note_commit(self) -> None:
        """Note that what is open is committed."""
        self.committed += self.open
        self.rows = self._open_rows
        self.open = []
        self.doubt = ""
        self._missing = []

    def state(self) -> str:
        """Return in a sentence what the database has of what this run was to apply."""
        if self.doubt:
            return self.doubt
        if not self.committed:
            return "Nothing was applied."
        first, last = self.committed[0].name, self.committed[-1].name
        where = self.target.database
        if len(self.committed) == 1:
            return f"{first} is committed in {where}; nothing after it was applied."
        return f"{first} to {last} are committed in {where}; nothing after them was applied."

    def error(self, failure: StatementError, notes: tuple[str, ...] = ()) -> MigrationError:
        """Return the operator's error for a failure that ends the run."""
        if self.connection.closed and not isinstance(failure.error, psycopg.errors.FeatureNotSupported):
            return errors.lost(failure, self.state())
        return errors.failed(failure, self.state(), holders=self.watch.blockers, attempts=self.attempt, notes=notes)

    # Attempts at the transaction that runs, or at the file outside one.

    def first_attempt(self) -> None:
        """Begin to try a transaction: its lock budget is counted from now."""
        self._attempts_began = time.monotonic()
        self.attempt = 1
        self.watch.told = False
        self.watch.new_attempt()

    def again(self, failure: StatementError) -> bool:
        """Pause and begin another attempt; False at once if the failure does not pass, or the lock budget is spent.

        Sessions queued behind this one proceed meanwhile. Pauses grow and are randomized, so that attempts do not
        keep coinciding with the sessions that hold the lock.
        """
        if not failure.transient or self.connection.closed:
            return False
        if failure.concurrent and self.attempt >= MOST_CONCURRENT:
            return False
        waited = self.options.attempt_seconds(failure.migration, self.attempt) or 1.0
        pause = min(waited * PAUSE_GROWTH ** (self.attempt - 1), MAX_PAUSE_SECONDS)
        pause *= random.uniform(1 - PAUSE_JITTER, 1 + PAUSE_JITTER)  # noqa: S311
        budget = parse_duration(self.options.lock_budget_for(failure.migration))
        if budget and time.monotonic() - self._attempts_began + pause > budget:
            return False
        self.retries += 1
        blockers = self.watch.blockers
        holder = "still waiting" if self.watch.told else f"held by {'; '.join(blockers) or 'an unknown session'}"
        self.watch.told |= bool(blockers)
        holder = "by another session" if failure.concurrent else holder
        text = f"{failure.words}; {holder}; attempt {self.attempt + 1} in {pause:.1f} s"
        self.report(events.Message("WARNING", text, str(failure.location or failure.migration.label)))
        time.sleep(pause)
        self.attempt += 1
        self.watch.new_attempt()
        return True
