"""What tests share: a server to run against, and databases on it that go away again."""

from __future__ import annotations

import os
import pwd
import shutil
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
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
timescaledb.max_background_workers = 60
max_worker_processes = 70
max_connections = 200
max_prepared_transactions = 10
wal_level = logical
fsync = off
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
def throwaway_server(extra: str = "") -> Iterator[TestServer]:
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
            BINARIES / "initdb",
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
        (data / "postgresql.auto.conf").write_text(CONFIGURATION.format(directory=directory) + extra)
        run(BINARIES / "pg_ctl", "-D", data, "-l", directory / "log", "-w", "start")
        yield TestServer({"host": str(directory), "user": "postgres"}, data)
    finally:
        if (data / "postmaster.pid").exists():
            run(BINARIES / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(directory, ignore_errors=True)


def given_server(url: str) -> TestServer:
    """Return the server that KAPMAN_TEST_DATABASE_URL names."""
    parameters = settings.parse_url(url, "KAPMAN_TEST_DATABASE_URL")
    parameters.pop("dbname", None)
    return TestServer(parameters)


def drop_quietly(server: TestServer, database: str) -> None:
    """Drop a test's database, whoever is in it."""
    server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


def fresh_name(prefix: str = "test") -> str:
    """Return a database name that no other test has."""
    return f"{prefix}_{uuid.uuid4().hex[:12]}"


def renamed(target: Target, database: str) -> Target:
    """Return the same target with another database."""
    return replace(target, database=database)
