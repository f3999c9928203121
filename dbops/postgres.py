"""Connections to PostgreSQL: fixed settings, the operator's lock, sessions, and the driver's errors in plain words."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import generators, sql
from psycopg.adapt import Transformer
from psycopg.conninfo import make_conninfo
from psycopg.pq import ExecStatus, TransactionStatus

from dbops.errors import DbopsError, Interrupted, PreflightError, ServerError, UsageError
from dbops.events import Message, Report, Statement, ignore
from dbops.settings import Target

Connection = psycopg.Connection[tuple[object, ...]]

OLDEST_SERVER = 150000
APPLICATION = "kapman-dbops"
# How long to wait for another operator of the same database, and for the sessions of a database to end, in seconds.
TIMEOUT = 30.0
# The prefix of the comment that this tool writes on a database when it closes it; see database/properties.py.
MARKER = "kapman-dbops: "

# Every session has these, whatever role, database and server say: they travel in the startup packet, so they are in
# force before the first query, and no object of a database's owner is found by an unqualified name.
SETTINGS: Mapping[str, str] = {
    "search_path": "pg_catalog",
    "client_encoding": "UTF8",
    "client_min_messages": "notice",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "row_security": "on",
    "default_tablespace": "",
    "default_table_access_method": "heap",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "check_function_bodies": "on",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "jit": "off",
}

CREATE_IT = "Create it with `invoke db.rebuild`, or correct the name in DATABASE_URL."
NO_MAINTENANCE_DATABASE = "As a superuser, run CREATE DATABASE postgres: operators take their lock there."
UNREACHABLE = "Start the server, or correct host and port in DATABASE_URL. `invoke server.up` starts the embedded one."
REFUSED = (
    "The server answered: check user, password and database in DATABASE_URL. `invoke db.rebuild` creates a database, "
    "`invoke db.wait` waits until the server is ready."
)
# What libpq writes before the words of a server: the severity, in the server's language too.
ANSWER = re.compile(r"connection to server .* failed: [^: ]+: {2}(.+)")
# A refused connection has no SQLSTATE, only the server's words. They may be in any language: then REFUSED is the hint.
HINTS_BY_MESSAGE = (
    (r"password authentication failed|no password supplied", "Check user and password in DATABASE_URL."),
    (r'database ".*" does not exist', CREATE_IT),
    (
        r"too many (clients|connections)|remaining connection slots",
        "Wait for sessions to end, or for a rebuild of this database; or raise max_connections on the server.",
    ),
    (
        r"the database system is (starting up|shutting down|in recovery|not yet accepting)",
        "The server is starting or stopping: run `invoke db.wait`, then try again.",
    ),
    (
        r"is not currently accepting connections|cannot connect to invalid database",
        "The database is closed, perhaps by an interrupted drop: `invoke db.create` opens it as it is, "
        "`invoke db.rebuild` begins anew.",
    ),
    (
        r'no pg_hba\.conf entry|authentication failed|role ".*" (does not exist|is not permitted)',
        "Check user and password in DATABASE_URL, and that pg_hba.conf lets this role in from here.",
    ),
    (r"permission denied for database", "Ask the database's owner to grant CONNECT, or wait for a rebuild to finish."),
)


def connect(
    target: Target, database: str | None = None, *, connect_timeout: int = 10, application: str = APPLICATION
) -> Connection:
    """Return an autocommit connection to the target's database, or to another one on its server.

    It has SETTINGS from its first moment. A connection pooler may refuse those; then nothing is set, and only
    `reading` may be used, which sets them for its transaction. `connect_timeout` is in seconds. Statements are never
    prepared automatically: TimescaleDB stops a database's scheduler when it parses a DROP or a RENAME, and a prepared
    one skips that. Raises ServerError if the server refuses.
    """
    name = target.database if database is None else database
    parameters = {
        "connect_timeout": str(connect_timeout),
        **target.parameters,
        "application_name": target.parameters.get("application_name", application),
        "dbname": name,
    }
    options = " ".join(f"-c {key}={_escaped(value)}" for key, value in SETTINGS.items())
    own = {"options": f"{target.parameters.get('options', '')} {options}".strip()}
    try:
        try:
            return psycopg.connect(make_conninfo("", **{**parameters, **own}), autocommit=True, prepare_threshold=None)
        except psycopg.OperationalError as error:
            if "unsupported startup parameter" not in str(error):
                raise
        return psycopg.connect(make_conninfo("", **parameters), autocommit=True, prepare_threshold=None)
    except (psycopg.Error, UnicodeError) as error:
        raise translate(error, target, name) from None


def quoted(name: str) -> str:
    """Return a name as SQL takes it, in quotes, for statements that a message tells to run."""
    return sql.Identifier(name).as_string()


def _escaped(value: str) -> str:
    """Return a value as the `options` of a connection take it."""
    return re.sub(r"([\\ ])", r"\\\1", value)


@contextmanager
def reading(
    connection: Connection, *, statement_timeout: float = 0.0, lock_timeout: float = 0.0, row_security: str = "off"
) -> Iterator[None]:
    """Run what is inside in one read-only transaction, in one snapshot, with SETTINGS; roll back at the end.

    In a transaction that is open already, a savepoint does the same, and the snapshot is that transaction's. Timeouts
    are in seconds, 0 is none. With row security off, a policy that would hide rows is an error.
    """
    limits = {
        "row_security": row_security,
        "statement_timeout": str(round(statement_timeout * 1000)),
        "lock_timeout": str(round(lock_timeout * 1000)),
    }
    alone = connection.info.transaction_status == TransactionStatus.IDLE
    begin = (
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        if alone
        else "SAVEPOINT reading; SET LOCAL transaction_read_only = on"
    )
    words = [
        sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(key), value) for key, value in {**SETTINGS, **limits}.items()
    ]
    connection.execute(sql.SQL("; ").join([sql.SQL(begin), *words]))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("ROLLBACK" if alone else "ROLLBACK TO SAVEPOINT reading; RELEASE SAVEPOINT reading")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement returned: its rows, its columns' names and types (as oids); or the server's error."""

    rows: tuple[Any, ...] = ()
    columns: tuple[str, ...] = ()
    types: tuple[int, ...] = ()
    error: psycopg.Error | None = None

    def fetched(self) -> tuple[Any, ...]:
        """Return the rows; raise the error if there was one."""
        if self.error:
            raise self.error
        return self.rows


