"""PgBouncer before a test server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dbops.server.cluster import Account
from tests.support import servers
from tests.support.servers import TestServer

NO_POOLER = "PgBouncer is not on this machine: install the package pgbouncer"
SETTINGS = """
[databases]
* = {upstream}
[pgbouncer]
pool_mode = {mode}
default_pool_size = {size}
auth_type = any
unix_socket_dir = {directory}
listen_port = {port}
ignore_startup_parameters = {ignored}
logfile = {directory}/log
"""


@contextmanager
def pooler_of(
    server: TestServer, mode: str = "transaction", size: int = 20, ignored: tuple[str, ...] = ()
) -> Iterator[TestServer]:
    """Run PgBouncer before a server, in a pool mode, with at most `size` server connections for all clients.

    It refuses parameters that it does not know, and drops those that are `ignored`.
    """
    account, port = Account.current(), servers.free_port()
    with servers.reachable_directory() as directory:
        account.own(directory)
        settings = directory / "pgbouncer.ini"
        upstream = " ".join(f"{key}={value}" for key, value in server.parameters.items())
        settings.write_text(
            SETTINGS.format(
                upstream=upstream, mode=mode, size=size, directory=directory, port=port, ignored=", ".join(ignored)
            )
        )
        settings.chmod(0o644)
        process = subprocess.Popen([_program(), "--quiet", settings], cwd="/", **account.identity)
        try:
            while not _accepts(directory / f".s.PGSQL.{port}"):
                assert process.poll() is None, "pgbouncer did not start"
                time.sleep(0.01)
            yield TestServer({"host": str(directory), "port": str(port), "user": server.parameters["user"]})
        finally:
            process.terminate()
            process.wait()


def _accepts(path: Path) -> bool:
    """Return whether connections are accepted on a socket; it is there a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True


def _program() -> str:
    """Return PgBouncer's path; without it tests are skipped, and fail in CI."""
    if found := shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return found
    if os.environ.get("CI"):
        pytest.fail(NO_POOLER, pytrace=False)
    pytest.skip(NO_POOLER)
