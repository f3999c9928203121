"""Connecting to PostgreSQL, and turning the driver's errors into the operator's."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dbops.errors import DbopsError, ServerError
from dbops.events import Report, Statement
from dbops.settings import Target

Connection = psycopg.Connection[tuple[object, ...]]

OLDEST_SERVER = 150000
MISSING = "Create it with `invoke db.rebuild`, or correct the name in DATABASE_URL."
REFUSALS = (
    (r"password authentication failed|no password supplied", "Check user and password in DATABASE_URL."),
    (r'database ".*" does not exist', MISSING),
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
        "The database takes no connections, perhaps after an interrupted drop: run `invoke db.rebuild`.",
    ),
    (
        r'no pg_hba\.conf entry|authentication failed|role ".*" (does not exist|is not permitted)',
        "Check user and password in DATABASE_URL, and that pg_hba.conf lets this role in from here.",
    ),
    (r"permission denied for database", "Ask the database's owner to grant CONNECT, or wait for a rebuild to finish."),
)
NO_MEETING_PLACE = "As a superuser, run CREATE DATABASE postgres: it is where operators meet."
UNREACHABLE = "Start the server, or correct host and port in DATABASE_URL. `invoke server.up` starts the embedded one."


def connect(target: Target, database: str | None = None, *, connect_timeout: int = 10) -> Connection:
    """Return an autocommit connection to the target's database, or to another one on its server.

    Statements are never prepared by themselves: TimescaleDB stops a database's scheduler when it parses a
    DROP or a RENAME, and a prepared one skips that. Raises ServerError if the server says no.
    """
    parameters = {
        "connect_timeout": str(connect_timeout),
        "application_name": "kapman-dbops",
        **target.parameters,
    }
    name = target.database if database is None else database
    try:
        return psycopg.connect(
            make_conninfo("", **{**parameters, "dbname": name}), autocommit=True, prepare_threshold=None
        )
    except (psycopg.Error, UnicodeError) as error:
        raise translate(error, target, name) from None


@contextmanager
def maintenance(target: Target) -> Iterator[Connection]:
    """Yield a connection to the server's maintenance database that no timeout of a role or a server ends.

    Driver errors raised inside become ServerErrors. ServerError too if the server is too old for what follows.
    """
    with translated(target, target.maintenance_database), connect(target, target.maintenance_database) as connection:
        refuse_old(connection.info.server_version, target.server)
        for name in ("statement_timeout", "lock_timeout", "idle_session_timeout"):
            connection.execute(f"SET {name} = 0")
        yield connection


def refuse_old(version: int, server: str) -> None:
    """Raise ServerError if a server's version number, such as 150020, is below the oldest that is supported."""
    if version < OLDEST_SERVER:
        raise ServerError(
            f"PostgreSQL {version // 10000} is too old: {OLDEST_SERVER // 10000} or newer is needed",
            where=server,
            hint="Name another server in DATABASE_URL; `invoke server.up` starts the embedded one.",
        )


def run(connection: Connection, statement: sql.Composable, report: Report, *, shown: str = "") -> None:
    """Execute a statement and report it; `shown` stands for one whose text may hold a secret."""
    text = statement.as_string(connection)
    began = time.monotonic()
    connection.execute(text.encode(connection.info.encoding))
    report(Statement(shown or text, time.monotonic() - began, connection.info.dbname))


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
    words = (diag.message_primary if diag else None) or _last_line(str(error))
    if getattr(error, "sqlstate", None):
        hint = "See the server's log for more."
    elif database == target.maintenance_database and _refusal(words) == MISSING:
        hint = NO_MEETING_PLACE
    else:
        hint = _refusal(words) or UNREACHABLE
    return ServerError(
        redact(words, target),
        where=f"{target.server}, database {database}",
        hint=hint,
        notes=tuple(getattr(error, "__notes__", ())),
        sqlstate=getattr(error, "sqlstate", None) or "",
    )


def _refusal(words: str) -> str:
    """Return what helps against a refused connection, or nothing: it has no SQLSTATE, only the server's words."""
    return next((hint for pattern, hint in REFUSALS if re.search(pattern, words)), "")


def _last_line(text: str) -> str:
    """Return what libpq says went wrong with the first address it tried, without naming the address again."""
    line = re.sub(r"^connection (failed|is bad): ", "", (text.strip().splitlines() or ["connection failed"])[0])
    refused = re.fullmatch(r"connection to server .* failed: FATAL: +(.+)", line)
    return refused[1] if refused else re.sub(r"^connection to server .* failed: ", "cannot connect: ", line)


def redact(text: str, target: Target) -> str:
    """Return a text with the target's password replaced."""
    return text.replace(target.password, "***") if target.password else text


def identifier(*parts: str) -> sql.Identifier:
    """Return a quoted, possibly qualified, name for use in a composed statement."""
    return sql.Identifier(*parts)
