"""What is measured: rebuilds, verification, start-up, the embedded server, test databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.measure import Command, Contender, Row, Run, measure
from bench.setting import INVOKE, Setting, migrations
from dbops.settings import ROOT
from tests.support.network import slow_network

# How long the slow network takes each way, in seconds.
DELAY = 0.010
CHUNKS = 5_000
CHUNKS_AT_ONCE = 250
ADD_CHUNKS = """
INSERT INTO public.ohlcv (ticker_id, date)
SELECT t.id, date '1900-01-01' + 30 * n FROM public.tickers AS t, generate_series({first}, {last}) AS n
"""

# What the floor of a start is: Python, and the two libraries that a verb cannot do without.
IMPORTS: list[str | Path] = [INVOKE.parent / "python", "-c", "import invoke.main, psycopg"]
PARTS = {
    "start and end": "start and end of the process",
    "preflight": "preflight",
    "create": "create",
    "migrate": "migrate",
    "verify": "verify, with the schema's text",
    "swap": "swap",
    "drop": "drop",
}

# A suite whose tests take a database each, and what it took to make and to drop each.
SUITE_CONFTEST = """
import time
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    began = time.perf_counter()
    yield
    item.seconds = time.perf_counter() - began

@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    began = time.perf_counter()
    yield
    with open("seconds", "a") as file:
        file.write(f"{item.seconds + time.perf_counter() - began}\\n")
"""
SUITE = """
import pytest

@pytest.mark.parametrize("n", range(40))
def test_baseline_is_there(kapman_db, n):
    with kapman_db.connect() as connection:
        connection.execute("SELECT FROM public.ohlcv")
"""


def rebuilds(setting: Setting) -> Iterator[Row]:
    """Rebuild with the repository's six files, then with a hundred and a thousand."""
    yield _rebuild(setting, "rebuild-6", "rebuild, 6 files", 0, 9)
    yield _rebuild(setting, "rebuild-100", "rebuild, 100 files", 100, 7)
    if not setting.quick:
        yield _rebuild(setting, "rebuild-1000", "rebuild, 1,000 files", 1_000, 5)


def parts_of_a_rebuild(setting: Setting) -> Iterator[Row]:
    """Say what each part of a rebuild with six files takes, beside what the floor's programs take for the same.

    What a rebuild does not count is the start and the end of its process: beside that, what it has to import.
    """
    project, floor = setting.project(), "parts_floor"
    files = [word for file in migrations(project) for word in ("-f", str(file))]
    programs: dict[str, list[str | Path]] = {
        "start and end": IMPORTS,
        "create": ["createdb", floor],
        "migrate": ["psql", "-qX1", "-v", "ON_ERROR_STOP=1", "-d", floor, *files],
        "drop": ["dropdb", "--force", floor],
    }
    rebuild = setting.invoke("db.rebuild", "--format", "json", database="parts", project=project)
    rebuild()
    runs: dict[str, dict[str, list[Run]]] = {part: {} for part in PARTS}
    for _ in range(setting.rounds(9)):
        for part, words in programs.items():
            runs[part].setdefault("floor", []).append(Command(words, setting.environ(), setting.directory)())
        whole, lines = rebuild.read()
        result = json.loads(lines[-1])
        seconds = {step["step"]: step["seconds"] for step in result["steps"]}
        seconds["start and end"] = whole.seconds - result["seconds"]
        for part in PARTS:
            runs[part].setdefault("ours", []).append(Run(seconds[part]))
    for part, shown in PARTS.items():
        yield Row(f"part-{part}", f"rebuild, 6 files: {shown}", runs[part], base="floor" if part in programs else "")


def rebuild_of_rows(setting: Setting) -> Iterator[Row]:
    """Rebuild a database that has rows to lose, against one that has none."""
    rows, none = "with_rows", "without_rows"
    for database in (rows, none):
        setting.invoke("db.rebuild", database=database)()

    def lose() -> Run:
        with setting.connect(rows) as connection:
            connection.execute(
                "INSERT INTO public.tickers (symbol) SELECT 'S' || n FROM generate_series(1, 15000) AS n"
            )
        return setting.invoke("db.rebuild", "--yes", database=rows)()

    contenders: dict[str, Contender] = {"without rows": setting.invoke("db.rebuild", database=none), "ours": lose}
    yield measure("rebuild-rows", "rebuild, 15,000 rows to lose", contenders, setting.rounds(9), base="without rows")


def slow_rebuild(setting: Setting) -> Iterator[Row]:
    """Rebuild with six files, on a server that is 20 ms away."""
    with slow_network(setting.server, DELAY) as (server, _):
        dbmate = [peer for peer in setting.peers if peer.name == "dbmate"]
        beside = replace(setting.beside, server=server) if setting.beside else None
        far = replace(setting, server=server, peers=dbmate, beside=beside)
        yield _rebuild(far, "rebuild-slow", "rebuild, 6 files, 20 ms away", 0, 7)


def many_files(setting: Setting) -> Iterator[Row]:
    """Rebuild with 10,000 files: time against a thousand, and memory."""
    ours = {
        count: setting.invoke("db.rebuild", database=f"many{count}", project=setting.project(count))
        for count in (1_000, 10_000)
    }
    few = measure("rebuild-1000", "rebuild, 1,000 files", {"ours": ours[1_000]}, 1)
    # No run before the one that counts: nothing is left to warm up.
    row = measure("rebuild-10000", "rebuild, 10,000 files", {"ours": ours[10_000]}, 1, warm=False)
    if row.runs:
        growth = {"growth": row.median("ours") / few.median("ours") / 10} if few.runs else {}
        row = replace(row, notes={**growth, "MB": row.runs["ours"][0].megabytes})
    yield row


