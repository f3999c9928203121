"""How to reach the embedded server: by its socket, or on loopback with a password that is never shown."""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dbops.errors import ServerError
from dbops.server.cluster import LOOPBACK, SUPERUSER, Postmaster
from dbops.server.directory import Layout
from dbops.settings import Target, url_of

if TYPE_CHECKING:
    from dbops.postgres import Connection


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is: a socket's directory, or loopback with the file that holds the password."""

    host: str
    port: int
    password_file: Path | None = None

    def url(self, database: str = "") -> str:
        """Return the address as DATABASE_URL; it holds no password."""
        return url_of({**self.parameters, "dbname": database})

    @property
    def parameters(self) -> dict[str, str]:
        """Return libpq's parameters."""
        file = {"passfile": str(self.password_file)} if self.password_file else {}
        return {"user": SUPERUSER, "host": self.host, "port": str(self.port), **file}

    def connect(self) -> Connection:
        """Return an autocommit connection to the maintenance database, whatever server libpq's variables name."""
        # Loaded here: `server.status` does without.
        from dbops import postgres

        return postgres.connect(Target({**self.parameters, "hostaddr": ""}, "postgres"))


def by_socket(layout: Layout, running: Postmaster) -> Address:
    """Return the server's address on this machine, for accounts that may enter the socket's directory."""
    return Address(str(layout.socket), running.port)


def preferred(layout: Layout, running: Postmaster) -> Address:
    """Return the address to show: on loopback if the server listens there, else the socket."""
    return Address(LOOPBACK, running.port, layout.password) if running.listens else by_socket(layout, running)


def ensure_password(layout: Layout, running: Postmaster) -> None:
    """Make sure that the password file and the server agree on one password, generated if there is none yet."""
    text = layout.password.read_text(errors="replace") if layout.password.exists() else ""
    known = re.fullmatch(r"[^:]+:\*:\*:\w+:([\w-]{20,})\s*", text, re.ASCII)
    password = known[1] if known else secrets.token_urlsafe(32)
    with by_socket(layout, running).connect() as connection:
        # Only the verifier is sent: a password in a statement could end up in the server's log.
        verifier = connection.pgconn.encrypt_password(password.encode(), SUPERUSER.encode(), b"scram-sha-256")
        connection.execute(f"ALTER ROLE {SUPERUSER} PASSWORD '{verifier.decode()}'".encode())
    # Replaced in one step, and never readable by another account.
    new = layout.password.with_name("password.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{LOOPBACK}:*:*:{SUPERUSER}:{password}\n")
    new.replace(layout.password)


def other_sessions(address: Address) -> int:
    """Return how many clients are connected."""
    query = """
        SELECT pid FROM pg_catalog.pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()"""
    with address.connect() as connection:
        return len(connection.execute(query).fetchall())


def databases(address: Address) -> tuple[str, ...]:
    """Return the names of a server's databases, without its templates."""
    query = "SELECT datname FROM pg_catalog.pg_database WHERE datname NOT IN ('template0', 'template1') ORDER BY 1"
    with address.connect() as connection:
        return tuple(str(name) for (name,) in connection.execute(query))


def free_port() -> int:
    """Return a port on loopback that nothing listens on right now."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        return int(probe.getsockname()[1])


def check_usable(port: int) -> None:
    """Raise ServerError if the server could not listen on a loopback port."""
    try:
        unprivileged = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        unprivileged = 1024
    if port < unprivileged:
        reason = f"ports below {unprivileged} are reserved for root, which PostgreSQL does not run as"
    else:
        try:
            socket.create_server((LOOPBACK, port)).close()
            return
        except OSError as error:
            reason = os.strerror(error.errno or 0)
    raise ServerError(
        f"the port cannot be used: {reason}",
        where=f"{LOOPBACK}:{port}",
        hint="Choose another with `invoke server.up --port N`, or let it choose with `--port auto`.",
    )
