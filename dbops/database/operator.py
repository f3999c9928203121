"""The operator of a whole database: creates, enters, closes, swaps and drops databases from outside, and cleans up.

A new database is built beside the one in use, under a scratch name. It belongs to the operator and takes no
connections: it is open for the instant in which the operator's one session enters it. Two renames in one transaction
put it in place. What hides in between is kept in comments (see properties.Marker), so a run can be killed anywhere:

    a scratch database, its operator gone   killed while building: it is dropped
    the target closed, and marked           killed between closing and swap: it is opened
    an old database marked as replaced      killed between swap and drop: it is dropped
    an old database marked as kept          it stays: `db.undo` swaps it back
    no target, a successor marked for it    it was dropped by `db.drop`: `db.create` puts the successor in place
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from dbops import postgres
from dbops.database import properties
from dbops.database.inspection import EXTENSION_VERSION, Inspection, impact, inspect, rows_in, unreadable
from dbops.database.preflight import assert_passed, creating_conditions
from dbops.database.properties import Database, Kind, Marker, Properties
from dbops.errors import (
    ConsentError,
    DbopsError,
    Interrupted,
    NameTakenError,
    NotLetInError,
    PreflightError,
    ServerError,
)
from dbops.events import Message, Report, ignore
from dbops.migrations.options import Custody
from dbops.postgres import (
    TIMEOUT,
    Connection,
    Session,
    attempts,
    lock_key,
    quoted,
    run,
    run_together,
    sessions_in,
    set_role,
    try_lock,
)
from dbops.postgres.sessions import sessions
from dbops.settings import SCRATCH_PREFIX, Target

T = TypeVar("T")

SCHEDULER = "TimescaleDB Background Worker Scheduler"
# Pauses between attempts at what another session blocks for a moment, in seconds.
PAUSE = 0.01
# How long to wait for TimescaleDB's scheduler to start, and for sessions of TimescaleDB's jobs, which run as the
# superuser, to end by themselves, in seconds.
SCHEDULER_TIMEOUT = 5.0
JOBS_TIMEOUT = 3.0
# A DROP DATABASE names the process that it waits for after 5 s: ProcSignalBarrier in PostgreSQL's procsignal.c.
LEAST_DROP_TIMEOUT = 6.0
# How long CREATE DATABASE may take, in seconds: it copies some 7 MB, and may wait for a checkpoint.
CREATE_TIMEOUT = 300.0
# A database may be in use for a moment: another attempt may succeed.
IN_USE = (psycopg.errors.ObjectInUse, psycopg.errors.LockNotAvailable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What each result says: the database that was worked on, the sessions that were ended, seconds of wall time."""

    database: str
    server: str
    environment: str
    ended: tuple[Session, ...]
    seconds: float


@contextmanager
def operating(target: Target, *, timeout: float = TIMEOUT, report: Report = ignore) -> Iterator[Operator]:
    """Yield the operator of a target's database; `timeout` is how many seconds to wait for others.

    If the body fails or is interrupted, everything that is not complete is undone, and the error says what is left.
    """
    began_at = time.monotonic()
    with postgres.operator_session(target, timeout=timeout, report=report) as connection:
        operator = Operator(connection, target, timeout, report)
        operator.began_at = began_at
        try:
            with postgres.translated(target):
                yield operator
        except BaseException as error:
            state = operator.undo()
            if isinstance(error, DbopsError | Interrupted):
                error.state = state if operator.has_changed else error.state or state
            raise
        finally:
            operator.leave()


