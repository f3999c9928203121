"""Waiting for a server: until it is ready, or until there is no point in it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dbops.database.wait import Ready, wait
from dbops.errors import ServerError
from dbops.server.cluster import Cluster
from dbops.server.directory import Layout
from dbops.settings import Target
from tests.support import servers


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
