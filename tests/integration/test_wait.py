"""Waiting for a server: until it is ready, or until there is no point in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dbops import postgres
from dbops.database.inspection import inspect
from dbops.database.preflight import preflight
from dbops.database.wait import Ready, wait
from dbops.errors import ServerError
from dbops.server.cluster import Cluster
from dbops.server.directory import Layout
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.forwarder import forwarder
from tests.support.servers import TestServer


def test_ready_server_is_reported_at_once_without_the_target_database(target: Target) -> None:
    assert wait(target, timeout=0).timescaledb.startswith("2.")


def test_server_that_starts_meanwhile_is_waited_for() -> None:
    with servers.reachable_directory() as directory:
        cluster = Cluster(
            Layout(directory),
            servers.local_installation(),
            durable=False,
            configuration=servers.PRELOAD,
        )
        servers.copy_data_directory(cluster.layout)
        said: list[object] = []
        found: list[Ready] = []
        late = Target({"host": str(cluster.layout.socket), "user": "postgres"}, "kapman_dev")
        waiting = threading.Thread(target=lambda: found.append(wait(late, timeout=60, report=said.append)))
        waiting.start()
        while not said:
            time.sleep(0.05)
        cluster.start()
        try:
            waiting.join()
        finally:
            cluster.stop("immediate")
    assert "No such file or directory" in str(said[0])
    assert found[0].timescaledb.startswith("2.")


def test_server_that_never_starts_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="No such file or directory"):
        wait(Target({"host": str(tmp_path), "user": "postgres"}, "kapman_dev"), timeout=0.5)


def test_role_that_is_rejected_is_reported_at_once(target: Target) -> None:
    unknown = replace(target, parameters={**target.parameters, "user": "unknown_role"})
    said: list[object] = []
    with pytest.raises(ServerError, match=r"does not exist|authentication failed"):
        wait(unknown, timeout=600, report=said.append)
    assert not said


def test_role_that_is_let_in_right_after_it_was_refused_is_not_rejected(server: TestServer, target: Target) -> None:
    """As by a server that was about to become ready when it refused."""
    databases: list[str] = []

    with operators.role(server, "NOLOGIN") as role:

        def let_in_later(parameters: dict[str, str]) -> dict[str, str]:
            if target.database in databases:
                servers.run(server.target(), f"ALTER ROLE {role} LOGIN")
            databases.append(parameters["database"])
            return parameters

        with forwarder(server, startup=let_in_later) as (far, _):
            done = operators.invoke_alone("db.wait", target=operators.as_role(far.target(target.database), role))
    assert done.returncode == 0, done.stderr
    assert target.database in databases


LOADED_OTHERWISE = {
    "only settings in the file": "timescaledb.max_background_workers = 16\ntimescaledb.telemetry_level = off\n",
    "nothing": "",
    "for each session": "session_preload_libraries = 'timescaledb'\n",
}


@pytest.mark.parametrize("kind", LOADED_OTHERWISE)
@pytest.mark.slow
def test_server_that_does_not_preload_timescaledb_is_not_ready(kind: str) -> None:
    with servers.throwaway_server(LOADED_OTHERWISE[kind]) as bare:
        target = bare.target("kapman_dev")
        with pytest.raises(ServerError, match=r"does not load it|must be preloaded") as refusal:
            wait(target, timeout=0.3)
        assert "shared_preload_libraries" in refusal.value.hint
        if kind == "for each session":
            return
        bare.execute("ALTER DATABASE postgres SET timescaledb.max_background_workers = 16")
        with postgres.reader(target, "postgres", settings={"timescaledb.x": "1"}) as connection:
            found = inspect(connection, target)
        assert [finding.name for finding in preflight(found, dropping=False, creating=True) if not finding.passed] == [
            "TimescaleDB preloaded"
        ]


def test_role_that_may_not_connect_to_the_maintenance_database_looks_from_the_target(
    server: TestServer, empty: Target
) -> None:
    with operators.role(server) as role, database_without_public(server) as closed:
        own = operators.as_role(replace(empty, maintenance_database=closed), role)
        assert wait(own, timeout=0).timescaledb.startswith("2.")


@contextmanager
def database_without_public(server: TestServer) -> Iterator[str]:
    name = servers.fresh_name("closed")
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    server.execute(f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC')
    yield name
    servers.drop_quietly(server, name)
