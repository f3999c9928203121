"""The one session that migrations run in: who it is, what it is set to, what it hears, and that it is alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from psycopg import sql
from psycopg.errors import Diagnostic
from psycopg.pq import TransactionStatus

from dbops import events, postgres
from dbops.errors import PreflightError
from dbops.events import Report
from dbops.migrations import headers, watch
from dbops.migrations.files import Migration
from dbops.migrations.watch import LockWatch
from dbops.postgres import Connection
from dbops.settings import Target

LOCK_TIMEOUT = "5s"
# Outside a transaction, as CREATE INDEX CONCURRENTLY does, waiting stands in nobody's way, and giving up is dear.
PATIENT_LOCK_TIMEOUT = "10min"
STATEMENT_TIMEOUT = "0"
_KEY = int.from_bytes(b"dbopsmig")
_POLL_SECONDS = 0.2
_LEVELS = {"WARNING": "WARNING", "NOTICE": "INFO", "INFO": "INFO"}

_SURROUNDINGS = {
    "search_path": "public",
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "default_transaction_read_only": "off",
    "standard_conforming_strings": "on",
    "check_function_bodies": "on",
    "client_min_messages": "notice",
    "default_tablespace": "",
    "default_table_access_method": "heap",
    "row_security": "on",
}

# The owner of the database, if this role may act as it and is not it already.
_OWNER = """
SELECT pg_get_userbyid(datdba)::text FROM pg_catalog.pg_database
WHERE datname = current_database() AND pg_get_userbyid(datdba) <> session_user
  AND pg_has_role(session_user, datdba, {privilege})
"""

_CHECKED = """
SELECT set_config('session_replication_role', 'origin', {})
WHERE current_setting('session_replication_role') <> 'origin'
"""

# Constraints that can be deferred, and whether they begin so.
_DEFERRABLE = """
SELECT format('%I.%I', n.nspname, c.conname), bool_or(c.condeferred)
FROM pg_catalog.pg_constraint AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.connamespace
WHERE c.condeferrable AND has_schema_privilege(n.oid, 'USAGE') AND NOT pg_is_other_temp_schema(n.oid)
GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """What the operator asked for; empty leaves it to a file's header, then to the default."""

    lock: str = ""
    statement: str = ""

    def lock_for(self, migration: Migration) -> str:
        """Return how long a migration may wait for a lock."""
        default = LOCK_TIMEOUT if migration.header.transactional else PATIENT_LOCK_TIMEOUT
        return self.lock or migration.header.lock_timeout or default

    def statement_for(self, migration: Migration) -> str:
        """Return how long one of a migration's statements may take."""
        return self.statement or migration.header.statement_timeout or STATEMENT_TIMEOUT


