"""The driver's errors in plain words, without the password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from dbops.errors import DbopsError, ServerError
from dbops.settings import Target

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

# What any statement of a session fails with where TimescaleDB's library of the database's version is not there.
UNDEFINED_FILE = "58P01"
LIBRARY = re.compile(r"\$libdir/timescaledb-(\d[\w.-]*)")


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
    library = LIBRARY.search(words)
    if library and getattr(error, "sqlstate", None) == UNDEFINED_FILE:
        return _version_missing(library[1], target, database)
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


def _version_missing(version: str, target: Target, database: str) -> ServerError:
    """Return the error for a database whose version of TimescaleDB is not installed on its server."""
    # Imported here: connections translate errors too.
    from dbops.postgres.connection import UNLOADED, connect

    installed = ""
    with suppress(psycopg.Error, ServerError), connect(target, database, settings=UNLOADED) as connection:
        row: Any = connection.execute(
            "SELECT default_version FROM pg_catalog.pg_available_extensions WHERE name = 'timescaledb'"
        ).fetchone()
        installed = row[0] if row else ""
    if not installed or installed == version:
        hint = f"Install TimescaleDB {version} or a newer version on the server."
    else:
        hint = f"`invoke db.upgrade` updates the database to {installed}; or install {version} on the server again."
    return ServerError(
        f"TimescaleDB {version}, which the database {database} has, is not installed on the server any more",
        where=f"{target.server}, database {database}",
        notes=(f"installed there now: {installed}",) if installed not in ("", version) else (),
        hint=hint,
        sqlstate=UNDEFINED_FILE,
    )


def _first_cause(text: str) -> str:
    """Return what libpq says of the first address it tried, without naming the address again."""
    line = re.sub(r"^connection (failed|is bad): ", "", (text.strip().splitlines() or ["connection failed"])[0])
    refused = ANSWER.fullmatch(line)
    return refused[1] if refused else re.sub(r"^connection to server .* failed: ", "cannot connect: ", line)


def redact(text: str, target: Target) -> str:
    """Return a text with the target's password replaced."""
    return text.replace(target.password, "***") if target.password else text