Query = tuple[str | sql.Composable, Sequence[object]]


def ask(connection: Connection, queries: Sequence[Query]) -> list[Answer]:
    """Return the answers to queries with their parameters, sent in one round trip inside a transaction.

    Each has a savepoint of its own: what it changes is undone, and its error does not keep the others from running.
    Raises psycopg.Error only where the connection is lost.
    """
    cursor = psycopg.ClientCursor(connection)
    texts = [cursor.mogrify(query, parameters or None) for query, parameters in queries]  # type: ignore[arg-type]
    groups = [group for text in texts for group in (("SAVEPOINT ask", text), ("ROLLBACK TO SAVEPOINT ask",))]
    return [answers[-1] for answers in pipeline(connection, groups)[::2]]


def pipeline(connection: Connection, groups: Sequence[Sequence[str]]) -> list[list[Answer]]:
    """Send groups of statements in one round trip, and return each statement's answer.

    After an error the server skips the rest of the group, whose answers then have the same error. Each statement must
    be a single one: the extended protocol refuses more. An interruption closes the connection.
    """
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    try:
        for group in groups:
            for statement in group:
                pgconn.send_query_params(statement.encode(connection.info.encoding), None)
            pgconn.pipeline_sync()
        connection.wait(generators.send(pgconn))
        return [_answers(connection, len(group)) for group in groups]
    except BaseException:
        connection.close()
        raise
    finally:
        if not connection.closed:
            pgconn.exit_pipeline_mode()


