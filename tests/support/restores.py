"""A database as a backup or an upgrade gives it back: dumped and restored, or taken over by pg_upgrade."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dbops.server.cluster import Account, Cluster
from dbops.server.directory import Layout
from dbops.settings import Target
from tests.support import servers
from tests.support.operators import dsn
from tests.support.servers import TestServer

# What TimescaleDB's manual says to run before and after pg_restore.
BEFORE = ("CREATE EXTENSION timescaledb", "SELECT timescaledb_pre_restore()")
AFTER = "SELECT timescaledb_post_restore()"
# pg_upgrade starts both servers on its own, with the configuration that initdb wrote.
PRELOAD = "-c shared_preload_libraries=timescaledb -c timescaledb.telemetry_level=off"


def dump(target: Target, path: Path) -> None:
    """Write a dump of a database in the custom format."""
    _run("pg_dump", "--format=custom", f"--file={path}", f"--dbname={dsn(target)}")


def restore(path: Path, target: Target) -> None:
    """Restore a dump into an empty database, as TimescaleDB wants it."""
    servers.run(target, *BEFORE)
    _run("pg_restore", "--exit-on-error", f"--dbname={dsn(target)}", str(path))
    servers.run(target, AFTER)


@contextmanager
def restored(server: TestServer, target: Target, path: Path) -> Iterator[Target]:
    """Yield a copy of a database of this server that was dumped to a file and restored; drop it afterwards."""
    dump(target, path)
    with servers.database(server) as copy:
        restore(path, copy)
        yield copy


@contextmanager
def upgraded(server: TestServer) -> Iterator[TestServer]:
    """Stop a throwaway server, and yield one that pg_upgrade has moved its databases to, of the same version."""
    assert server.directory
    account, installation = Account.current(), servers.local_installation()
    old = Cluster(Layout(server.directory), installation, durable=False)
    old.stop("fast")
    with servers.reachable_directory() as directory, servers.outlived_by(servers.LAST_WILL, directory):
        new = Cluster(Layout(directory), installation, durable=False, configuration=servers.LIMITS + servers.PRELOAD)
        servers.copy_data_directory(new.layout)
        account.own(directory)
        words: list[str | Path] = [installation.binaries / "pg_upgrade", "--username=postgres", "--jobs=2"]
        words += [f"--old-bindir={installation.binaries}", f"--new-bindir={installation.binaries}"]
        words += [f"--old-datadir={old.layout.data}", f"--new-datadir={new.layout.data}"]
        words += [f"--old-options={PRELOAD}", f"--new-options={PRELOAD}", f"--socketdir={directory}"]
        # It writes a script into the directory that it is started in.
        done = account.run("sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", directory, *words)
        assert done.returncode == 0, done.stdout
        try:
            port = new.start().port
            yield TestServer({"host": str(new.layout.socket), "port": str(port), "user": "postgres"}, directory)
        finally:
            new.stop("immediate")


def _run(program: str, *arguments: str) -> None:
    """Run a client program of PostgreSQL's."""
    command = [str(servers.local_installation().binaries / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
