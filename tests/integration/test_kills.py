"""Operators killed at every event: the next rebuild succeeds, on any machine, with every property as before."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dbops.database.properties import Properties, find_database
from dbops.settings import ROOT, Target
from tests.support import operators, servers
from tests.support.odd_databases import odd_database, odd_database_of_an_owner
from tests.support.servers import TestServer

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Operators:
    """Starts operators, each with a home directory that is deleted when the operator is gone."""

    process: subprocess.Popen[str]
    target: Target
    options: dict[str, Any]
    home: Path

    def rebuild(self, *, last: int = 0) -> tuple[int, list[str]]:
        """Rebuild, up to an event if one is given; return how the operator ended and what it reported."""
        self.home.mkdir()
        plan: dict[str, Any] = {
            "parameters": dict(self.target.parameters),
            "database": self.target.database,
            "options": {name: str(path or "") for name, path in self.options.items()},
            "home": str(self.home),
            "last": last,
        }
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(plan) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert list(self.home.iterdir()) == [], "an operator keeps nothing on disk"
        shutil.rmtree(self.home)
        return answer["code"], answer["events"]


@contextmanager
def operating(target: Target, options: dict[str, Any], home: Path) -> Iterator[Operators]:
    """Keep a process that starts operators."""
    command = [sys.executable, "-m", "tests.support.mortal_operators"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Operators(process, target, options, home)


def fill(server: TestServer, target: Target) -> None:
    """Put a row into the database, whose settings may make sessions read-only."""
    statement = "BEGIN READ WRITE; CREATE TABLE precious AS SELECT 1 AS id; COMMIT"
    server.execute(statement, target.database)


def assert_as_before(connection: Any, server: TestServer, target: Target, had: Properties) -> None:
    """Assert that the database is open and has its properties, and that nothing else is there."""
    found = find_database(connection, target.database)
    assert found
    assert found.marker is None
    assert (found.catalog.effective_acl(), found.catalog.settings) == (had.effective_acl(), had.settings)
    assert found.catalog == had
    assert operators.scratch_databases(server) == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("who", "every", "times"),
    [
        pytest.param("superuser", False, 1, id="superuser-sample"),
        pytest.param("owner", False, 2, id="owner-sample"),
        pytest.param("superuser", True, 2, id="superuser-full", marks=pytest.mark.soak),
        pytest.param("owner", True, 1, id="owner-full", marks=pytest.mark.soak),
    ],
)
def test_after_kills_at_an_event_the_next_rebuild_finds_everything_as_before(
    server: TestServer,
    target: Target,
    small: dict[str, Path],
    tmp_path: Path,
    who: str,
    every: bool,
    times: int,
) -> None:
    """Kill at every event, or at the first and the last event of each step."""
    odd = odd_database(server, target) if who == "superuser" else odd_database_of_an_owner(server, target)
    with odd as made, servers.connect(server.target()) as connection:
        own, had = (target, made) if isinstance(made, Properties) else made
        with operating(own, small, tmp_path / "home") as run:
            fill(server, target)
            code, events = run.rebuild()
            assert code == 0
            assert_as_before(connection, server, target, had)
            for step in ("preflight", "create", "migrate", "verify", "swap", "drop"):
                assert any(event.startswith(f"StepFinished(step='{step}'") for event in events)
            for last, event in enumerate(events, 1):
                if not (every or event.startswith(("StepStarted", "StepFinished"))):
                    continue
                fill(server, target)
                code, reported = run.rebuild(last=last)
                assert (code, len(reported)) == (-signal.SIGKILL, last), event
                # What the first one left takes the second one another way, and perhaps to its end before that event.
                for _ in range(1, times):
                    assert run.rebuild(last=last)[0] in (-signal.SIGKILL, 0), event
                assert run.rebuild()[0] == 0, event
                assert_as_before(connection, server, target, had)
