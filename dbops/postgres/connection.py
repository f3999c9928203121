"""Connections: their settings, transactions that only read, and statements that are reported."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from dbops.errors import DbopsError, PreflightError, ServerError
from dbops.events import Report, StatementFinished
from dbops.postgres.errors import is_known, translate
from dbops.postgres.sqlfiles import sql_file
from dbops.postgres.waiting import WatchedConnection, seconds_left
from dbops.settings import Target

Connection = psycopg.Connection[tuple[object, ...]]

OLDEST_SERVER = 150000
APPLICATION = "kapman-dbops"
# The prefix of the comment that this tool writes on a database when it closes it; see database/properties.py.
MARKER = "kapman-dbops: "

# Every session has these, whatever environment, role, database and server say. They travel in the startup packet, so
# that they are in force before the first query, and no object of a database's owner is found by an unqualified name.
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
# What PostgreSQL 17 added, the second one in updates of older versions too: in force where the server knows them.
ADDED: Mapping[str, str] = {"transaction_timeout": "0", "restrict_nonsystem_relation_kind": ""}


def _setting_those_that_differ(settings: Mapping[str, str], *, local: bool) -> str:
    """Return what sets those that the server knows, for the transaction if `local`; the search path is pg_catalog."""
    values = ", ".join(f"('{name}', '{value}')" for name, value in settings.items())
    return f"""
