"""Fixtures: one real server for the session, one database for each test that wants one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dbops import settings, testing
from dbops.errors import UsageError
from dbops.settings import Target
from tests.support import servers
from tests.support.processes import give_children_default_signals
from tests.support.servers import TestServer

GIVEN = os.environ.get("KAPMAN_TEST_DATABASE_URL", "")
PROCESSES = min(8, 1 + (os.cpu_count() or 1))

# What tasks print does not depend on where the tests run; a test that is about one of these sets it.
for variable in (
    *("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE"),
    *("UV_RUN_RECURSION_DEPTH", "PYTHONUNBUFFERED"),
):
    os.environ.pop(variable, None)
# Texts name `invoke` as it can be typed: the one of this environment.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def pytest_configure() -> None:
    """Refuse a variable that is set and empty, as an unset secret of a CI job is: that never means the default."""
    try:
        settings.variable(os.environ, "KAPMAN_TEST_DATABASE_URL")
    except UsageError as error:
        raise pytest.UsageError(f"{error.what}: {error.hint}") from None


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes run tests: each starts a server of its own, or they share the one that was given."""
    # The unit tests need no server, so that one that was given need not be there.
    shared = GIVEN and not all("unit" in argument for argument in config.args)
    return min(PROCESSES, servers.capacity(servers.given_server(GIVEN)).processes) if shared else PROCESSES


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which server was given, and whether it has room for as many processes as run tests."""
    if not GIVEN or hasattr(config, "workerinput"):
        return []
    try:
        return [servers.capacity(servers.given_server(GIVEN)).describe(int(config.getoption("numprocesses") or 1))]
    except psycopg.Error as error:
        return [f"KAPMAN_TEST_DATABASE_URL: {error}"]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail in CI where tests were skipped: what did not run there did not pass."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def _default_signals() -> None:
    """Make tests independent of the signals that this process was started with."""
    give_children_default_signals()


@pytest.fixture(scope="session", autouse=True)
def _unmeasured_children() -> None:
    """Measure the coverage of what runs tests, not of the processes that tests start, which costs a quarter more."""
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.fixture(scope="session")
def server() -> Iterator[TestServer]:
    """Return the server that KAPMAN_TEST_DATABASE_URL names, else a throwaway one from local binaries."""
    if GIVEN:
        yield servers.given_server(GIVEN)
    else:
        with servers.throwaway_server() as started:
            yield started


@pytest.fixture(scope="session")
def own_server(server: TestServer) -> Iterator[TestServer]:
    """Return a server that no other test uses meanwhile, with prepared transactions and logical replication."""
    if server.directory:
        yield server
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
    server.execute(f'CREATE DATABASE "{target.database}" TEMPLATE template0 STRATEGY FILE_COPY')
    return target


@pytest.fixture(scope="session")
def template(server: TestServer) -> str:
    """Return the name of a database that holds the baseline, for cloning; it stays on a server that was given."""
    return testing.build_template(server.target())


@pytest.fixture
def built(server: TestServer, target: Target, template: str) -> Target:
    """Return a target that holds the baseline, as a clone of the template."""
    testing.clone(server.session(), template, target.database)
    return target
