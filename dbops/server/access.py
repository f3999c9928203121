"""How to reach the embedded server: by its socket, or on loopback with a password that is never shown."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dbops.errors import ServerError
from dbops.server.cluster import SUPERUSER, Postmaster
from dbops.server.directory import Layout

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is: a socket's directory, or loopback with the file that holds the password."""

    host: str
    port: int
    password_file: Path | None = None

    def url(self, database: str = "") -> str:
        """Return the address as DATABASE_URL; it holds no password."""
        name = quote(database, safe="")
        if self.password_file:
            file = quote(os.fspath(self.password_file))
            return f"postgresql://{SUPERUSER}@{self.host}:{self.port}/{name}?passfile={file}"
        return f"postgresql://{SUPERUSER}@/{name}?host={quote(self.host)}&port={self.port}"


def by_socket(layout: Layout, running: Postmaster) -> Address:
    """Return the server's address on this machine, for accounts that may enter the socket's directory."""
    return Address(os.fspath(layout.socket), running.port)


def preferred(layout: Layout, running: Postmaster) -> Address:
    """Return the address to show: on loopback if the server listens there, else the socket."""
    return Address(LOOPBACK, running.port, layout.password) if running.listens else by_socket(layout, running)


def ensure_password(layout: Layout, running: Postmaster) -> None:
    """Make sure that the password file and the server agree on one password, generated if there is none yet."""
    import psycopg

    password = _read(layout.password) or secrets.token_urlsafe(32)
    with psycopg.connect(by_socket(layout, running).url("postgres"), autocommit=True) as connection:
        # Only the verifier is sent: a password in a statement could end up in the server's log.
        verifier = connection.pgconn.encrypt_password(password.encode(), SUPERUSER.encode(), b"scram-sha-256")
        connection.execute(f"ALTER ROLE {SUPERUSER} PASSWORD '{verifier.decode()}'".encode())
    _write(layout.password, f"{LOOPBACK}:*:*:{SUPERUSER}:{password}\n")


def other_sessions(layout: Layout, running: Postmaster) -> int:
    """Return how many clients are connected."""
    import psycopg

    query = """
        SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()"""
    with psycopg.connect(by_socket(layout, running).url("postgres")) as connection:
        row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def databases(address: Address) -> tuple[str, ...]:
    """Return the names of a server's databases, without its templates."""
    import psycopg

    query = "SELECT datname FROM pg_catalog.pg_database WHERE datname NOT IN ('template0', 'template1') ORDER BY 1"
    with psycopg.connect(address.url("postgres")) as connection:
        return tuple(str(name) for (name,) in connection.execute(query))


def free_port() -> int:
    """Return a port on loopback that nothing listens on right now."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        return int(probe.getsockname()[1])


def check_usable(port: int) -> None:
    """Raise ServerError if the server could not listen on a loopback port."""
    reason = ""
    if port < _first_unprivileged():
        reason = f"ports below {_first_unprivileged()} are reserved for root, which PostgreSQL does not run as"
    else:
        try:
            socket.create_server((LOOPBACK, port)).close()
        except OSError as error:
            reason = os.strerror(error.errno or 0)
    if reason:
        raise ServerError(
            f"the port cannot be used: {reason}",
            where=f"{LOOPBACK}:{port}",
            hint="Choose another with `invoke server.up --port N`, or let it choose with `--port auto`.",
        )


def _first_unprivileged() -> int:
    """Return the lowest port that any account may listen on."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def _read(path: Path) -> str:
    """Return the password of a libpq password file, or nothing."""
    try:
        return path.read_text().strip().rpartition(":")[2]
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    """Replace a file in one step; no other account can read it at any time."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    new.replace(path)
