"""The password never appears: not in output, not in logs, not in tracebacks, not in files, not in process lists."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dbops import postgres
from dbops.settings import ROOT, Target
from tests.support import operators, servers
from tests.support.operators import PASSWORD
from tests.support.servers import TestServer

pytestmark = pytest.mark.slow

VALUE = "another-s3cret"


def command_lines() -> str:
    """Return the command lines of all processes, the password hidden neither by quoting nor by titles."""
    texts = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            texts.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(texts)


@pytest.mark.parametrize("output", ["text", "json"])
def test_password_never_appears_while_rebuilding(server: TestServer, target: Target, output: str) -> None:
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        own = operators.as_role(target, owner)
        assert PASSWORD in operators.dsn(own)
        done, seen = watched("db.rebuild", own, output)
        assert done.returncode == 0, done.stderr
        dropped, more = watched("db.drop", own, output)
        assert dropped.returncode == 0, dropped.stderr
        ((successor, marker),) = server.execute(
            "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database "
            f"WHERE shobj_description(oid, 'pg_database') LIKE '%\"{target.database}\"%'"
        )
        assert str(successor) in dropped.stdout
        for text in (done.stdout, done.stderr, dropped.stdout, dropped.stderr, seen, more, str(marker)):
            assert PASSWORD not in text
    assert "CREATE DATABASE" in done.stderr


def test_psql_gets_the_password_in_no_command_line(server: TestServer, target: Target) -> None:
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        command = ("--command", "SELECT 'in ' || current_database(), current_user, pg_sleep(0.5)")
        done, seen = watched("db.psql", operators.as_role(target, owner), "text", *command)
    assert done.returncode == 0, done.stderr
    assert f"in {target.database}" in done.stdout
    assert owner in done.stdout
    assert "pg_sleep(0.5)" in seen
    assert PASSWORD not in done.stdout + done.stderr + seen


def test_exit_code_of_psql_is_that_of_the_task(built: Target) -> None:
    done = operators.invoke_alone("db.psql", "--command", "SELECT 1 / 0", target=built)
    assert (done.returncode, "division by zero" in done.stderr) == (1, True)


def watched(task: str, target: Target, output: str, *words: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run a task, and return it with all command lines that were seen meanwhile."""
    seen: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen.append(command_lines())
            time.sleep(0.05)

    thread = threading.Thread(target=watch)
    thread.start()
    done = operators.invoke_alone(task, "--log-level", "DEBUG", "--format", output, *words, target=target)
    over.set()
    thread.join()
    return done, "\n".join(seen)


def test_password_is_in_no_event_and_no_error_of_a_migration_that_fails(
    server: TestServer, target: Target, small: dict[str, Any]
) -> None:
    (small["migrations"] / "0002_break_it.sql").write_text("-- Breaks.\nSELECT 1 / 0;\n")
    with operators.role(server) as owner:
        done = operators.operator(operators.as_role(target, owner), **small)
    assert done.returncode == 4, done.stderr
    assert "division by zero" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr


def test_password_is_in_no_traceback(server: TestServer, target: Target) -> None:
    with operators.role(server) as owner:
        own = operators.as_role(target, owner)
        code = (
            "import sys, traceback\n"
            "from dbops.database import rebuild\nfrom dbops.settings import parse_url, Target\n"
            "from tests.support.operators import options\n"
            "p = parse_url(sys.stdin.read(), 'stdin'); name = p.pop('dbname')\n"
            "def fail(event): raise RuntimeError(event)\n"
            "rebuild.rebuild(Target(p, name), options(), report=fail)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True,
            input=operators.dsn(own), check=False, timeout=60,
        )  # fmt: skip
    assert "RuntimeError" in done.stderr
    assert PASSWORD not in done.stderr
    assert PASSWORD not in repr(own)


def test_query_of_a_session_that_may_hold_a_password_is_not_shown(empty: Target) -> None:
    with postgres.maintenance(empty) as connection, servers.connect(empty) as other:
        other.execute("BEGIN")
        for query, shown in ((f"SELECT 'Password', '{VALUE}'", ""), ("SELECT 'harmless'", "SELECT 'harmless'")):
            other.execute(query.encode())
            (session,) = postgres.sessions_in(connection, empty.database)
            assert session.query == shown


def test_value_of_a_parameter_is_in_no_log(server: TestServer, built: Target) -> None:
    server.execute(f"ALTER DATABASE \"{built.database}\" SET kapman.token TO '{VALUE}'")
    done, seen = watched("db.rebuild", built, "text")
    assert done.returncode == 0, done.stderr
    assert '"kapman"."token" TO ...' in done.stderr
    assert VALUE not in done.stdout + done.stderr + seen
    with psycopg.connect(operators.dsn(built)) as connection:
        assert connection.execute("SHOW kapman.token").fetchone() == (VALUE,)
