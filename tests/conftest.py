"""Fixtures: one real server for the session, one database for each test that wants one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from dbops.settings import ROOT, Target
from tests.support import servers
from tests.support.servers import TestServer


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes run tests, each on a server of its own; a server that was given can't be shared."""
    return 0 if os.environ.get("KAPMAN_TEST_DATABASE_URL") else min(8, 1 + (os.cpu_count() or 1))


@pytest.fixture(scope="session")
def server() -> Iterator[TestServer]:
    """Return the server that KAPMAN_TEST_DATABASE_URL names, else a throwaway one from local binaries."""
    if url := os.environ.get("KAPMAN_TEST_DATABASE_URL"):
        yield servers.given_server(url)
    else:
        with servers.throwaway_server() as started:
            yield started


@pytest.fixture
def target(server: TestServer) -> Iterator[Target]:
    """Return a target whose database does not exist yet; it is dropped after the test."""
    name = servers.fresh_name()
    yield server.target(name)
    servers.drop_quietly(server, name)


@pytest.fixture
def empty(server: TestServer, target: Target) -> Target:
    """Return a target whose database exists and has nothing in it."""
    server.execute(f'CREATE DATABASE "{target.database}" TEMPLATE template0')
    return target


@pytest.fixture(scope="session")
def template(server: TestServer) -> Iterator[str]:
    """Build the baseline once and return its database's name, for cloning."""
    from dbops import migrations

    name = servers.fresh_name("template")
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    migrations.migrate(server.target(name), migrations.discover(ROOT / "db" / "migrations"))
    server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    with servers.connect(server.target("postgres")) as connection:
        connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name])
    yield name
    servers.drop_quietly(server, name)


@pytest.fixture
def built(server: TestServer, target: Target, template: str) -> Target:
    """Return a target that holds the baseline, as a clone of the template."""
    server.execute(f'CREATE DATABASE "{target.database}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    return target
