"""What tests share: a server to run against, and databases on it that go away again."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dbops import postgres, settings
from dbops.server.cluster import Account, Cluster
from dbops.server.directory import Layout
from dbops.server.find import Installation, find_installations
from dbops.settings import Target

NO_SERVER = """No PostgreSQL 15 or newer with TimescaleDB was found on this machine. Either
  install one:        invoke server.install
  or point at one:    export KAPMAN_TEST_DATABASE_URL=postgresql://postgres:...@host:5432/postgres"""
LIMITS = """
max_worker_processes = 70
max_connections = 200
max_prepared_transactions = 10
wal_level = logical
max_wal_size = 256MB
"""
# Part of the name of each database that this process makes: others may test on the same server.
PROCESS = uuid.uuid4().hex[:8]
# TimescaleDB's launcher and PostgreSQL's own for logical replication; then one scheduler for each database that a test
# has at a time (the target, what replaces it, a rehearsal) and one for a job.
WORKERS_IN_USE = 2
WORKERS_PER_PROCESS = 4
CONNECTIONS_PER_PROCESS = 30
ROOM_IN_MEMORY = 4 * 2**30
PRELOAD = """
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
timescaledb.max_background_workers = 60
"""
# Tests that are killed leave no server behind.
LAST_WILL = 'kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")"; rm -rf "$1"'


