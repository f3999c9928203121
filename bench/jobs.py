"""What is measured: rebuilds, verification, start-up, the embedded server, test databases."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from bench.measure import Command, Contender, Row, Run, Series, measure
from bench.peers import Peer
from bench.setting import INVOKE, Project, Setting
from bench.slow_link import Counter, slow_link
from dbops.settings import ROOT
from tests.support.servers import throwaway_server

CHUNKS = 5_000
CHUNKS_AT_ONCE = 250
ADD_CHUNKS = """
INSERT INTO public.ohlcv (ticker_id, date)
SELECT t.id, date '1900-01-01' + 30 * n FROM public.tickers AS t, generate_series({first}, {last}) AS n
"""

# A suite whose tests take a database each, and what each took to be there.
SUITE_CONFTEST = """
import time
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef):
    began = time.perf_counter()
    result = yield
    if fixturedef.argname == "kapman_db":
        with open("seconds", "a") as file:
            file.write(f"{time.perf_counter() - began}\\n")
    return result
"""
SUITE = """
import pytest

@pytest.mark.parametrize("n", range(40))
def test_baseline_is_there(kapman_db, n):
    with kapman_db.connect() as connection:
        connection.execute("SELECT FROM public.ohlcv")
"""


def rebuilds(setting: Setting, peers: Sequence[Peer]) -> Iterator[Row]:
    """Rebuild with the repository's six files, then with a hundred and a thousand."""
    quick = setting.quick
    jobs = [("rebuild-6", "rebuild, 6 files", setting.project(), 3 if quick else 9)]
    jobs.append(("rebuild-100", "rebuild, 100 files", setting.project(100), 2 if quick else 7))
    if not quick:
        jobs.append(("rebuild-1000", "rebuild, 1,000 files", setting.project(1_000), 5))
    for key, job, project, rounds in jobs:
        yield _rebuild(setting, key, job, project, peers, rounds)


def slow_rebuild(setting: Setting, peers: Sequence[Peer]) -> Iterator[Row]:
    """Rebuild with six files, on a server that is 20 ms away."""
    with _far(setting) as (far, _):
        near = [peer for peer in peers if peer.name == "dbmate"]
        rounds = 2 if setting.quick else 7
        yield _rebuild(far, "rebuild-slow", "rebuild, 6 files, 20 ms away", setting.project(), near, rounds)


def many_files(setting: Setting, _peers: Sequence[Peer]) -> Iterator[Row]:
    """Rebuild with 10,000 files: time against a thousand, and memory."""
    ours = {
        count: setting.invoke("db.rebuild", database=f"many{count}", project=setting.project(count).directory)
        for count in (1_000, 10_000)
    }
    few = measure("rebuild-1000", "rebuild, 1,000 files", {"ours": ours[1_000]}, 1)
    # No run before the one that counts: nothing is left to warm up.
    row = measure("rebuild-10000", "rebuild, 10,000 files", {"ours": ours[10_000]}, 1, warm=False)
    if many := row.series.get("ours"):
        growth = {"growth": many.median / few.series["ours"].median / 10} if few.series else {}
        row = replace(row, notes={**growth, "MB": many.megabytes})
    yield row


def verification(setting: Setting, _peers: Sequence[Peer]) -> Iterator[Row]:
    """Verify the baseline: here, far away, and with thousands of chunks."""
    setting.invoke("db.rebuild", database="verified")()
    verify = setting.invoke("db.verify", database="verified")
    rounds = 3 if setting.quick else 9
    yield measure("verify", "db.verify, 6 tables", {"ours": verify}, rounds)
    with _far(setting) as (far, counter):
        row = measure(
            "verify-slow", "db.verify, 20 ms away", {"ours": far.invoke("db.verify", database="verified")}, rounds
        )
        runs = rounds + 1
        yield replace(row, notes={"round trips": counter.round_trips / runs, "connections": counter.connections / runs})
    if not setting.quick:
        _add_chunks(setting, "verified")
        yield measure("verify-chunks", f"db.verify, {CHUNKS:,} chunks", {"ours": verify}, 5)


