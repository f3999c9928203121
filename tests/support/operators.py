"""What tests of dropping and rebuilding share: roles, stubborn clients, operators in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dbops.database.consent import Agreement
from dbops.database.operator import SCHEDULER
from dbops.database.rebuild import RebuildOptions
from dbops.settings import ROOT, Target
from tests.support import servers
from tests.support.processes import run_invoke
from tests.support.servers import TestServer

PASSWORD = "kn0wn-s3cret"
ROWS = 1000


def options(*, yes: bool = False, confirm: str = "", **changes: Any) -> RebuildOptions:
    """Return how to rebuild from the repository's own SQL."""
    return RebuildOptions(agreement=Agreement(yes=yes, confirm=confirm), **changes)


@contextmanager
def role(server: TestServer, attributes: str = "LOGIN CREATEDB", *, name: str = "") -> Iterator[str]:
    """Make a role for one test; whatever it owns then is dropped with it."""
    name = name or f"role_{uuid.uuid4().hex[:12]}"
    quoted = sql.Identifier(name)
    server.execute(sql.SQL("CREATE ROLE {} {} PASSWORD {}").format(quoted, sql.SQL(attributes), PASSWORD))
    try:
        yield name
    finally:
        with servers.connect(server.target()) as connection:
            owned = "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = %s"
            for (database,) in connection.execute(owned, [name]).fetchall():
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(str(database))))
            connection.execute(sql.SQL("DROP OWNED BY {}").format(quoted))
            connection.execute(sql.SQL("DROP ROLE {}").format(quoted))


def as_role(target: Target, name: str) -> Target:
    """Return the target as another role sees it."""
    return replace(target, parameters={**target.parameters, "user": name, "password": PASSWORD})


def dsn(target: Target) -> str:
    """Return a target as libpq takes it."""
    return make_conninfo("", **{**target.parameters, "dbname": target.database})


def fill(target: Target, rows: int = ROWS) -> None:
    """Put rows into a table that no migration knows."""
    with psycopg.connect(dsn(target), autocommit=True) as connection:
        connection.execute("CREATE TABLE precious (id integer)")
        connection.execute("INSERT INTO precious SELECT generate_series(1, %s)", [rows])


def rows_left(target: Target) -> int:
    """Return how many of the rows are still there, as the target's own role reads them."""
    with psycopg.connect(dsn(target)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM precious").fetchall()[0]
    return int(count)


def exists(server: TestServer, name: str) -> bool:
    """Return whether there is a database of this name."""
    query = sql.SQL("SELECT 1 FROM pg_database WHERE datname = {}")
    return bool(server.execute(query.format(sql.Literal(name))))


def scheduler_runs(server: TestServer, name: str, patience: float = 10.0) -> bool:
    """Return whether TimescaleDB's scheduler runs in a database, or starts within `patience` seconds."""
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND application_name = %s"
    deadline = time.monotonic() + patience
    with servers.connect(server.target()) as connection:
        while not connection.execute(query, [name, SCHEDULER]).fetchall():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
    return True


def scratch_databases(server: TestServer) -> list[str]:
    """Return the scratch databases that belong to this process's tests: there should be none when no operator runs.

    On a server that others use too, they are recognised by their marker, which names the database they are for.
    """
    found = server.execute("""
        SELECT datname, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database
        WHERE datname LIKE 'kapman\\_scratch\\_%' ORDER BY 1""")
    return [str(name) for name, marker in found if server.directory or servers.PROCESS in str(marker)]


def works(server: TestServer, target: Target, rows: int = ROWS) -> bool:
    """Return whether a target holds its rows, lets ordinary roles in, and has its scheduler."""
    with role(server) as other:
        psycopg.connect(dsn(as_role(target, other))).close()
    return rows_left(target) == rows and scheduler_runs(server, target.database, patience=0)


class Clients:
    """Eight threads, in a process of their own, that connect, ask something, and connect again when thrown out.

    `pause` is the seconds between two attempts of one thread: what they take is taken from the rebuild.
    """

    def __init__(self, target: Target, pause: float = 0.1) -> None:
        self.entered = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.stubborn_clients"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(str(pause))
        self._say(dsn(target))

    def __enter__(self) -> Clients:
        assert self._process.stdout
        self._process.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        out = self._process.communicate("enough\n", timeout=30)[0]
        self.entered = int(out)

    def _say(self, text: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()


class Operator:
    """A rebuild in a process of its own, as `operator_process` forks it; its output goes to files.

    There is one at a time. One that a failed test left behind is killed before the next begins.
    """

    _forking: subprocess.Popen[str] | None = None
    _last: Operator | None = None

    def __init__(self, plan: dict[str, object]) -> None:
        if Operator._last:
            Operator._last.send_signal(signal.SIGKILL)
            Operator._last.communicate()
        self.returncode: int | None = None
        self._files = Path(tempfile.mkdtemp(prefix="kapman-test-"))
        if Operator._forking is None:
            command = [sys.executable, "-m", "tests.support.operator_process"]
            pipe = subprocess.PIPE
            Operator._forking = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        assert Operator._forking.stdin
        assert Operator._forking.stdout
        self._answers = Operator._forking.stdout
        names = {name: str(self._files / name) for name in ("out", "err")}
        Operator._forking.stdin.write(json.dumps({**plan, **names}) + "\n")
        Operator._forking.stdin.flush()
        self._pid = int(self._answers.readline())
        Operator._last = self

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, unless it is gone."""
        if self.returncode is None:
            os.kill(self._pid, number)

    def communicate(self) -> tuple[str, str]:
        """Wait for the end and return what the process printed."""
        self.returncode = int(self._answers.readline())
        Operator._last = None
        said = [(self._files / name).read_text() for name in ("out", "err")]
        shutil.rmtree(self._files)
        return said[0], said[1]


def operator(target: Target, *, at: str = "", action: str = "", **chosen: object) -> subprocess.CompletedProcess[str]:
    """Rebuild in a process of its own, which does something to itself when an event with a certain text comes.

    `action` is a signal's name. The process ends as a task does: exit code, and one line on stderr if interrupted.
    """
    process = started(target, at=at, action=action, **chosen)
    out, err = process.communicate()
    assert process.returncode is not None
    return subprocess.CompletedProcess((), process.returncode, out, err)


def started(target: Target, *, at: str = "", action: str = "", **chosen: object) -> Operator:
    """Start such a process and return it at once."""
    plan = {"parameters": dict(target.parameters), "database": target.database, "environment": target.environment}
    return Operator({**plan, "at": at, "action": action, "options": {k: str(v or "") for k, v in chosen.items()}})


def invoke(*words: str, target: Target) -> subprocess.CompletedProcess[str]:
    """Run a task on a target, in this process: a new one takes half a second to start."""
    return run_invoke(*words, DATABASE_URL=dsn(target))


def invoke_alone(*words: str, target: Target) -> subprocess.CompletedProcess[str]:
    """Run a task as an operator does, in a process of its own, whose place psql may take."""
    command = [sys.executable, "-m", "invoke", *words]
    return subprocess.run(
        command, cwd=ROOT, env=surroundings(target), text=True, capture_output=True, timeout=60, check=False
    )


def surroundings(target: Target) -> dict[str, str]:
    """Return the environment in which a task works on a target."""
    return {**os.environ, "DATABASE_URL": dsn(target)}