class Operator:
    """The session that works on one database from outside, and holds the operator's lock on it.

    `inside` is a session in the target, kept for a last look. `has_changed` is whether anything was created or closed,
    `opened` whether an interrupted run had left the target closed, `swapped` whether the new database is in place, and
    `incoming` its oid; `bound` is whether the timeout holds for each statement. Unless `locked`, the session does not
    hold the operator's lock: the target is left as it is. Its sessions act as `role` (see `Inspection.role_to_become`);
    they `began_as` another one perhaps.
    `began_at` is when the operation began, `closed_at` when the target was closed, `unavailable` for how long its name
    was not available, in seconds.
    """

    def __init__(
        self, connection: Connection, target: Target, timeout: float, report: Report, *, locked: bool = True
    ) -> None:
        self.connection = connection
        self.target = target
        self.timeout = timeout
        self.report = report
        self.inside: Connection | None = None
        self.role = ""
        self.began_as = ""
        self.ended: dict[int, Session] = {}
        self.began_at = time.monotonic()
        self.has_changed = False
        self.opened = False
        self.closed_at: float | None = None
        self.swapped = False
        self.bound = False
        self.incoming: int | None = None
        self.locked = locked
        self.unavailable: float | None = None

    @property
    def name(self) -> str:
        """Return the name of the target's database."""
        return self.target.database

    @property
    def _longest(self) -> float:
        """Return how long a statement may take, in seconds: longer than it may wait for a lock, which says more."""
        return max(self.timeout + 1, LEAST_DROP_TIMEOUT)

    def outcome(self) -> dict[str, Any]:
        """Return the fields of Outcome."""
        target = self.target
        return {
            "database": target.database,
            "server": target.server,
            "environment": target.environment,
            "ended": tuple(self.ended.values()),
            "seconds": time.monotonic() - self.began_at,
        }

    # Look.

    def clean_up_and_inspect(self) -> Inspection:
        """Inspect the target, after cleaning up what interrupted runs left, and look into its database.

        A closed target is opened. Scratch databases of this tool whose operator is gone are dropped, for any target.
        Where only its owner may replace a database, the session becomes that role. Sessions that it may not end get a
        moment to end by themselves.
        """
        found = inspect(self.connection, self.target)
        if found.migrating:
            holder = str(found.migrating[0])
            self.report(Message("INFO", f"waiting up to {self.timeout:g} s for a migration of {self.name}: {holder}"))
            for _ in attempts(self.timeout, 0.2):
                found = inspect(self.connection, self.target)
                if not found.migrating:
                    break
            else:
                raise PreflightError(
                    f"a migration of {self.name} is running",
                    where=str(self.target),
                    notes=tuple(str(session) for session in found.migrating),
                    hint="Wait for it to end, or wait longer with --timeout.",
                    state=f"{self.name} was not changed.",
                )
        found = self._clean_up(found)
        if role := found.role_to_become:
            self.connection.execute(set_role(role))
            found = self._clean_up(inspect(self.connection, self.target))
        if found.exists:
            try:
                with postgres.translated(self.target):
                    self.inside = postgres.connect(self.target)
                    self.become(self.inside, self.role)
                    there = impact(self.inside)
            except DbopsError as error:
                self.leave()
                # The server ended the session: that says nothing of what is in the database.
                if error.sqlstate.startswith("57P"):
                    raise
                there = unreadable(error)
            found = replace(found, impact=there)
        for _ in attempts(JOBS_TIMEOUT, 0.2):
            if all(session.endable for session in found.sessions):
                break
            found = replace(found, sessions=self._others())
        return found

    def _clean_up(self, found: Inspection) -> Inspection:
        self.role = found.server.role
        self.began_as = self.began_as or self.role
        database = found.database
        changed = False
        closed = self.locked and database and database.is_a(Kind.CLOSED, self.name) and not database.invalid
        if database and closed and found.server.may_act_for(database.catalog.owner):

            def open_again() -> None:
                with self.connection.transaction():
                    now = self.require(self.name)
                    if now.marker:
                        opening = properties.putting_in_place(self.name, now.catalog, now.properties, self.role)
                        run_together(self.connection, opening, self.report)

            self._retry(self.name, open_again)
            self.report(Message("INFO", f"opened {self.name}, which an interrupted run had closed"))
            self.restart_scheduler()
            self.opened = changed = True
        kept = found.kept if self.locked else None
        if kept and kept.accepts_connections and found.server.may_act_for(kept.catalog.owner):
            self._allow(kept.name, allowed=False)
            changed = True
        for scratch in found.left_over:
            changed |= self.drop_left_over(scratch)
        return inspect(self.connection, self.target) if changed else found

    def drop_left_over(self, scratch: Database) -> bool:
        """Drop a scratch database unless its operator is at work; return whether it was dropped.

        It is looked at once more under the lock: its operator may have marked it since it was inspected.
        """
        key = lock_key("scratch", scratch.name)
        if not try_lock(self.connection, key):
            return False
        try:
            if properties.find_database(self.connection, scratch.name) != scratch:
                return False
            if trouble := self.drop_scratch(scratch.name):
                what = f"{scratch.name}, left over from an interrupted run, could not be dropped: {trouble}"
                self.report(Message("WARNING", what))
                return False
            self.report(Message("INFO", f"dropped {scratch.name}, left over from an interrupted run"))
            return True
        finally:
            postgres.unlock(self.connection, key)

    def become(self, inside: Connection, role: str) -> None:
        """Make a session act as a role, where that is another one than it began as, and it may become it."""
        if {role} != {inside.info.user, self.began_as}:
            with suppress(psycopg.errors.InsufficientPrivilege):
                inside.execute(set_role(role))

    def _others(self) -> tuple[Session, ...]:
        """Return the other sessions in the target."""
        own = (self.inside.info.backend_pid,) if self.inside else ()
        return sessions_in(self.connection, self.name, except_for=own)

    def leave(self) -> None:
        """End the session inside the target."""
        if self.inside:
            self.inside.close()
        self.inside = None

    # Build beside.

    def create(self, found: Inspection, kind: Kind = Kind.BUILDING) -> Database:
        """Create a closed, empty, marked database beside the target, with the properties that the target is to have.

        All that putting it in place takes is tried and rolled back. Raises PreflightError, after which there is no new
        database, if the role cannot create such a one.
        """
        self.has_changed = True
        wanted = found.wanted
        name = SCRATCH_PREFIX + secrets.token_hex(6)
        # Held from before the database exists, so that no other operator takes it for a leftover.
        lock = f"SELECT pg_catalog.pg_try_advisory_lock({lock_key('scratch', name)})"
        before = replace(wanted, owner=self.role, acl=None, comment=None)
        try:
            self.bound = False
            self.connection.execute("; ".join([*_limiting(CREATE_TIMEOUT), lock]).encode())
            properties.create(self.connection, name, wanted, found.server.template0, self.report)
            properties.apply_settings(self.connection, name, wanted, self.report)
            trial = properties.putting_in_place(name, before, wanted, self.role)
            self._assert_equal(self._run_and_find(trial, name, before=("BEGIN",), report=ignore).catalog, wanted)
            marker = properties.marker(kind, self.name, wanted)
            changes = [properties.marking(name, marker), properties.limiting(name, wanted.connection_limit)]
            new = self._run_and_find(changes, name, before=("ROLLBACK", *_limiting(self._longest)))
            self.bound = True
            return new
        except psycopg.Error as error:
            if self.connection.closed:
                raise  # The server or the session is gone: no property is to blame.
            if isinstance(error, psycopg.errors.LockNotAvailable):
                self.connection.rollback()
                raise self._given_up(error, self.name, deed="create") from None
            why = postgres.translate(error, self.target, self.target.maintenance_database)
            or_remove = ", or remove that property of the database first" if found.database else ""
            hint = f"Connect as a superuser{or_remove}."
            # The server lacks room or time, or is at work on the template: no property is to blame.
            if "REFRESH COLLATION VERSION" in why.hint or (error.sqlstate or "")[:2] in ("53", "55", "57", "58"):
                hint = why.hint
            if parameter := re.search(r'permission denied to set parameter "(.+)"', why.what):
                grant = f"GRANT SET ON PARAMETER {parameter[1]} TO {quoted(self.role)}"
                hint = f"As a superuser, run {grant}; or remove that setting of the database first."
            raise PreflightError(
                f"{self.role} could not create {self.name}{' again as it is' if found.database else ''}: {why.what}",
                where=str(self.target),
                hint=hint,
                sqlstate=error.sqlstate or "",
            ) from None

    def enter(self, new: Database) -> tuple[Database, Connection]:
        """Return a session in a new database, which is open for the instant of connecting, and to the operator only.

        The database then has the privileges and the connection limit that it is to have, so that migrations can change
        them. Raises NotLetInError if the server does not let the session in.
        """
        self.has_changed = True
        opening, was = self._opening(new)
        self._retry(new.name, lambda: run_together(self.connection, opening, self.report))
        try:
            inside = postgres.connect(replace(self.target, database=new.name))
        except ServerError as error:
            raise NotLetInError(
                f"the server does not let {self.role} into the database that is built beside {self.name}: {error.what}",
                where=f"{self.target.server}, database {new.name}",
                hint=f"If pg_hba.conf names databases, add a line for role {quoted(self.role)} with `all` in their "
                "place: a rebuild connects to databases with scratch names. The four steps alone do not: "
                "`invoke db.drop db.create db.migrate db.verify`.",
            ) from None
        finally:
            if self._is_usable():
                now = replace(properties.given(new.properties, self.role), comment=was.comment, allow_connections=False)
                closing = properties.putting_in_place(new.name, was, now, self.role)
                new = self._retry(new.name, lambda: self._run_and_find(closing, new.name))
        return new, inside

    def _opening(self, new: Database) -> tuple[list[sql.Composable], Properties]:
        """Return what opens a new database to the operator only, and the properties that it has then."""
        database, login = sql.Identifier(new.name), self.connection.info.user
        allow = properties.allowing(new.name, allowed=True)
        # Superusers are let in whatever the limit is.
        if self.connection.info.parameter_status("is_superuser") == "on":
            return [properties.limiting(new.name, 0), allow], new.catalog
        opening: list[sql.Composable] = [
            properties.limiting(new.name, -1),
            sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(database),
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(login)),
            allow,
        ]
        return opening, replace(new.catalog, acl=(properties.Grant(self.role, login, "CONNECT", False),))

    def look_into(self, kept: Database) -> Connection:
        """Return a session in a database that is kept, which is open for the instant of connecting."""
        self.has_changed = True
        self._allow(kept.name, allowed=True)
        try:
            return postgres.connect(replace(self.target, database=kept.name))
        finally:
            if self._is_usable():
                self._allow(kept.name, allowed=False)

    def custody(self, new: Database) -> Custody:
        """Return what hands a new database to its owner in each transaction of the migrations, and takes it back."""
        assert new.marker  # noqa: S101
        return _Custody(new.name, self.role, new.properties.owner, new.marker)

    @contextmanager
    def owned(self, new: Database, inside: Connection) -> Iterator[None]:
        """Let a new database belong to its owner-to-be while it is read; no other session sees that."""
        self.become(inside, self.role)
        if new.properties.owner == self.role:
            yield
            return
        with inside.transaction(force_rollback=True):
            inside.execute(properties.giving_to(new.name, new.properties.owner))
            yield

    # Swap.

    def close(self, found: Inspection) -> None:
        """Close the target to all roles, superusers included, with its marker, in one transaction; end its sessions.

        Where the inspection found no row, look for one again when no other session is left. Raises PreflightError if
        the database is another one by now or has other properties, and if a session does not end; ConsentError if rows
        were written meanwhile.
        """
        before = found.database
        assert before  # noqa: S101
        self.has_changed = True
        if self.target.environment == "prod":
            postgres.restore_point(self.connection, f"replace {self.name}", self.report)

        def mark_and_close() -> None:
            if self._run_and_find([], self.name, before=("BEGIN",)) != before:
                raise PreflightError(
                    f"{self.name} was replaced, or its properties were changed, by another session just now",
                    where=str(self.target),
                    hint="Run the command again.",
                )
            marker = properties.marker(Kind.CLOSED, self.name, before.properties)
            self._commit([properties.marking(self.name, marker), properties.allowing(self.name, allowed=False)])

        self._retry(self.name, mark_and_close)
        self.closed_at = time.monotonic()
        self.report(Message("DEBUG", f"closed {self.name}"))
        deadline = self.closed_at + self.timeout
        left = self.end_sessions(deadline)
        if not left and self.inside and not found.impact.rows:
            evidence, seen, _ = rows_in(self.inside, timescaledb=bool(found.impact.timescaledb))
            if evidence:
                what = f"rows were written to {self.name} just now: {evidence} is no longer empty"
                raise ConsentError(
                    what if seen else f"{self.name} may hold rows by now: {evidence}",
                    where=str(self.target),
                    hint="Stop what writes there, or run the command again and agree to lose the rows.",
                )
        self.leave()
        if left:
            raise self._given_up("sessions in it do not end", self.name, left)

    def prepare(self, new: Database, wanted: Properties) -> None:
        """Give a database beside the target the wanted settings and security labels, in place of its own."""
        if set(new.catalog.settings) == set(wanted.settings) and not wanted.security_labels:
            return
        database = sql.Identifier(new.name)

        def change() -> None:
            with self.connection.transaction():
                run(self.connection, sql.SQL("ALTER DATABASE {} RESET ALL").format(database), self.report)
                for role in sorted({setting.role for setting in new.catalog.settings if setting.role}):
                    reset = sql.SQL("ALTER ROLE {} IN DATABASE {} RESET ALL").format(sql.Identifier(role), database)
                    run(self.connection, reset, self.report)
                properties.apply_settings(self.connection, new.name, wanted, self.report)

        self._retry(new.name, change)

    def swap(self, found: Inspection, new: Database, wanted: Properties, *, keep: bool = False) -> str:
        """Give a database the target's name and the wanted properties, in one transaction; it is open then.

        The database that had the name gets a scratch name, which is returned, and stays closed: to be dropped, or with
        `keep` to be kept. Raises PreflightError if sessions in the way do not end, NameTakenError if another session
        took the name meanwhile.
        """
        old = ""
        self.incoming = new.oid
        statements: list[sql.Composable] = []
        if found.database and found.exists:
            old = SCRATCH_PREFIX + secrets.token_hex(6)
            kind = Kind.KEPT if keep else Kind.REPLACED
            statements += [
                properties.renaming(self.name, old),
                properties.marking(old, properties.marker(kind, self.name, found.database.properties)),
            ]
        elif found.database:
            self.drop(self.name)
        statements.append(properties.renaming(new.name, self.name))
        statements += properties.putting_in_place(self.name, new.catalog, wanted, self.role)

        def rename() -> None:
            self._assert_equal(self._run_and_find(statements, self.name, before=("BEGIN",)).catalog, wanted)
            self._commit()

        try:
            # Autovacuum may be looking into it, or one of TimescaleDB's jobs; or another session alters it.
            deadline = (self.closed_at or time.monotonic()) + self.timeout
            self._retry(self.name, rename, deed="rename", deadline=deadline, ending=True)
        except psycopg.errors.DuplicateDatabase:
            raise NameTakenError(
                f"{self.name} was created by another session just now",
                where=str(self.target),
                hint="Stop what creates it, then run the command again.",
            ) from None
        self.swapped = True
        if self.closed_at is not None:
            self.unavailable = time.monotonic() - self.closed_at
        return old

    def end_sessions(self, deadline: float, pids: Collection[int] | None = None) -> tuple[Session, ...]:
        """End other sessions in the target, those of some processes or all, and wait until they are gone.

        Return those left at the deadline.
        """
        left: tuple[Session, ...] = ()
        for _ in attempts(deadline - time.monotonic(), PAUSE):
            left = tuple(session for session in self._others() if pids is None or session.pid in pids)
            self.end(left)
            if not left:
                break
        return left

    def end(self, found: Sequence[Session]) -> None:
        """End those of these sessions that the role may end, each once, without a wait."""
        for session in found:
            if session.endable and session.pid not in self.ended and postgres.end(self.connection, session):
                self.ended[session.pid] = session
                self.report(Message("DEBUG", f"ended {session}"))

    def _given_up(
        self, why: str | psycopg.Error, name: str, blocking: tuple[Session, ...] | None = None, *, deed: str = "drop"
    ) -> PreflightError:
        """Return the error for a database that could not be dropped, renamed or altered, and for what blocks that.

        Without `blocking` it is whatever is connected to the database, processes of the server's own too, and after a
        wait for a lock whatever has altered a database in a transaction that is still open.
        """
        in_the_way = "a.datname = %s"
        if isinstance(why, psycopg.Error):
            if isinstance(why, psycopg.errors.LockNotAvailable) or postgres.is_concurrent(why):
                in_the_way = f"({in_the_way} OR {_ALTERS})"
            why = ": ".join(filter(None, (why.diag.message_primary, why.diag.message_detail)))
        if blocking is None:
            blocking = sessions(self.connection, f"{in_the_way} AND a.pid <> pg_catalog.pg_backend_pid()", name)
        return PreflightError(
            f"could not {deed} {name}: {postgres.redact(why, self.target)}",
            where=str(self.target),
            notes=tuple(str(session) for session in blocking),
            hint="End what blocks it, or give it more time with --timeout.",
        )

    # Drop.

    def drop(self, name: str) -> None:
        """Drop a database; PreflightError, which names what blocks it, if that takes longer than the timeout.

        The statement is retried while another session blocks it. One that waits for a process of the server's which
        does not answer is ended: the database is then partly dropped.
        """
        silent: list[int] = []

        def listen(diag: psycopg.errors.Diagnostic) -> None:
            if diag.severity_nonlocalized == "LOG":
                silent.extend(int(pid) for pid in re.findall(r"PID (\d+)", diag.message_primary or ""))

        def drop_now() -> None:
            statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
            try:
                run(self.connection, statement + sql.SQL(" WITH (FORCE)"), self.report)
            except psycopg.errors.InsufficientPrivilege:
                # A plain DROP ends autovacuum's workers, which a role that is not a superuser may not end by force.
                run(self.connection, statement, self.report)

        self.connection.add_notice_handler(listen)
        try:
            if not self.bound:
                self.connection.execute("; ".join(_limiting(self._longest)).encode())
                self.bound = True
            self._retry(name, drop_now, deed="drop", ending=name == self.name)
        except psycopg.errors.QueryCanceled:
            blocking = sessions(self.connection, "a.pid = ANY (%s)", silent)
            why = "a process of the server does not answer" if silent else "it takes too long"
            raise self._given_up(why, name, blocking) from None
        finally:
            self.connection.remove_notice_handler(listen)

    def drop_scratch(self, name: str) -> str:
        """Drop a database that is not in use; return why that was not possible, or nothing."""
        try:
            self.drop(name)
        except PreflightError as error:
            return "; ".join((error.what, *error.notes))
        return ""

    # TimescaleDB's scheduler: a DROP or RENAME stops it, even one that fails, and it does not come back by itself.

    def start_scheduler(self) -> None:
        """Make TimescaleDB start the scheduler of the target's database again; any role can.

        Its loader does so when it parses ALTER DATABASE ... SET TABLESPACE, before anything is executed or checked
        (post_analyze_hook in TimescaleDB's src/loader/loader.c); so it is parsed only.
        """
        statement = sql.SQL("ALTER DATABASE {} SET TABLESPACE pg_default").format(sql.Identifier(self.name))
        self.connection.pgconn.prepare(b"", statement.as_string(self.connection).encode())

    def assert_scheduler(self) -> bool:
        """Wait until the scheduler runs; a warning says if it does not."""
        for _ in attempts(SCHEDULER_TIMEOUT, 5 * PAUSE):
            row: Any = self.connection.execute(_SCHEDULER_RUNS, [self.name, SCHEDULER]).fetchone()
            if row[0]:
                return True
        text = (
            f"TimescaleDB's scheduler does not run in {self.name}: the server may have no background worker left for it"
            "; raise max_worker_processes, and restart the server"
        )
        self.report(Message("WARNING", text))
        return False

    def restart_scheduler(self) -> bool:
        """Start the scheduler and wait until it runs, if there is one to run; a warning says if it does not."""
        self.start_scheduler()
        try:
            with postgres.connect(self.target) as inside:
                if not inside.execute(EXTENSION_VERSION).fetchone():
                    return True
        except (DbopsError, psycopg.Error):
            return True
        return self.assert_scheduler()

    # Undo, and the state of a database as a sentence.

    def undo(self) -> str:
        """Undo what is not complete: drop what was built, open the target. Return the resulting state as a sentence."""
        if self.swapped:
            return f"{self.name} is in place, and open: nothing is left to do."
        if not self.has_changed:
            return f"{self.name} was not changed."
        self.leave()
        try:
            if self._is_usable():
                now = self._undone(self.connection)
            else:
                self.connection.close()
                with (
                    postgres.operator_session(self.target, timeout=self.timeout)
                    if self.locked
                    else postgres.maintenance(self.target)
                ) as another:
                    now = self._undone(another)
        except (DbopsError, psycopg.Error, Interrupted) as error:
            what = str(error) or "interrupted"
            return f"{self.name} may be closed ({what}): the same command, or `invoke db.create`, opens it."
        if now.exists and self.closed_at is None:
            return f"{self.name} was not changed."
        if now.database and now.database.oid == self.incoming:
            return f"{self.name} is in place, and open: nothing is left to do."
        return describe(self.name, now.database, now.successor)

    def _undone(self, connection: Connection) -> Inspection:
        if self.role:
            self.become(connection, self.role)
        another = Operator(connection, self.target, self.timeout, ignore, locked=self.locked)
        return another._clean_up(inspect(connection, self.target))

    def _is_usable(self) -> bool:
        """Return whether the session can run statements: no answer is under way, and no transaction is left open."""
        return self.connection.info.transaction_status == TransactionStatus.IDLE

    def _run_and_find(
        self,
        statements: Sequence[sql.Composable],
        name: str,
        *,
        before: tuple[str, ...] = (),
        report: Report | None = None,
    ) -> Database:
        """Run statements in one round trip, all or none, and return a database as it is then."""
        find = [properties.find_query(name)]
        rows = run_together(self.connection, statements, report or self.report, before=before, after=find).fetchall()
        return properties.databases(rows)[0] if rows else self.require(name)

    def _commit(self, statements: Sequence[sql.Composable] = ()) -> None:
        """Run statements in the open transaction and commit it, in one round trip."""
        run_together(self.connection, statements, self.report, after=["COMMIT"])

    def _allow(self, name: str, *, allowed: bool) -> None:
        """Let a database take connections, or not."""
        self._retry(name, lambda: run(self.connection, properties.allowing(name, allowed=allowed), self.report))

    def _retry(
        self,
        name: str,
        change: Callable[[], T],
        *,
        deed: str = "alter",
        deadline: float | None = None,
        ending: bool = False,
    ) -> T:
        """Change a database, again while another session is in the way, or alters it at the same moment.

        With `ending` the other sessions in the target are ended before the next attempt. Raises PreflightError, which
        names what is in the way, at the deadline, or else after the timeout.
        """
        deadline = deadline or time.monotonic() + self.timeout
        while True:
            try:
                return change()
            except psycopg.Error as error:
                if not (isinstance(error, IN_USE) or postgres.is_concurrent(error)):
                    raise
                self.connection.rollback()
                if time.monotonic() > deadline:
                    raise self._given_up(error, name, deed=deed) from None
                self.report(Message("DEBUG", f"{deed} {name}: retried, {error.diag.message_primary}"))
                time.sleep(PAUSE)
                if ending:
                    self.end_sessions(deadline)

    def require(self, name: str) -> Database:
        """Return a database that must be there."""
        found = properties.find_database(self.connection, name)
        if found is None:
            raise ServerError(
                f"the database {name} was dropped by another session",
                where=str(self.target),
                hint="Run the command again.",
            )
        return found

    def _assert_equal(self, found: Properties, wanted: Properties) -> None:
        """Raise ServerError if a database does not have the properties that it should have."""
        if different := properties.different_properties(found, wanted):
            raise ServerError(
                f"the new {self.name} would differ in: {', '.join(different)}",
                where=str(self.target),
                hint="Connect as a superuser, or remove that property of the database first.",
            )