def starting(setting: Setting, _peers: Sequence[Peer]) -> Iterator[Row]:
    """Start Python and Invoke, and do nothing."""
    python = Command([INVOKE.parent / "python", "-c", "pass"], setting.environ(), ROOT)
    contenders = {"ours": setting.invoke("--list"), "python -c pass": python}
    yield measure("list", "invoke --list", contenders, 5 if setting.quick else 15, base="python -c pass")


def embedded_server(setting: Setting, _peers: Sequence[Peer]) -> Iterator[Row]:
    """Start an embedded server whose data directory is to be made, and one whose is there."""
    directory = setting.directory / "another"
    environ = {**setting.environ(), "KAPMAN_SERVER_DIR": str(directory)}

    def task(*words: str) -> Run:
        return Command([INVOKE, *words], environ, ROOT)()

    def cold() -> Run:
        if directory.exists():
            task("server.destroy", "--yes")
        return task("server.up")

    def warm() -> Run:
        task("server.down")
        return task("server.up")

    rounds = 2 if setting.quick else 5
    yield measure("up-cold", "server.up, no data directory", {"ours": cold}, rounds)
    yield measure("up-warm", "server.up, stopped before", {"ours": warm}, rounds)
    task("server.destroy", "--yes")


def databases_for_tests(setting: Setting, _peers: Sequence[Peer]) -> Iterator[Row]:
    """Give each test of a suite a database with the schema, through the pytest plugin."""
    job = "a database for a test, by the pytest plugin"
    with throwaway_server() as server:
        yield _suite(setting, "test-database", job, server.url("postgres"))
    if not setting.quick:
        yield _suite(setting, "test-database-durable", f"{job}, durable server", setting.url("postgres"))


def _suite(setting: Setting, key: str, job: str, url: str) -> Row:
    """Run a suite on a server and return what each of its databases took."""
    directory = setting.directory / key
    directory.mkdir()
    (directory / "conftest.py").write_text(SUITE_CONFTEST)
    (directory / "test_suite.py").write_text(SUITE)
    environ = {**setting.environ(), "KAPMAN_TEST_DATABASE_URL": url, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    pytest = Command([INVOKE.parent / "pytest", "-q", "-p", "dbops.testing", "--rootdir", "."], environ, directory)
    suite = measure(key, job, {"ours": pytest}, 1, warm=False)
    if suite.failed:
        return suite
    seconds = tuple(float(line) for line in (directory / "seconds").read_text().split())
    return replace(suite, series={"ours": Series(seconds)})


def _rebuild(setting: Setting, key: str, job: str, project: Project, peers: Sequence[Peer], rounds: int) -> Row:
    """Measure a rebuild of a project's files by all who can."""
    name = key.replace("-", "_")
    contenders: dict[str, Contender] = {
        "floor": setting.floor(f"{name}_floor", project.migrations),
        "ours": setting.invoke("db.rebuild", database=f"{name}_ours", project=project.directory),
    }
    for peer in peers:
        if len(project.migrations) <= peer.most_files:
            contenders[peer.name] = setting.peer(peer, f"{name}_{peer.name.replace('-', '_')}", project)
    row = measure(key, job, contenders, rounds, base="floor")
    # The schedulers of a row's databases would keep the machine busy.
    with setting.connect("postgres") as connection:
        query = "SELECT datname FROM pg_database WHERE starts_with(datname::text, %s)"
        for (database,) in connection.execute(query, [name]).fetchall():
            connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)'.encode())
    return row


@contextmanager
def _far(setting: Setting) -> Iterator[tuple[Setting, Counter]]:
    """Yield the setting with a server that is 20 ms away, and what counts the round trips."""
    directory = setting.directory / "far"
    with slow_link(setting.socket / ".s.PGSQL.5432", directory) as counter:
        yield replace(setting, socket=directory), counter
    shutil.rmtree(directory)


def _add_chunks(setting: Setting, database: str) -> None:
    with setting.connect(database) as connection:
        connection.execute("INSERT INTO public.tickers (symbol) VALUES ('BENCH')")
        for first in range(1, CHUNKS + 1, CHUNKS_AT_ONCE):
            last = min(CHUNKS, first + CHUNKS_AT_ONCE - 1)
            connection.execute(ADD_CHUNKS.format(first=first, last=last).encode())