@dataclass(frozen=True, slots=True)
class TestServer:
    """A PostgreSQL server with TimescaleDB, reached as a superuser; `directory` is set if the tests started it."""

    __test__ = False

    parameters: Mapping[str, str]
    directory: Path | None = None

    def target(self, database: str = "postgres", **changes: str) -> Target:
        """Return a target on this server; changes replace connection parameters (user, password, ...)."""
        return Target({**self.parameters, **changes}, database)

    def url(self, database: str) -> str:
        """Return the server's address as DATABASE_URL for one database."""
        return make_conninfo("", **{**self.parameters, "dbname": database})

    def execute(self, statement: str | sql.Composable, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement and return its rows, if it gives any."""
        if database == "postgres":
            return self._run(statement, self.session())
        with connect(self.target(database)) as connection:
            return self._run(statement, connection)

    def session(self) -> postgres.Connection:
        """Return the session for statements that are about no database; it is kept, as a new one takes milliseconds."""
        key = (self.url("postgres"), os.getpid(), threading.get_ident())
        kept = _sessions.get(key)
        if kept is None or kept.closed:
            kept = _sessions[key] = connect(self.target())
        return kept

    @staticmethod
    def _run(statement: str | sql.Composable, connection: postgres.Connection) -> list[tuple[object, ...]]:
        cursor = connection.execute(statement)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []


_sessions: dict[tuple[str, int, int], postgres.Connection] = {}


def connect(target: Target, database: str | None = None) -> postgres.Connection:
    """Return an autocommit connection as an ordinary client makes it, with the settings of its role and database."""
    parameters = {**target.parameters, "dbname": target.database if database is None else database}
    return psycopg.connect(make_conninfo("", **parameters), autocommit=True, prepare_threshold=None)


def run(target: Target, *statements: str) -> None:
    """Run statements in one session, each in a transaction of its own."""
    with connect(target) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def rows(target: Target, query: str) -> list[tuple[object, ...]]:
    """Return what a query gives."""
    with connect(target) as connection:
        return connection.execute(query.encode()).fetchall()


def local_installation() -> Installation:
    """Return the PostgreSQL with TimescaleDB to start servers of; without one, say how to get one."""
    if found := find_installations(os.environ.get("PATH", "")):
        return found[0]
    if os.environ.get("CI"):
        pytest.fail(NO_SERVER, pytrace=False)
    pytest.skip(NO_SERVER)


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much room a given server has for tests."""

    worker_processes: int
    connections: int

    @property
    def processes(self) -> int:
        """Return how many processes can run tests on it side by side, at least one."""
        workers = (self.worker_processes - WORKERS_IN_USE) // WORKERS_PER_PROCESS
        return max(1, min(workers, self.connections // CONNECTIONS_PER_PROCESS))

    def describe(self, wanted: int) -> str:
        """Return a line on the room that there is and, if it is too little, what to change."""
        there = f"max_worker_processes = {self.worker_processes}, max_connections = {self.connections}"
        if wanted <= self.processes:
            return f"given server: {there}"
        workers = WORKERS_IN_USE + wanted * WORKERS_PER_PROCESS
        return (
            f"given server: {there}: too few for {wanted} test processes, tests will fail. Use -n {self.processes}, or "
            f"raise them to {workers} and {wanted * CONNECTIONS_PER_PROCESS} (timescaledb.max_background_workers too)"
        )


def capacity(server: TestServer) -> Capacity:
    """Return how much room a server has."""
    names = ("max_worker_processes", "max_connections")
    return Capacity(*(int(str(server.execute(f"SHOW {name}")[0][0])) for name in names))


@contextmanager
def throwaway_server(configuration: str = PRELOAD, installation: Installation | None = None) -> Iterator[TestServer]:
    """Start a server with a data directory of its own; stop it and remove everything at the end."""
    with reachable_directory() as directory, outlived_by(LAST_WILL, directory):
        cluster = Cluster(
            Layout(directory),
            installation or local_installation(),
            durable=False,
            configuration=LIMITS + configuration,
        )
        try:
            copy_data_directory(cluster.layout)
            port = cluster.start().port
            yield TestServer({"host": str(cluster.layout.socket), "port": str(port), "user": "postgres"}, directory)
        finally:
            cluster.stop("immediate")


def copy_data_directory(layout: Layout) -> None:
    """Give a server a data directory as initdb makes it: initdb itself runs once in a process, and takes a second."""
    shutil.copytree(_made_by_initdb(), layout.data)
    Account.current().own(layout.data)


@cache
def _made_by_initdb() -> Path:
    """Return a data directory that no server has used; it is removed when this process ends."""
    kept = contextlib.ExitStack()
    atexit.register(kept.close)
    directory = kept.enter_context(reachable_directory())
    kept.enter_context(outlived_by('rm -rf "$1"', directory))
    cluster = Cluster(Layout(directory), local_installation(), durable=False)
    cluster.initialise()
    return cluster.layout.data


@contextmanager
def database(server: TestServer, *statements: str) -> Iterator[Target]:
    """Make a database, run statements in it, and drop it at the end."""
    name = fresh_name()
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0 STRATEGY FILE_COPY')
    try:
        for statement in statements:
            server.execute(statement, name)
        yield server.target(name)
    finally:
        drop_quietly(server, name)


@contextmanager
def outlived_by(script: str, directory: Path) -> Iterator[None]:
    """Keep a shell that runs a script on a directory as soon as this process is gone, even killed, or is done."""
    shell = ["sh", "-c", f"cat; {script}", "sh", str(directory)]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True):
        yield


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """Make a directory that the account which runs servers can enter, and remove it at the end."""
    directory = Path(tempfile.mkdtemp(prefix="kapman-test-", dir=_fastest_directory()))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _fastest_directory() -> str:
    """Return where files cost least: memory if it has room, since each new database is three hundred files."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM_IN_MEMORY:
        return str(memory)
    return "/tmp"


def without_timescaledb(root: Path) -> Installation:
    """Make a copy of PostgreSQL, without TimescaleDB, below a directory and return it.

    PostgreSQL finds its files relative to its own executable, so a moved tree sees only what was moved.
    """
    original = local_installation()
    source = original.binaries.parent
    share = Path("/usr/share/postgresql") / source.name
    ignore = shutil.ignore_patterns("timescaledb*")
    home = root / "lib" / "postgresql" / source.name
    shutil.copytree(source, home, ignore=ignore)
    shutil.copytree(share, root / "share" / "postgresql" / source.name, ignore=ignore)
    return replace(original, binaries=home / "bin", timescaledb="")


@contextmanager
def listening_port() -> Iterator[int]:
    """Return a loopback port that is taken meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def given_server(url: str) -> TestServer:
    """Return the server that KAPMAN_TEST_DATABASE_URL names."""
    parameters = settings.parse_url(url, "KAPMAN_TEST_DATABASE_URL")
    parameters.pop("dbname", None)
    return TestServer(parameters)


def drop_quietly(server: TestServer, database: str) -> None:
    """Drop a test's database, with the sessions in it, and the successor that keeps its properties."""
    found = server.execute("""
        SELECT datname, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database
        WHERE datname LIKE 'kapman\\_scratch\\_%' ORDER BY 1""")
    for name in (database, *(name for name, marker in found if f'"database": "{database}' in str(marker))):
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(str(name))))


def free_port() -> int:
    """Return a TCP port on loopback that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def fresh_name(prefix: str = "test") -> str:
    """Return a database name that no other test has; it contains PROCESS."""
    return f"{prefix}_{PROCESS}_{uuid.uuid4().hex[:8]}"


def renamed(target: Target, database: str) -> Target:
    """Return the same target with another database."""
    return replace(target, database=database)
