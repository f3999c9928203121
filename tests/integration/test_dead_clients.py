"""A client that is killed lets go within seconds: its statement, its locks and its sessions are gone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dbops.settings import ROOT, Target
from tests.support import operators, servers
from tests.support.forwarder import forwarder
from tests.support.migration_files import write
from tests.support.servers import TestServer

# Far less than the statements take, and enough for a machine that is busy.
PATIENCE = 10.0
LOCK = "LOCK TABLE public.ohlcv IN ACCESS EXCLUSIVE MODE; "
BLOCK = f"DO $$ BEGIN {LOCK} PERFORM pg_catalog.pg_sleep(30); END $$;\n"
# More statements than travel ahead: some are still unread by the server when the client is killed.
MANY = "SELECT 1;\n" * 500
FILES = {
    "in a transaction": f"{LOCK}\n{BLOCK}",
    "in the pipeline, ahead of others": f"{LOCK}\nSELECT pg_catalog.pg_sleep(30);\n{MANY}",
    "outside a transaction": f"-- migrate: no-transaction\n{BLOCK}",
}
MIGRATE = """
import json, pathlib, sys
from dbops.migrations.files import discover
from dbops.database import existing
from dbops.settings import Target
parameters, database, directory = json.loads(sys.argv[1])
existing.migrate(Target(parameters, database), discover(pathlib.Path(directory)))
"""


def sessions_left(server: TestServer, database: str) -> list[tuple[object, ...]]:
    """Return the sessions of this tool in a database and in the maintenance database, and who locks its tables."""
    return server.execute(f"""
        SELECT a.pid, a.datname, a.state, a.wait_event, a.query FROM pg_stat_activity AS a
        WHERE a.application_name LIKE 'kapman-dbops%' AND a.pid <> pg_backend_pid()
          AND (a.datname = '{database}' OR a.application_name LIKE '%@%')
        UNION ALL
        SELECT l.pid, d.datname, l.mode, NULL, NULL FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
        WHERE l.mode = 'AccessExclusiveLock' AND d.datname = '{database}'""")


def assert_let_go(server: TestServer, database: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while (left := sessions_left(server, database)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def until_active(server: TestServer, database: str, query: str, process: subprocess.Popen[bytes] | None = None) -> bool:
    """Wait until a statement runs; return False if the process that was to run it ended before that was seen."""
    deadline = time.monotonic() + 60
    looking = (
        f"SELECT 1 FROM pg_stat_activity WHERE datname = '{database}' AND state = 'active'"
        f" AND query LIKE '%{query}%' AND application_name LIKE 'kapman-dbops%'"
    )
    while not server.execute(looking):
        if process and process.poll() is not None:
            return False
        assert time.monotonic() < deadline, "the statement does not run"
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("way", ["socket", "TCP"])
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.slow
def test_killed_migration_lets_go_of_its_table(
    server: TestServer, built: Target, tmp_path: Path, kind: str, way: str
) -> None:
    write(tmp_path, FILES[kind], first=7)
    for file in (ROOT / "db" / "migrations").glob("*.sql"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with forwarder(server) as (far, _):
        parameters = dict((far if way == "TCP" else server).parameters)
        plan = json.dumps([parameters, built.database, str(tmp_path)])
        process = subprocess.Popen([sys.executable, "-c", MIGRATE, plan], cwd=ROOT)
        until_active(server, built.database, "pg_sleep")
        assert sessions_left(server, built.database)
        process.kill()
        process.wait()
        assert_let_go(server, built.database)
    with servers.connect(built) as reader:
        reader.execute("SET lock_timeout = '100ms'")
        assert reader.execute("SELECT count(*) FROM public.ohlcv").fetchone() == (0,)


WAITING = {
    "verify": (["db.verify"], "kapman_check"),
    "fingerprint": (["db.fingerprint"], "WITH"),
    "migrate --plan": (["db.migrate", "--plan"], "schema_migrations"),
    "status": (["db.status"], "schema_migrations"),
}


@pytest.mark.parametrize("verb", WAITING)
@pytest.mark.slow
def test_killed_reader_that_waits_for_a_lock_goes_away(server: TestServer, built: Target, verb: str) -> None:
    words, query = WAITING[verb]
    with servers.connect(built) as holder, holder.transaction():
        holder.execute("LOCK TABLE public.ohlcv, public.tickers, dbops.schema_migrations IN ACCESS EXCLUSIVE MODE")
        # A verification gives up a locked table after a fraction of a second: it is started until it is seen to wait.
        for _ in range(20):
            command = [sys.executable, "-m", "invoke", *words]
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=operators.surroundings(built),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if until_active(server, built.database, query, process):
                break
        else:
            pytest.fail("the statement does not run")
        process.kill()
        process.wait()
        deadline = time.monotonic() + PATIENCE
        own = f"datname = '{built.database}' AND application_name LIKE 'kapman-dbops%'"
        while left := server.execute(f"SELECT pid, state, query FROM pg_stat_activity WHERE {own}"):
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
