"""How many connections each verb makes, counted in the server's own log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dbops.postgres import APPLICATION
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.servers import TestServer

AUTHORIZED = re.compile(r"connection authorized: user=\S+ database=(\S+)(?: application_name=(.*))?")


@dataclass(frozen=True, slots=True)
class LoggingServer:
    """A server that logs each connection."""

    server: TestServer

    @property
    def log(self) -> Path:
        assert self.server.directory
        return next(self.server.directory.rglob("*.log"))

    def connections(self, target: Target, *words: str) -> list[str]:
        """Run a task that succeeds and return the databases that it connected to."""
        begin = self.log.stat().st_size
        done = operators.invoke(*words, target=target)
        assert done.returncode == 0, done.stderr
        with self.log.open("rb") as file:
            file.seek(begin)
            found = AUTHORIZED.findall(file.read().decode())
        assert all(application.startswith(APPLICATION) for _, application in found)
        return [database for database, _ in found]


@pytest.fixture(scope="module")
def logging() -> Iterator[LoggingServer]:
    with servers.throwaway_server(f"{servers.PRELOAD}log_connections = on\n") as started:
        yield LoggingServer(started)


@pytest.fixture(scope="module")
def built_once(logging: LoggingServer) -> Target:
    """Return a target that was built; each test leaves it built."""
    target = logging.server.target("kapman_dev")
    assert logging.connections(target, "db.rebuild")
    return target


def test_connections_of_a_rebuild_with_nothing_to_lose(logging: LoggingServer, built_once: Target) -> None:
    assert len(logging.connections(built_once, "db.rebuild")) <= 3


def test_connections_of_a_rebuild_that_loses_rows(logging: LoggingServer, built_once: Target) -> None:
    logging.server.execute("INSERT INTO tickers (symbol) VALUES ('K')", built_once.database)
    assert len(logging.connections(built_once, "db.rebuild", "--yes")) <= 3


@pytest.mark.parametrize("verb", ["db.verify", "db.status"])
def test_verbs_that_only_read_make_one_connection(logging: LoggingServer, built_once: Target, verb: str) -> None:
    assert logging.connections(built_once, verb) == [built_once.database]


def test_connections_of_a_migrate_where_nothing_waits(logging: LoggingServer, built_once: Target) -> None:
    assert logging.connections(built_once, "db.migrate") == [built_once.database]


def test_connections_of_a_migrate_that_builds(logging: LoggingServer) -> None:
    target = logging.server.target("kapman_other")
    logging.server.execute("CREATE DATABASE kapman_other TEMPLATE template0")
    assert len(logging.connections(target, "db.migrate")) <= 2