SELECT pg_catalog.set_config(s.name, s.value, {local})
FROM (VALUES {values}) AS s (name, value)
WHERE pg_catalog.current_setting(s.name, true) <> s.value
"""  # noqa: S608


_SET_ADDED = _setting_those_that_differ(ADDED, local=True)
# After a RESET ALL, which puts PGDATESTYLE and PGTZ of the environment into force.
RESTORE_SETTINGS = _setting_those_that_differ({**SETTINGS, **ADDED}, local=False)
# What holds when a session begins, and later is the session's own affair: it loads nothing, and acts as the role that
# connected, or as the one that this role has been given with ALTER ROLE. A role that an owner has set for its database
# does not count: it would have code of that owner's trusted, which says SET ROLE NONE.
AT_FIRST: Mapping[str, str] = {"role": "none", "local_preload_libraries": ""}
_OWN_ROLE = sql_file("dbops.postgres", "own_role")
# A statement ends soon after its client has gone, and so do its locks. Not every server's system can notice that: see
# client_connection_check_interval in PostgreSQL's documentation.
NOTICED = {"client_connection_check_interval": "1s"}
# How a client notices that a server has gone: after 25 s without an answer to the system's own probes, or 20 s without
# an acknowledgement of what was sent.
NOTICING = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}

# Keeps TimescaleDB's loader from loading the library (GUC_DISABLE_LOAD_NAME in src/loader/loader.c, 2.19.3), which
# it does at the first statement of a session, and which fails where that version is not installed any more.
UNLOADED: Mapping[str, str] = {"timescaledb.disable_load": "on"}
NO_SETTINGS: Mapping[str, str] = {}


@contextmanager
def translated(target: Target, database: str | None = None) -> Iterator[None]:
    """Turn any driver error raised inside into a ServerError about the target."""
    name = database or target.database

    def installed() -> str:
        with suppress(psycopg.Error, DbopsError), connect(target, name, settings=UNLOADED) as connection:
            query = "SELECT default_version FROM pg_catalog.pg_available_extensions WHERE name = 'timescaledb'"
            row: Any = connection.execute(query).fetchone()
            return row[0] if row else ""
        return ""

    try:
        yield
    except psycopg.Error as error:
        raise translate(error, target, name, installed) from None


def connect(
    target: Target,
    database: str | None = None,
    *,
    application: str = APPLICATION,
    settings: Mapping[str, str] = NO_SETTINGS,
) -> Connection:
    """Return an autocommit session in the target's database, or in another one on its server, to do work in.

    SETTINGS are known to be in force in it. Statements are never prepared automatically: TimescaleDB stops a database's
    scheduler when it parses a DROP or a RENAME, and a prepared one skips that. `settings` are more of them for this
    session. Raises ServerError if the server refuses, PreflightError if a connection pooler stands in between: what is
    set and locked would belong to a session of the pooler's.
    """
    connection = _open(target, database, application, settings)
    wanted = {**SETTINGS, **ADDED, **NOTICED, **settings}
    current = sql.SQL(", ").join(sql.SQL("pg_catalog.current_setting({}, true)").format(name) for name in wanted)
    # No operator, and no function without its schema: the search path may be the database owner's.
    query = sql.SQL("SELECT pg_catalog.pg_backend_pid(), {}, ({})").format(current, sql.SQL(_OWN_ROLE.format("false")))
    try:
        with translated(target, connection.info.dbname):
            connection.in_force = True
            found: Any = connection.execute(query).fetchone()
            if found[0] != connection.info.backend_pid:
                raise PreflightError(
                    "the connection goes through a pooler, which cannot hold a lock for one operator",
                    where=target.server,
                    hint="Connect to PostgreSQL directly: put its own host and port into DATABASE_URL.",
                )
            connection.direct = True
            # What PGDATESTYLE or the like in the environment has overridden.
            missing = {
                name: value
                for (name, value), there in zip(wanted.items(), found[1:-1], strict=True)
                if there != value and not (there is None and name in ADDED)
            }
            for name in [name for name in NOTICED if name in missing]:
                with suppress(psycopg.errors.DataError, psycopg.errors.SyntaxErrorOrAccessRuleViolation):
                    connection.execute(_setting("SET", name, missing.pop(name)))
            if missing:
                connection.execute(sql.SQL("; ").join(_setting("SET", name, value) for name, value in missing.items()))
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def reader(
    target: Target, database: str | None = None, *, settings: Mapping[str, str] = NO_SETTINGS
) -> Iterator[Connection]:
    """Yield a session to read in, each time within `reading`: outside of that no setting need be in force.

    It may be a connection pooler's, and then has none of `settings`. Driver errors raised inside become ServerErrors.
    """
    name = target.database if database is None else database
    with translated(target, name), closing(_open(target, name, APPLICATION, settings)) as connection:
        yield connection


def fresh(target: Target, *, settings: Mapping[str, str] = NO_SETTINGS) -> WatchedConnection:
    """Return a session in the target's database in which the caller's first statement is the first of all.

    That SETTINGS and `settings` are in force is not checked. Raises ServerError if the server refuses.
    """
    connection = _open(target, None, APPLICATION, settings)
    connection.in_force = True
    return connection


def _open(target: Target, database: str | None, application: str, settings: Mapping[str, str]) -> WatchedConnection:
    """Return a session with SETTINGS, or with none of them if something between here and the server refuses those.

    PgBouncer refuses them, and Amazon's RDS Proxy; each in words of its own, and libpq does not hand on the SQLSTATE of
    a connection that was refused. So what is refused for a reason that is not known is tried once without them.
    UsageError for another database of a target with several hosts: what works on it from outside makes two connections.
    """
    name = target.database if database is None else database
    if name != target.database:
        target.assert_one_host()
    # What a target leaves out is nothing that the environment may say.
    parameters = {
        **dict.fromkeys(("host", "hostaddr", "port", "options"), ""),
        "connect_timeout": "10",
        **NOTICING,
        **target.parameters,
        "application_name": target.parameters.get("application_name", application),
        "dbname": name,
    }
    parameters["connect_timeout"] = seconds_left(parameters["connect_timeout"])
    all_settings = {**SETTINGS, **AT_FIRST, **NOTICED, **settings}
    escaped = {key: re.sub(r"([\\ ])", r"\\\1", value) for key, value in all_settings.items()}
    own = " ".join(f"-c {key}={value}" for key, value in escaped.items())
    tried = {**parameters, "options": f"{parameters['options']} {own}".strip()}
    while True:
        try:
            found = WatchedConnection.connect(make_conninfo("", **tried), autocommit=True, prepare_threshold=None)
        except (psycopg.Error, UnicodeError) as error:
            if tried is parameters or not isinstance(error, psycopg.OperationalError) or is_known(error):
                raise translate(error, target, name) from None
            tried = parameters
        else:
            found.parameters = tried
            found.maintenance = target.maintenance_database
            return found


def _setting(verb: str, name: str, value: str) -> sql.Composed:
    return sql.SQL(f"{verb} {{}} = {{}}").format(sql.Identifier(name), value)


def server_of(connection: Connection, target: Target) -> str:
    """Return the server of a target for people, as the session has it: one of several hosts, with its address."""
    info = connection.info
    address = "" if info.host.startswith("/") else info.hostaddr
    found = {"host": info.host, "hostaddr": address, "port": str(info.port)}
    return replace(target, parameters={**target.parameters, **found}).server


def quoted(name: str) -> str:
    """Return a name as SQL takes it, in quotes, for statements that a message tells to run."""
    return sql.Identifier(name).as_string()


def set_role(role: str, *, local: bool = False) -> sql.Composed:
    """Return what makes a session act as another role, for the transaction if `local`; any code in it can undo that."""
    return sql.SQL("SET LOCAL ROLE {}" if local else "SET ROLE {}").format(sql.Identifier(role))


BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


@lru_cache
def reading_settings(statement_timeout: float, lock_timeout: float) -> tuple[str, ...]:
    """Return what sets SETTINGS, ADDED and the limits of `reading` for a transaction."""
    limits = {
        "row_security": "off",
        "statement_timeout": str(round(statement_timeout * 1000)),
        "lock_timeout": str(round(lock_timeout * 1000)),
    }
    settings = {**SETTINGS, **limits}
    return *(_setting("SET LOCAL", key, value).as_string() for key, value in settings.items()), _SET_ADDED


@contextmanager
def reading(connection: Connection, *, statement_timeout: float = 0.0, lock_timeout: float = 0.0) -> Iterator[None]:
    """Run what is inside in one read-only transaction, in one snapshot, with SETTINGS; roll back at the end.

    In a transaction that is open already, a savepoint does the same, and the snapshot is that transaction's. Timeouts
    are in seconds, 0 is none. With row security off, a policy that would hide rows is an error.
    """
    alone = connection.info.transaction_status == TransactionStatus.IDLE
    begin = BEGIN_READING if alone else "SAVEPOINT reading; SET LOCAL transaction_read_only = on"
    settings = reading_settings(statement_timeout, lock_timeout)
    reader = connection if isinstance(connection, WatchedConnection) and not connection.in_force else None
    if reader:
        settings += (_OWN_ROLE.format("true"),)
        reader.in_force = True
    try:
        connection.execute("; ".join([begin, *settings]).encode())
        yield
    finally:
        if not connection.closed:
            connection.execute("ROLLBACK" if alone else "ROLLBACK TO SAVEPOINT reading; RELEASE SAVEPOINT reading")
        if reader:
            reader.in_force = False


@contextmanager
def maintenance(target: Target, application: str = APPLICATION) -> Iterator[Connection]:
    """Yield a connection to the server's maintenance database, which works whatever version of TimescaleDB is there.

    Driver errors raised inside become ServerErrors. ServerError too if the server is too old for what follows.
    """
    with (
        translated(target, target.maintenance_database),
        connect(target, target.maintenance_database, application=application, settings=UNLOADED) as connection,
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
    report(StatementFinished(shown or text, time.monotonic() - began, connection.info.dbname))


def run_together(
    connection: Connection,
    statements: Sequence[sql.Composable],
    report: Report,
    *,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
) -> psycopg.Cursor[tuple[object, ...]]:
    """Execute statements in one round trip, in the open transaction if there is one, and report each, without its time.

    `before` and `after` are what is sent with them and not reported. Returns the result of the last one of all.
    """
    texts = [statement.as_string(connection) for statement in statements]
    cursor = connection.execute("; ".join([*before, *texts, *after]).encode(connection.info.encoding))
    while cursor.nextset():
        pass
    for text in texts:
        report(StatementFinished(text, None, connection.info.dbname))
    return cursor