def _answers(connection: Connection, number: int) -> list[Answer]:
    """Return the answers to a number of statements that were sent, up to the end of their group."""
    answers: list[Answer] = []
    for _ in range(number):
        (result,) = connection.wait(generators.fetch_many(connection.pgconn))
        if result.status == ExecStatus.PIPELINE_ABORTED:
            answers.append(answers[-1])
        elif result.status == ExecStatus.FATAL_ERROR:
            error = psycopg.errors.error_from_result(result, connection.info.encoding)
            if connection.info.status != psycopg.pq.ConnStatus.OK:
                raise error
            answers.append(Answer(error=error))
        else:
            rows = Transformer(connection)
            rows.set_pgresult(result)
            names = tuple((result.fname(i) or b"").decode(connection.info.encoding) for i in range(result.nfields))
            types = tuple(result.ftype(i) for i in range(result.nfields))
            answers.append(Answer(tuple(rows.load_rows(0, result.ntuples, tuple)), names, types))
    connection.wait(generators.fetch_many(connection.pgconn))
    return answers


@contextmanager
def maintenance(target: Target, application: str = APPLICATION) -> Iterator[Connection]:
    """Yield a connection to the server's maintenance database.

    Driver errors raised inside become ServerErrors. ServerError too if the server is too old for what follows.
    """
    with (
        translated(target, target.maintenance_database),
        connect(target, target.maintenance_database, application=application) as connection,
    ):
        refuse_old(connection.info.server_version, target.server)
        yield connection


def refuse_old(version: int, server: str) -> None:
    """Raise ServerError if a server's version number, such as 150020, is below the oldest that is supported."""
    if version < OLDEST_SERVER:
        raise ServerError(
            f"PostgreSQL {version // 10000} is not supported: {OLDEST_SERVER // 10000} or newer is required",
            where=server,
            hint="Name another server in DATABASE_URL; `invoke server.up` starts the embedded one.",
        )


def run(connection: Connection, statement: sql.Composable, report: Report, *, shown: str = "") -> None:
    """Execute a statement and report it; `shown` stands for one whose text may hold a secret."""
    text = statement.as_string(connection)
    began = time.monotonic()
    connection.execute(text.encode(connection.info.encoding))
    report(Statement(shown or text, time.monotonic() - began, connection.info.dbname))


def run_together(connection: Connection, statements: Sequence[sql.Composable], report: Report) -> None:
    """Execute statements in one round trip, in the open transaction, and report each, without its time."""
    texts = [statement.as_string(connection) for statement in statements]
    connection.execute("; ".join(texts).encode(connection.info.encoding))
    for text in texts:
        report(Statement(text, None, connection.info.dbname))


# The operator's lock: one operator per database, across machines.


