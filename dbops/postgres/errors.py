"""The driver's errors in plain words, without the password."""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg
from psycopg import sql

from dbops.errors import DbopsError, ServerError, UnreachableError, UsageError
from dbops.settings import Target

CREATE_IT = "Create it with `invoke db.rebuild`, or correct the name in DATABASE_URL."
NOT_LET_IN = "As the owner, run GRANT CONNECT ON DATABASE {database} TO {role}; or wait for a rebuild to end."
# In the maintenance database.
HINTS_OF_MAINTENANCE = {
    CREATE_IT: "As a superuser, run CREATE DATABASE postgres: operators take their lock there.",
    NOT_LET_IN: "As a superuser, run GRANT CONNECT ON DATABASE {database} TO {role}: operators take their lock there.",
}
UNREACHABLE = "Start the server, or correct host and port in DATABASE_URL. `invoke server.up` starts the embedded one."
REFUSED = (
    "The server answered: check user, password and database in DATABASE_URL. `invoke db.rebuild` creates a database, "
    "`invoke db.wait` waits until the server is ready."
)
# What libpq writes before the words of a server: the severity, in the server's language too.
ANSWER = re.compile(r"connection to server .* failed: [^: ]+: {2}(.+)")
CERTIFICATES = (
    "Check sslmode, sslrootcert, sslcert and sslkey in DATABASE_URL against what the server's administrator gave you."
)
# A refused connection has no SQLSTATE, only words: the server's, in any language (then REFUSED is the hint), or those
# of libpq. The first pattern that fits counts. {database} and {role} are those of the connection.
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
        r"no pg_hba\.conf entry.*(SSL off|no encryption)",
        "If pg_hba.conf lets this role in over TLS only, add sslmode=verify-full and sslrootcert to DATABASE_URL.",
    ),
    (
        r'no pg_hba\.conf entry|authentication failed|role ".*" (does not exist|is not permitted)',
        "Check user and password in DATABASE_URL, and that pg_hba.conf lets this role in from here.",
    ),
    (r"permission denied for database", NOT_LET_IN),
    (r'"timescaledb" must be preloaded', "Add timescaledb to shared_preload_libraries and restart the server."),
    (
        r"server does not support SSL",
        "Turn TLS on at the server (ssl = on), or use sslmode=prefer on a network that you trust.",
    ),
    (
        r'root certificate file ".*" (does not exist|is not)|could not read root certificate',
        "Name the file of the certificate authority in sslrootcert, or use sslrootcert=system for the system's own.",
    ),
    (
        r"certificate verify failed",
        "The server's certificate is not signed by the certificate authority in sslrootcert: name the right one.",
    ),
    (
        r"server certificate for .* does not match host name",
        "Connect to a host name that is in the server's certificate; hostaddr can name its address.",
    ),
    (
        r"hot standby mode|session is (not )?read-only|requirepeer|did not complete authentication"
        r"|authentication method requirement|min_protocol_version|GSSAPI encryption required",
        "A parameter of the connection rules this server out, as target_session_attrs, require_auth, requirepeer or "
        "gssencmode do: correct it in DATABASE_URL, or in libpq's variables.",
    ),
    (r"SSL|TLS|certificate|private key|channel binding", CERTIFICATES),
    (
        r"could not translate host name|failed to resolve host",
        "Correct the host in DATABASE_URL.",
    ),
    (
        r"no result within",
        "Run it again, with a longer --timeout if the server is slow.",
    ),
    (
        r"has stalled|(closed|terminated) the connection|connection (has been )?closed unexpectedly|could not "
        r"(receive data from|send data to) server|connection is (closed|lost|bad)|connection (was lost|not open)",
        "The network between here and the server failed, or the server stopped: run `invoke db.wait`, then "
        "`invoke db.status` shows how the database stands.",
    ),
)
# What libpq says of parameters before it connects.
UNUSABLE = re.compile(r"(cannot connect: )?(invalid|weak|host name must be specified|could not match|bad value)\b")
SSL_MODES = "disable, allow, prefer, require, verify-ca and verify-full"
AGAIN = "Another session changed the same thing at that moment: run the command again."
# The first of these with which a SQLSTATE begins counts.
HINTS_BY_SQLSTATE = (
    ("40", AGAIN),
    ("23505", AGAIN),
    ("42501", "Ask for the right that the message names, or connect as the owner or a superuser."),
    ("25006", "The server is a standby or read-only: name the primary server in DATABASE_URL."),
    ("57P", "The server or an administrator ended the session: run `invoke db.wait`, then `invoke db.status`."),
)