@dataclass(slots=True)
class Session:
    """An open session; `where` is the file at work, for notices."""

    connection: Connection
    target: Target
    timeouts: Timeouts
    watch: LockWatch
    report: Report
    owner: str | None
    counts_bytes: bool
    where: str = ""
    may_defer: bool = True

    @property
    def in_transaction(self) -> bool:
        """Tell whether a transaction is open and sound."""
        return self.connection.info.transaction_status == TransactionStatus.INTRANS

    def script(self, *statements: str | sql.Composable) -> None:
        """Run statements of the runner's own in one round trip."""
        parts = [sql.SQL(part) if isinstance(part, str) else part for part in statements]
        self.connection.execute(sql.SQL("; ").join(parts))

    def prepare(self, migration: Migration, *, local: bool = True) -> None:
        """Give a migration the same surroundings whatever ran before it, in its transaction or for the session."""
        scope = sql.SQL("SET LOCAL " if local else "SET ")
        values = {
            **_SURROUNDINGS,
            "lock_timeout": self.timeouts.lock_for(migration),
            "statement_timeout": self.timeouts.statement_for(migration),
            **({"transaction_timeout": "0"} if self.connection.info.server_version >= 170000 else {}),
        }
        self.script(
            "RESET SESSION AUTHORIZATION",
            "RESET ALL",
            # Only some may set it, so it is left alone where it is as it should be.
            sql.SQL(_CHECKED).format(local),
            *self._role(scope),
            *(scope + sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in values.items()),
            "DISCARD TEMP",
        )

    def as_owner(self, *statements: str | sql.Composable) -> None:
        """Run statements of the runner's own as the database's owner, whatever a migration has set."""
        scope = sql.SQL("SET LOCAL " if self.in_transaction else "SET ")
        self.script("RESET SESSION AUTHORIZATION", "RESET ALL", *self._role(scope), *statements)

    def check_constraints(self) -> None:
        """Check what is deferred in the open transaction, and leave each constraint as it says that it begins.

        Each is named, since ALL would go for those that are made later in the transaction as well. Where there are
        none, `may_defer` says so until a file speaks of some: the look takes the longer the more constraints there are.
        """
        found = [(str(name), bool(deferred)) for name, deferred in self.connection.execute(_DEFERRABLE)]
        self.may_defer = bool(found)
        for mode, names in (
            ("IMMEDIATE", [name for name, _ in found]),
            ("DEFERRED", [name for name, deferred in found if deferred]),
        ):
            if names:
                self.connection.execute(f"SET CONSTRAINTS {', '.join(names)} {mode}".encode())

    def _role(self, scope: sql.Composable) -> list[sql.Composable]:
        return [scope + sql.SQL("ROLE {}").format(sql.Identifier(self.owner))] if self.owner else []

    def run(self, text: bytes, migration: Migration) -> float:
        """Run one statement of a migration by itself and return its seconds; no parameter, so no % is special."""
        began = time.monotonic()
        with self.watch.statement(self.where, headers.seconds(self.timeouts.lock_for(migration))):
            self.connection.execute(text)
        return time.monotonic() - began

    def hear(self, diag: Diagnostic) -> None:
        """Report what the server says on the side, with the file that made it say so."""
        level = _LEVELS.get(diag.severity_nonlocalized or "", "DEBUG")
        detail = "".join(f" ({part})" for part in (diag.message_detail, diag.message_hint) if part)
        self.report(events.Message(level, f"{diag.severity}: {diag.message_primary}{detail}", self.where))


@contextmanager
def opened(target: Target, timeouts: Timeouts, report: Report) -> Iterator[Session]:
    """Open a session for migrations; ServerError if the server says no."""
    utf8 = replace(target, parameters={**target.parameters, "client_encoding": "UTF8"})
    with postgres.connect(utf8) as connection, LockWatch(utf8, connection.info.backend_pid, report) as seen:
        privilege = "'SET'" if connection.info.server_version >= 160000 else "'MEMBER'"
        row = connection.execute(_OWNER.format(privilege=privilege).encode()).fetchone()
        counts_bytes = connection.info.parameter_status("server_encoding") == "SQL_ASCII"
        owner = str(row[0]) if row else None
        session = Session(connection, target, timeouts, seen, report, owner, counts_bytes)
        connection.add_notice_handler(session.hear)
        yield session


def wait_alone(session: Session, patience: float) -> None:
    """Take the database's migration lock for this session; PreflightError names who has it after `patience` seconds.

    It is polled for, since a session that waits for a lock holds a snapshot, and CREATE INDEX CONCURRENTLY in the
    session that has the lock would wait for that, for ever.
    """
    deadline = time.monotonic() + patience
    told = False
    while not try_lock(session.connection):
        who = "; ".join(watch.holders(session.connection, _KEY)) or "a session that has just ended"
        if not told:
            session.report(events.Message("INFO", f"waits for another migration: {who}"))
            told = True
        if time.monotonic() > deadline:
            raise PreflightError(
                f"another migration of this database is at work: {who}",
                where=str(session.target),
                hint="Nothing was applied. Wait for it to end, then run `invoke db.migrate` again.",
            )
        time.sleep(_POLL_SECONDS)


def try_lock(connection: Connection) -> bool:
    """Take the migration lock for a session, if it is free."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [_KEY]).fetchone()
    return bool(row and row[0])
