"""How migrating scales: time linear in the number of files, little memory, and old migrations cost next to nothing."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from dbops.events import Event, Progress
from dbops.migrations import discover, migrate
from dbops.settings import Target
from tests.support import servers
from tests.support.servers import TestServer

FILES = 10_000
APPLIED = 1_000
REPEATS = 15
MOST_MEGABYTES = 150
MOST_GROWTH = 1.5
WINDOW = 100
MOST_COST_OF_ONE = 1.2


@dataclass(frozen=True, slots=True)
class Fresh:
    """A run on a fresh database, in a process of its own; `growth` is what a file costs late, against early."""

    seconds: float
    megabytes: float
    growth: float


def main() -> bool:
    """Measure, print, and tell whether all limits hold."""
    with _server() as server, tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        fresh = _fresh(server, directory)
        ratio = _one_pending(server, directory)
    print(f"{FILES} files on a fresh database: {fresh.seconds:.1f} s, {fresh.megabytes:.0f} MB")
    return all(
        [
            _judge("time per file, in the second half against the first", fresh.growth, MOST_GROWTH),
            _judge(f"megabytes for {FILES} files", fresh.megabytes, MOST_MEGABYTES),
            _judge(f"one pending after {APPLIED}, against none pending", ratio, MOST_COST_OF_ONE),
        ]
    )


def _judge(what: str, value: float, most: float) -> bool:
    print(f"{'ok' if value < most else 'FAIL':4} {what}: {value:.2f}, limit {most}")
    return value < most


@contextmanager
def _server() -> Iterator[TestServer]:
    """Return the server that KAPMAN_TEST_DATABASE_URL names, else a throwaway one."""
    if url := os.environ.get("KAPMAN_TEST_DATABASE_URL"):
        yield servers.given_server(url)
    else:
        with servers.throwaway_server() as server:
            yield server


@contextmanager
def _database(server: TestServer) -> Iterator[Target]:
    name = servers.fresh_name("bench")
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    yield server.target(name)
    servers.drop_quietly(server, name)


def _write(directory: Path, count: int) -> Path:
    """Write small but honest migrations: a table with a key and a comment each."""
    directory.mkdir()
    for n in range(1, count + 1):
        text = (
            f"-- Why:   a measurement.\n-- Locks: none.\n\nCREATE TABLE public.t{n} (id integer, name text);\n"
            f"ALTER TABLE public.t{n} ADD CONSTRAINT t{n}_pkey PRIMARY KEY (id);\n"
            f"COMMENT ON TABLE public.t{n} IS 'Table {n}';\n"
        )
        (directory / f"{n:04}_create_t{n}.sql").write_text(text)
    return directory


def _fresh(server: TestServer, directory: Path) -> Fresh:
    """Apply all files to a fresh database in a process of its own."""
    files = _write(directory / "fresh", FILES)
    with _database(server) as target:
        address = json.dumps([dict(target.parameters), target.database])
        command = [sys.executable, "-m", "bench.migrations", str(files), address]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Fresh(*json.loads(said))


def _one_pending(server: TestServer, directory: Path) -> float:
    """Return what a run with one pending file takes, as a multiple of a run with none."""
    files = _write(directory / "applied", APPLIED + 1)
    spent: dict[int, list[float]] = {0: [], 1: []}
    with _database(server) as target:
        migrate(target, discover(files), to=APPLIED, fresh=True)
        for _ in range(REPEATS):
            for pending in (1, 0):
                began = time.perf_counter()
                result = migrate(target, discover(files))
                spent[pending].append(time.perf_counter() - began)
                assert len(result.applied) == pending
            server.execute(
                f"DROP TABLE public.t{APPLIED + 1}; DELETE FROM dbops.schema_migrations WHERE version > {APPLIED}",
                target.database,
            )
    return min(spent[1]) / min(spent[0])


def _child(files: str, address: str) -> None:
    """Apply a directory's files, and print what Fresh holds."""
    parameters, database = json.loads(address)
    marks: list[float] = []

    def mark(event: Event) -> None:
        if isinstance(event, Progress) and event.done % WINDOW == 0:
            marks.append(time.perf_counter())

    began = time.perf_counter()
    migrate(Target(parameters, database), discover(Path(files)), fresh=True, report=mark)
    seconds = time.perf_counter() - began
    windows = [later - earlier for earlier, later in pairwise(marks)]
    half = len(windows) // 2
    # The lower quartile looks past what else the machine does meanwhile.
    early, late = (statistics.quantiles(part)[0] for part in (windows[:half], windows[half:]))
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, megabytes, late / early]))


if __name__ == "__main__":
    _child(*sys.argv[1:])
