"""What tests share: a server to run against, and databases on it that go away again."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from psycopg import sql

from dbops import postgres, settings
from dbops.settings import Target

BINARIES = Path("/usr/lib/postgresql/15/bin")
CONFIGURATION = """
listen_addresses = ''
unix_socket_directories = '{directory}'
max_worker_processes = 70
max_connections = 200
max_prepared_transactions = 10
wal_level = logical
fsync = off
"""
PRELOAD = """
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
timescaledb.max_background_workers = 60
"""


@dataclass(frozen=True, slots=True)
class TestServer:
    """A PostgreSQL server with TimescaleDB, reached as a superuser; `data` is set if the tests started it."""

    __test__ = False

    parameters: Mapping[str, str]
    data: Path | None = None

    def target(self, database: str = "postgres", **changes: str) -> Target:
        """Return a target on this server; changes replace connection parameters (user, password, ...)."""
        return Target({**self.parameters, **changes}, database)

    def url(self, database: str) -> str:
        """Return the server's address as DATABASE_URL for one database."""
        from psycopg.conninfo import make_conninfo

        return make_conninfo("", **{**self.parameters, "dbname": database})

    def execute(self, statement: str | sql.Composable, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement in a session of its own and return its rows, if it gives any."""
        with postgres.connect(self.target(database)) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []


def as_server_user() -> dict[str, object]:
    """Return what subprocess needs to run a server: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@contextmanager
def throwaway_server(configuration: str = PRELOAD, binaries: Path = BINARIES) -> Iterator[TestServer]:
    """Start a server with a data directory of its own; stop it and remove everything at the end."""
    directory = Path(tempfile.mkdtemp(prefix="kapman-test-", dir="/tmp"))
    data = directory / "data"
    account = as_server_user()
    if account:
        os.chown(directory, int(str(account["user"])), int(str(account["group"])))
    run = lambda *command: subprocess.run(  # noqa: E731
        [str(part) for part in command], check=True, cwd="/", stdout=subprocess.DEVNULL, **account
    )
    try:
        run(
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "-N",
        )
        (data / "postgresql.auto.conf").write_text(CONFIGURATION.format(directory=directory) + configuration)
        run(binaries / "pg_ctl", "-D", data, "-l", directory / "log", "-w", "start")
        yield TestServer({"host": str(directory), "user": "postgres"}, data)
    finally:
        if (data / "postmaster.pid").exists():
            run(binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(directory, ignore_errors=True)


def binaries_without_timescaledb(root: Path) -> Path:
    """Make a copy of PostgreSQL below a directory that lacks TimescaleDB, and return its bin directory.

    PostgreSQL finds its files relative to its own executable, so a moved tree sees only what was moved.
    """
    source = BINARIES.parent
    share = Path("/usr/share/postgresql") / source.name
    ignore = shutil.ignore_patterns("timescaledb*")
    home = root / "lib" / "postgresql" / source.name
    shutil.copytree(source, home, ignore=ignore)
    shutil.copytree(share, root / "share" / "postgresql" / source.name, ignore=ignore)
    return home / "bin"


def given_server(url: str) -> TestServer:
    """Return the server that KAPMAN_TEST_DATABASE_URL names."""
    parameters = settings.parse_url(url, "KAPMAN_TEST_DATABASE_URL")
    parameters.pop("dbname", None)
    return TestServer(parameters)


def drop_quietly(server: TestServer, database: str) -> None:
    """Drop a test's database, whoever is in it."""
    server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


def free_port() -> int:
    """Return a TCP port on loopback that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def fresh_name(prefix: str = "test") -> str:
    """Return a database name that no other test has."""
    return f"{prefix}_{uuid.uuid4().hex[:12]}"


def renamed(target: Target, database: str) -> Target:
    """Return the same target with another database."""
    return replace(target, database=database)
