"""How to reach the embedded server: by its socket, or on loopback with a password that is never shown."""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import replace
from pathlib import Path

from dbops.errors import ServerError
from dbops.events import Message, Report
from dbops.server.cluster import LOOPBACK, SUPERUSER, Postmaster
from dbops.server.directory import Layout
from dbops.settings import ANY_PORT, NO_PORT, Target


def by_socket(layout: Layout, running: Postmaster) -> Target:
    """Return the server's maintenance database, for accounts that may enter the socket's directory."""
    parameters = {"user": SUPERUSER, "host": str(layout.socket), "port": str(running.port)}
    return Target(parameters, "postgres", embedded=True)


def preferred(layout: Layout, running: Postmaster) -> Target:
    """Return the same as it is to be shown: on loopback if the server listens there, else by the socket."""
    target = by_socket(layout, running)
    loopback = {"host": LOOPBACK, "passfile": str(layout.password)} if running.listens else {}
    return replace(target, parameters={**target.parameters, **loopback})


def ensure_password(layout: Layout, running: Postmaster) -> None:
    """Make sure that the password file and the server agree on one password, generated if there is none yet."""
    text = layout.password.read_text(errors="replace") if layout.password.exists() else ""
    known = re.fullmatch(r"[^:]+:\*:\*:\w+:([\w-]{20,})\s*", text, re.ASCII)
    password = known[1] if known else secrets.token_urlsafe(32)
    # Loaded here: `server.status` does without.
    from dbops import postgres

    with postgres.connect(by_socket(layout, running)) as connection:
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


def other_sessions(server: Target) -> int:
    """Return how many clients are connected."""
    from dbops import postgres

    query = """
        SELECT pid FROM pg_catalog.pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()"""
    with postgres.connect(server) as connection:
        return len(connection.execute(query).fetchall())


def choose_port(layout: Layout, port: int | None, report: Report) -> int | None:
    """Return the loopback port to start with, or None for the socket alone; ServerError if it cannot be used.

    The port of before is taken up again where none is named, or any; if it is taken, the server starts without it, or
    with a free one.
    """
    if port == NO_PORT:
        return None
    if port:
        _check_usable(port)
        return port
    before = layout.port.read_text(errors="replace").strip() if layout.port.exists() else ""
    if re.fullmatch(r"\d{1,5}", before, re.ASCII) and 0 < int(before) <= 65535:
        try:
            _check_usable(int(before))
            return int(before)
        except ServerError as error:
            if port is None:
                text = f"not listening on port {before}: {error.what}"
                report(Message("WARNING", text, "`invoke server.up --port auto` chooses another"))
    if port != ANY_PORT:
        return None
    with socket.create_server((LOOPBACK, 0)) as probe:
        return int(probe.getsockname()[1])


def _check_usable(port: int) -> None:
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