@dataclass(slots=True)
class _Custody:
    """A database that is being built is its owner's only within the transactions that build it.

    Between them it belongs to the operator, so that its owner can neither open nor enter it; and its comment is the
    marker, which takes up the comment that a migration wrote.
    """

    name: str
    role: str
    owner: str
    marker: Marker

    def hand_over_sql(self) -> tuple[str, ...]:
        """Return what begins a transaction of the owner's."""
        if self.owner == self.role:
            return ()
        role = set_role(self.role, local=True)
        return role.as_string(), properties.giving_to(self.name, self.owner).as_string()

    def take_back(self, inside: Connection) -> None:
        """Make the database the operator's again, in the open transaction, and keep the comment that it has now."""
        back: list[sql.Composable] = [set_role(self.role, local=True)]
        if self.owner != self.role:
            back.append(properties.giving_to(self.name, self.role))
        row: Any = run_together(inside, back, ignore, after=[_COMMENT]).fetchone()
        if row[0] != self.marker.text():
            self.marker = replace(self.marker, comment=row[0])
            inside.execute(properties.marking(self.name, self.marker))


_COMMENT = """
SELECT pg_catalog.shobj_description(d.oid, 'pg_database')
FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
"""
_ALTERS = """a.pid IN (
    SELECT l.pid FROM pg_catalog.pg_locks AS l
    WHERE l.relation = 'pg_catalog.pg_database'::pg_catalog.regclass AND l.mode = 'RowExclusiveLock')
"""
_SCHEDULER_RUNS = (
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS a WHERE a.datname = %s AND a.application_name = %s)"
)