# What any statement of a session fails with where TimescaleDB's library of the database's version is not there.
UNDEFINED_FILE = "58P01"
LIBRARY = re.compile(r"\$libdir/timescaledb-(\d[\w.-]*)")


def is_concurrent(error: psycopg.Error) -> bool:
    """Return whether another session changed the same objects at the same moment, so that another attempt may succeed.

    The server says so as a serialization failure, as "tuple concurrently updated" (never translated), or as a unique
    violation in its own catalog.
    """
    return (
        error.sqlstate == "40001"
        or (error.sqlstate == "XX000" and "tuple concurrently" in (error.diag.message_primary or ""))
        or (error.sqlstate == "23505" and error.diag.schema_name == "pg_catalog")
    )


def translate(error: Exception, target: Target, database: str, installed: Callable[[], str] = lambda: "") -> DbopsError:
    """Return the operator's error for a driver error: the server's own words, without the password.

    `installed` is asked which version of TimescaleDB the server has, where the database's own is not there any more.
    """
    diag = getattr(error, "diag", None)
    sqlstate = getattr(error, "sqlstate", None) or ""
    words = diag.message_primary if diag else None
    if not words:
        # What libpq says of the first address it tried, without naming the address again.
        first = (str(error).strip().splitlines() or ["connection failed"])[0]
        line = re.sub(r"^connection (failed|is bad): ", "", first)
        refused = ANSWER.fullmatch(line)
        words = refused[1] if refused else re.sub(r"^connection to server .* failed: ", "cannot connect: ", line)
    library = LIBRARY.search(words)
    if library and sqlstate == UNDEFINED_FILE:
        return _version_missing(library[1], installed(), target, database)
    where = f"{target.server}, database {database}"
    if UNUSABLE.match(words) and not sqlstate:
        hint = f"sslmode is one of {SSL_MODES}." if "sslmode" in words else "Correct this parameter in DATABASE_URL."
        return UsageError(redact(words, target), where=where, hint=hint)
    if sqlstate:
        hint = next((hint for begin, hint in HINTS_BY_SQLSTATE if sqlstate.startswith(begin)), "")
        if "concurrently" in words:
            hint = AGAIN
        hint = hint or (diag.message_hint if diag else None) or "See the server's log for more."
    else:
        unknown = REFUSED if ANSWER.search(str(error)) else UNREACHABLE
        hint = next((hint for pattern, hint in HINTS_BY_MESSAGE if re.search(pattern, words)), unknown)
        if database == target.maintenance_database:
            hint = HINTS_OF_MAINTENANCE.get(hint, hint)
        names = {"database": database, "role": target.parameters.get("user", "name")}
        hint = hint.format(**{key: sql.Identifier(name).as_string() for key, name in names.items()})
    kind = ServerError if sqlstate or ANSWER.search(str(error)) else UnreachableError
    return kind(redact(words, target), where=where, hint=hint, sqlstate=sqlstate)


def is_answer(error: psycopg.Error) -> bool:
    """Return whether an error is what a server said, and not that none was reached."""
    return bool(error.sqlstate or ANSWER.search(str(error)))


def is_known(error: psycopg.Error) -> bool:
    """Return whether a refused connection has nothing to do with the settings that it came with.

    True also where no server was reached at all.
    """
    return not is_answer(error) or any(re.search(pattern, str(error)) for pattern, _ in HINTS_BY_MESSAGE)


def _version_missing(version: str, installed: str, target: Target, database: str) -> ServerError:
    """Return the error for a database whose version of TimescaleDB is not installed on its server."""
    if installed in ("", version):
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


def redact(text: str, target: Target) -> str:
    """Return a text with the target's password replaced."""
    return text.replace(target.password, "***") if target.password else text