def lock_key(kind: str, name: str) -> int:
    """Return the advisory lock's key for a name: 64 bits, signed, the same on every machine."""
    digest = hashlib.sha256(f"kapman-dbops/{kind}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def try_lock(connection: Connection, key: int) -> bool:
    """Take an advisory lock for the session if it is free."""
    row: Any = connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", [key]).fetchone()
    return bool(row[0])


def unlock(connection: Connection, key: int) -> None:
    """Release an advisory lock, unless the session has already ended, which releases it too."""
    with suppress(psycopg.Error):
        connection.execute("SELECT pg_catalog.pg_advisory_unlock(%s)", [key])


@contextmanager
def operator(target: Target, *, timeout: float = TIMEOUT, report: Report = ignore) -> Iterator[Connection]:
    """Yield the session that works on the target's database from outside, and that holds the operator's lock on it.

    The lock is held as long as the session lives, so losing the connection stops the operation. Waits up to `timeout`
    seconds for another operator. Raises PreflightError when the time is up, naming the holder, and when a connection
    pooler stands in between: the lock would belong to the pooler's session; UsageError for more than one host, since
    each connection may end at another server.
    """
    if any("," in target.parameters.get(name, "") for name in ("host", "hostaddr", "port")):
        raise UsageError(
            "more than one host is named, and the next connection may reach another server",
            where=target.server,
            hint="Name the one host whose database is meant in DATABASE_URL.",
        )
    key = lock_key("database", target.database)
    with maintenance(target, f"{APPLICATION} {_whoami()}") as connection:
        # Only if the process that answers is the one connected to: behind a pooler its session would hold the lock.
        row: Any = connection.execute(
            "SELECT CASE WHEN pg_catalog.pg_backend_pid() = %s THEN pg_catalog.pg_try_advisory_lock(%s) END",
            [connection.info.backend_pid, key],
        ).fetchone()
        if row[0] is None:
            raise PreflightError(
                "the connection goes through a pooler, which cannot hold a lock for one operator",
                where=target.server,
                hint="Connect to PostgreSQL directly: put its own host and port into DATABASE_URL.",
            )
        if not row[0]:
            _wait_for_lock(connection, key, target, timeout, report)
        try:
            yield connection
        finally:
            unlock(connection, key)


def _wait_for_lock(connection: Connection, key: int, target: Target, timeout: float, report: Report) -> None:
    """Wait for the operator's lock, saying who holds it."""
    try:
        text = f"waiting up to {timeout:g} s for {target.database}, which is locked by {lock_holder(connection, key)}"
        report(Message("INFO", text))
        connection.execute(f"SET lock_timeout = {max(1, round(timeout * 1000))}")
        connection.execute("SELECT pg_catalog.pg_advisory_lock(%s)", [key])
        connection.execute("SET lock_timeout = 0")
    except psycopg.errors.LockNotAvailable:
        raise PreflightError(
            f"another operator is at work on {target.database}",
            where=target.server,
            notes=(f"held by {lock_holder(connection, key)}",),
            hint="Wait for it to finish, or wait longer with --timeout.",
        ) from None
    except Interrupted as interruption:
        interruption.state = f"{target.database} was not changed."
        raise


def lock_holder(connection: Connection, key: int) -> str:
    """Return who holds a session advisory lock of this database."""
    pid = (
        "(SELECT l.pid FROM pg_catalog.pg_locks AS l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
        " AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())"
        " AND (l.classid::pg_catalog.int8 << 32 | l.objid::pg_catalog.int8) = %s::pg_catalog.int8)"
    )
    found = sessions(connection, f"a.pid = {pid}", key)
    return str(found[0]) if found else "a session that has just ended"


def _whoami() -> str:
    """Return this process for people: user@machine:pid."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


# Sessions: which are connected, which hold a lock, which block another one.


@dataclass(frozen=True, slots=True)
class Session:
    """One session; `endable` is whether the connecting role may end it; `since` is when its state began.

    Another role's session shows neither its state nor its query to a role without rights; a query that may hold a
    password is not shown at all.
    """

    pid: int
    user: str
    application: str
    address: str
    state: str
    since: str
    query: str
    endable: bool

    def __str__(self) -> str:
        application = f", application {self.application}" if self.application else ""
        address = "" if self.address == "local" else f", from {self.address}"
        query = f": {self.query}" if self.query else ""
        return f"process {self.pid} (role {self.user}{application}{address}, {self.state} since {self.since}{query})"


_SESSIONS = """
SELECT a.pid, coalesce(a.usename, ''), a.application_name,
       coalesce(pg_catalog.host(a.client_addr), 'local'), coalesce(a.state, 'unknown'),
       pg_catalog.to_char(coalesce(a.state_change, a.backend_start), 'YYYY-MM-DD HH24:MI:SS "UTC"'),
       CASE WHEN (a.state = 'active' OR a.state LIKE 'idle in transaction%%') AND a.query !~* 'password' THEN
           pg_catalog.left(pg_catalog.regexp_replace(a.query, '\\s+', ' ', 'g'), 60) ELSE '' END,
       me.rolsuper OR (NOT coalesce(r.rolsuper, TRUE) AND
           (pg_catalog.pg_has_role(a.usesysid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')))
FROM pg_catalog.pg_stat_activity AS a
JOIN pg_catalog.pg_roles AS me ON me.rolname = current_user
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
WHERE {condition}
ORDER BY a.backend_start, a.pid
"""


def sessions(connection: Connection, condition: str, *parameters: object) -> tuple[Session, ...]:
    """Return the sessions of pg_stat_activity (as `a`) for which a condition of ours holds, the oldest first."""
    query = _SESSIONS.replace("{condition}", condition)
    rows: list[Any] = connection.execute(query.encode(), parameters).fetchall()
    return tuple(Session(*row) for row in rows)


def sessions_in(connection: Connection, database: str, *, except_for: tuple[int, ...] = ()) -> tuple[Session, ...]:
    """Return the sessions in a database, without TimescaleDB's workers, autovacuum and some processes of ours."""
    return sessions(
        connection,
        "a.datname = %s AND a.pid <> pg_catalog.pg_backend_pid() AND a.pid <> ALL (%s) AND a.usesysid IS NOT NULL"
        " AND coalesce(a.backend_type, 'client backend') IN ('client backend', 'walsender', 'background worker')"
        " AND a.application_name NOT LIKE 'TimescaleDB Background Worker%%'",
        database,
        list(except_for),
    )


def sessions_blocking(connection: Connection, pid: int) -> tuple[str, ...]:
    """Return who holds the locks that a session waits for, in words."""
    found = sessions(connection, "a.pid = ANY (pg_catalog.pg_blocking_pids(%s))", pid)
    row: Any = connection.execute("SELECT 0 = ANY (pg_catalog.pg_blocking_pids(%s))", [pid]).fetchone()
    return (*(str(session) for session in found), *(("a prepared transaction",) if row[0] else ()))


_LOCKED_TABLES = """
SELECT DISTINCT pg_catalog.format('%I.%I', n.nspname, c.relname), l.granted, l.pid
FROM pg_catalog.pg_locks AS l
JOIN pg_catalog.pg_class AS c ON c.oid = l.relation AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE l.mode = 'AccessExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid()
AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
ORDER BY 1 LIMIT 5
"""


def tables_locked_against_reading(connection: Connection) -> tuple[str, ...]:
    """Return up to five sentences on tables of the connected database that cannot be read now, and who locks them.

    A read waits only for an ACCESS EXCLUSIVE lock, or behind a session that waits for one.
    """
    locks: list[Any] = connection.execute(_LOCKED_TABLES).fetchall()
    holders = {s.pid: s for s in sessions(connection, "a.pid = ANY (%s)", [pid for _, _, pid in locks])}
    return tuple(
        f"{table} is {'locked' if granted else 'about to be locked'} by {holders.get(pid, f'process {pid}')}"
        for table, granted, pid in locks
    )


def end(connection: Connection, session: Session) -> bool:
    """End a session; False if it is gone already or may not be ended."""
    try:
        row: Any = connection.execute("SELECT pg_catalog.pg_terminate_backend(%s)", [session.pid]).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return False
    return bool(row[0])


# Relations of which a query would run code that belongs to neither a superuser nor the connected role: views, and
# tables with a function in an index, a statistics object, a constraint or a rule, which the planner evaluates. A
# hypertable's chunks count as a part of it. Functions of an extension are no exception: the owner of the
# extension can add some to it.
FOREIGN_CODE = """
WITH RECURSIVE trusted AS MATERIALIZED (
    SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolsuper OR r.rolname = current_user
),
code AS MATERIALIZED (
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass AS class, p.oid, p.oid::pg_catalog.regprocedure::text AS name
    FROM pg_catalog.pg_proc AS p WHERE p.proowner NOT IN (SELECT t.oid FROM trusted AS t)
    UNION ALL
    SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, o.oid, o.oid::pg_catalog.regoperator::text
    FROM pg_catalog.pg_operator AS o WHERE o.oprowner NOT IN (SELECT t.oid FROM trusted AS t)
    UNION ALL
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, d.oid, d.oid::pg_catalog.regtype::text
    FROM pg_catalog.pg_type AS d WHERE d.typtype = 'd' AND d.typowner NOT IN (SELECT t.oid FROM trusted AS t)
),
family AS (
    SELECT c.oid AS root, c.oid
    FROM pg_catalog.pg_class AS c
    WHERE c.relkind IN ('r', 'p', 'm') AND c.oid >= 16384
    UNION
    SELECT f.root, i.inhrelid FROM family AS f JOIN pg_catalog.pg_inherits AS i ON i.inhparent = f.oid
),
part AS (
    SELECT f.root, 'pg_catalog.pg_class'::pg_catalog.regclass AS class, f.oid FROM family AS f
    UNION ALL
    SELECT f.root, 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid
    FROM family AS f JOIN pg_catalog.pg_index AS i ON i.indrelid = f.oid
    UNION ALL
    SELECT f.root, c.tableoid, c.oid FROM family AS f JOIN pg_catalog.pg_constraint AS c ON c.conrelid = f.oid
    UNION ALL
    SELECT f.root, s.tableoid, s.oid FROM family AS f JOIN pg_catalog.pg_statistic_ext AS s ON s.stxrelid = f.oid
    UNION ALL
    SELECT f.root, w.tableoid, w.oid FROM family AS f JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = f.oid
),
found AS (
    SELECT p.root AS oid, pg_catalog.min('the function, operator or domain ' || k.name) AS reason
    FROM part AS p
    JOIN pg_catalog.pg_depend AS d ON d.classid = p.class AND d.objid = p.oid
    JOIN code AS k ON k.class = d.refclassid AND k.oid = d.refobjid
    GROUP BY p.root
    UNION ALL
    SELECT coalesce(f.root, c.oid), 'what a view or foreign table is made of'
    FROM pg_catalog.pg_class AS c LEFT JOIN family AS f ON f.oid = c.oid
    WHERE c.relkind IN ('v', 'f') AND c.relowner NOT IN (SELECT t.oid FROM trusted AS t)
)
SELECT f.oid AS relation, n.nspname || '.' || c.relname AS name, f.reason
FROM found AS f
JOIN pg_catalog.pg_class AS c ON c.oid = f.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
"""

# The driver's errors.


@contextmanager
def translated(target: Target, database: str | None = None) -> Iterator[None]:
    """Turn any driver error raised inside into a ServerError about the target."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, target, database or target.database) from None


def translate(error: Exception, target: Target, database: str) -> DbopsError:
    """Return the operator's error for a driver error: the server's own words, without the password."""
    diag = getattr(error, "diag", None)
    words = (diag.message_primary if diag else None) or _first_cause(str(error))
    unknown = REFUSED if ANSWER.search(str(error)) else UNREACHABLE
    known = next((hint for pattern, hint in HINTS_BY_MESSAGE if re.search(pattern, words)), unknown)
    if getattr(error, "sqlstate", None):
        hint = "See the server's log for more."
    elif database == target.maintenance_database and known == CREATE_IT:
        hint = NO_MAINTENANCE_DATABASE
    else:
        hint = known
    return ServerError(
        redact(words, target),
        where=f"{target.server}, database {database}",
        hint=hint,
        sqlstate=getattr(error, "sqlstate", None) or "",
    )


def _first_cause(text: str) -> str:
    """Return what libpq says of the first address it tried, without naming the address again."""
    line = re.sub(r"^connection (failed|is bad): ", "", (text.strip().splitlines() or ["connection failed"])[0])
    refused = ANSWER.fullmatch(line)
    return refused[1] if refused else re.sub(r"^connection to server .* failed: ", "cannot connect: ", line)


def redact(text: str, target: Target) -> str:
    """Return a text with the target's password replaced."""
    return text.replace(target.password, "***") if target.password else text