def _limiting(seconds: float) -> tuple[str, ...]:
    """Return what lets each of the following statements take so many seconds, and hears what the server logs of it."""
    return f"SET statement_timeout = {round(seconds * 1000)}", "SET client_min_messages = log"


@contextmanager
def scratch_database(target: Target, report: Report = ignore) -> Iterator[Target]:
    """Yield an empty database with a scratch name and the server's defaults, over a session of its own; drop it.

    It belongs to the connecting role or, where only the owner of the target's database may create databases, to that
    one. Only superusers may connect to it or, where the role is not one, only that role. Raises PreflightError if
    neither may create databases.
    """
    with postgres.maintenance(target) as connection:
        postgres.refuse_standby(connection, target)
        found = inspect(connection, target)
        if (role := found.role_to_become) and found.server.roles[role].createdb:
            connection.execute(set_role(role))
            found = inspect(connection, target)
        found = replace(found, database=None, scratch=())
        assert_passed(tuple(creating_conditions(found)), target)
        operator = Operator(connection, target, TIMEOUT, report, locked=False)
        operator.role = found.server.role
        try:
            new = operator.create(found)
            run_together(connection, operator._opening(new)[0], report)
            yield replace(target, database=new.name)
        finally:
            operator.undo()


def describe(name: str, database: Database | None, successor: Database | None) -> str:
    """Return the state of a database as a sentence."""
    if database is None and successor and successor.marker:
        return (
            f"{name} is dropped; the empty database {successor.name} keeps its properties since "
            f"{successor.marker.since}: `invoke db.create` puts it in place, `invoke db.rebuild` builds it anew."
        )
    if database is None:
        return f"There is no database {name}: `invoke db.rebuild` builds it."
    if database.invalid:
        return f"{name} is partly dropped and cannot be used: `invoke db.drop` or `invoke db.rebuild` goes on."
    if database.marker:
        return (
            f"{name} is closed since {database.marker.since}: a rebuild or a drop is at work, or was interrupted; "
            "then `invoke db.create` opens it."
        )
    return f"{name} was not dropped and works as before."


@contextmanager
def explained(target: Target) -> Iterator[None]:
    """Say of a database that cannot be connected to whether it is missing, closed or dropped, and what to do then."""
    try:
        yield
    except ServerError as error:
        with suppress(DbopsError, psycopg.Error), postgres.reader(target, target.maintenance_database) as connection:
            found = inspect(connection, target)
            if not found.database or found.database.invalid or found.database.marker:
                error.hint = describe(target.database, found.database, found.successor)
        raise


def refuse_closed(database: Database | None, target: Target) -> None:
    """Raise PreflightError if the database is closed: a run is replacing or dropping it, or was interrupted."""
    if database and database.marker:
        raise PreflightError(
            f"{target.database} is closed: a rebuild or a drop is at work, or was interrupted",
            where=str(target),
            notes=(f"since {database.marker.since}",),
            hint="If no run is at work, `invoke db.create` opens it as it is, and `invoke db.rebuild` starts over.",
        )
