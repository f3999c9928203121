"""Fixtures for tests that drop and rebuild."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.settings import Target
from tests import operators
from tests.support import TestServer


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a directory of its own for what must outlive a crash."""
    return tmp_path / "state"


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
