"""Fixtures for tests that drop and rebuild."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from dbops.settings import ROOT, Target
from tests.support import operators, servers
from tests.support.servers import TestServer


@pytest.fixture
def served(server: TestServer, built: Target) -> Target:
    """Return the baseline with TimescaleDB's scheduler at work in it, which a clone does not start by itself."""
    server.execute("SELECT _timescaledb_functions.start_background_workers()", built.database)
    assert operators.scheduler_runs(server, built.database)
    return built


@pytest.fixture
def precious(served: Target) -> Target:
    """Return the baseline with a thousand rows in a table of its own."""
    operators.fill(served)
    return served


@pytest.fixture
def precious_on_own_server(own_server: TestServer) -> Iterator[Target]:
    """Return a database with a thousand rows on a server that allows prepared transactions and logical replication."""
    with servers.database(own_server, "CREATE EXTENSION timescaledb") as target:
        operators.fill(target)
        assert operators.scheduler_runs(own_server, target.database)
        yield target


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt this process, for tests that send it to themselves."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def small(tmp_path: Path) -> dict[str, Any]:
    """Return the least that can be built and verified, for tests that are about what happens around it.

    It is one table: creating TimescaleDB's extension takes as long as all else that a rebuild does.
    """
    (tmp_path / "least").mkdir()
    (tmp_path / "least" / "0001_create_least.sql").write_text("CREATE TABLE public.least (id integer);\n")
    for suite in ("structure", "baseline"):
        (tmp_path / "sound" / suite).mkdir(parents=True)
        query = f"SELECT '{suite}' AS check_name, true AS passed, ''::text AS expected, ''::text AS actual;\n"
        (tmp_path / "sound" / suite / f"{suite}.sql").write_text(query)
    return {"migrations": tmp_path / "least", "checks": tmp_path / "sound", "schema": None}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of what tasks need of the repository, since some of them write files."""
    where = tmp_path / "repository"
    for name in ("db", "dbops", "docs"):
        shutil.copytree(ROOT / name, where / name)
    shutil.copy(ROOT / "tasks.py", where)
    return where


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the programs of an environment that has the built wheel, pytest and pytest-xdist.

    All processes that run tests share one.
    """
    base = tmp_path_factory.getbasetemp()
    where = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "installed"
    with FileLock(f"{where}.lock"):
        if not (where / "complete").exists():
            uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
            subprocess.run([uv, "build", "-q", "--wheel", "-o", str(where / "wheel"), str(ROOT)], check=True)
            (wheel,) = (where / "wheel").glob("*.whl")
            subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(where / "environment")], check=True)
            install = [uv, "pip", "install", "-q", "--python", str(where / "environment" / "bin" / "python")]
            subprocess.run([*install, str(wheel), "pytest", "pytest-xdist"], check=True)
            (where / "complete").touch()
    return where / "environment" / "bin"