def verification(setting: Setting) -> Iterator[Row]:
    """Verify the baseline: here, far away, and with thousands of chunks."""
    for rebuild in setting.contenders("db.rebuild", database="verified").values():
        rebuild()
    verify = setting.contenders("db.verify", database="verified")
    rounds = setting.rounds(9)
    yield measure("verify", "db.verify, 6 tables", verify, rounds)
    with slow_network(setting.server, DELAY) as (server, traffic):
        slow = replace(setting, server=server).invoke("db.verify", database="verified")
        row = measure("verify-slow", "db.verify, 20 ms away", {"ours": slow}, rounds)
        runs = rounds + 1
        yield replace(row, notes={"round trips": traffic.round_trips / runs, "connections": traffic.connections / runs})
    if not setting.quick:
        with setting.connect("verified") as connection:
            connection.execute("INSERT INTO public.tickers (symbol) VALUES ('BENCH')")
            for first in range(1, CHUNKS + 1, CHUNKS_AT_ONCE):
                connection.execute(ADD_CHUNKS.format(first=first, last=first + CHUNKS_AT_ONCE - 1).encode())
        yield measure("verify-chunks", f"db.verify, {CHUNKS:,} chunks", {"ours": verify["ours"]}, 5)


def starting(setting: Setting) -> Iterator[Row]:
    """Start Python and Invoke, and do nothing, or read; beside that, what Python and the two libraries take alone."""
    python = INVOKE.parent / "python"
    others = {
        "python -c pass": Command([python, "-c", "pass"], setting.environ(), ROOT),
        "imports alone": Command(IMPORTS, setting.environ(), ROOT),
    }
    kapman = Command([INVOKE.parent / "kapman", "--list"], setting.environ(), ROOT)
    jobs: list[tuple[str, str, dict[str, Contender]]] = [
        ("list", "invoke --list", setting.contenders("--list")),
        ("kapman-list", "kapman --list", {"ours": kapman}),
        ("status", "db.status, start included", setting.contenders("db.status", database="start")),
        ("start-verify", "db.verify, start included", setting.contenders("db.verify", database="start")),
    ]
    for rebuild in setting.contenders("db.rebuild", database="start").values():
        rebuild()
    for key, job, contenders in jobs:
        yield measure(key, job, {**contenders, **others}, setting.rounds(15), base="python -c pass")


def embedded_server(setting: Setting) -> Iterator[Row]:
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

    rounds = setting.rounds(5)
    yield measure("up-cold", "server.up, no data directory", {"ours": cold}, rounds)
    yield measure("up-warm", "server.up, stopped before", {"ours": warm}, rounds)
    task("server.destroy", "--yes")


def databases_for_tests(setting: Setting) -> Iterator[Row]:
    """Give each test of a suite a database with the schema, through the pytest plugin: on the server that it starts."""
    job = "a database for a test made and dropped, by the pytest plugin"
    own = {"KAPMAN_SERVER_DIR": str(setting.directory / "for-tests")}
    try:
        yield _suite(setting, "test-database", job, own)
    finally:
        Command([INVOKE, "server.destroy", "--yes"], {**setting.environ(), **own}, ROOT)()
    if not setting.quick:
        durable = {"KAPMAN_TEST_DATABASE_URL": setting.server.url("postgres")}
        yield _suite(setting, "test-database-durable", f"{job}, durable server", durable)


def _suite(setting: Setting, key: str, job: str, server: dict[str, str]) -> Row:
    """Run a suite on the server that variables choose, and return what each of its databases took."""
    directory = setting.directory / key
    directory.mkdir()
    (directory / "conftest.py").write_text(SUITE_CONFTEST)
    (directory / "test_suite.py").write_text(SUITE)
    environ = {**setting.environ(), **server, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    pytest = Command([INVOKE.parent / "pytest", "-q", "-p", "dbops.testing", "--rootdir", "."], environ, directory)
    suite = measure(key, job, {"ours": pytest}, 1, warm=False)
    if suite.failed:
        return suite
    seconds = (directory / "seconds").read_text().split()
    return replace(suite, runs={"ours": [Run(float(each)) for each in seconds]})


def _rebuild(setting: Setting, key: str, job: str, tables: int, rounds: int) -> Row:
    """Measure a rebuild of the repository's files, or of so many tables, by all who can."""
    name = key.replace("-", "_")
    project = setting.project(tables)
    contenders: dict[str, Contender] = {
        "floor": setting.floor(f"{name}_floor", migrations(project)),
        **setting.contenders("db.rebuild", database=f"{name}_ours", tables=tables),
    }
    for peer in setting.peers:
        contenders[peer.name] = setting.peer(peer, f"{name}_{peer.name.replace('-', '_')}", project)
    row = measure(key, job, contenders, setting.rounds(rounds), base="floor")
    # The schedulers of a row's databases would keep the machine busy.
    with setting.connect("postgres") as connection:
        query = "SELECT datname FROM pg_database WHERE starts_with(datname::text, %s)"
        for (database,) in connection.execute(query, [name]).fetchall():
            connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)'.encode())
    return row
