"""Tasks in unusual surroundings: closed streams, variables of libpq, several tasks in a row."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest

from dbops.settings import ROOT, Target
from tests.support import operators, servers
from tests.support.processes import run_invoke, start_invoke
from tests.support.servers import TestServer

# The program, which gets a signal as soon as it answers signals.
EARLY = """
import os, signal, sys
from dbops import cli
answer = cli.end_on_signals
def answering():
    answer()
    os.kill(os.getpid(), signal.SIGHUP)
cli.end_on_signals = answering
sys.argv[0] = "kapman"
cli.main()
"""


def shell(command: str, target: Target, **environ: str) -> subprocess.CompletedProcess[str]:
    surroundings = {**os.environ, "DATABASE_URL": operators.dsn(target), "INVOKE": f"{sys.executable} -m invoke"}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT, env={**surroundings, **environ}, text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip


ALL_CLOSED = "<&- >&- 2>&-"


@pytest.mark.slow
def test_closed_stream_is_as_one_that_nothing_reads_or_writes(built: Target) -> None:
    operators.fill(built)
    tasks = {"db.status": 0, "db.psql -c 'SELECT 1'": 0, "server.status": 3, "db.rebuild": 5}
    commands = [(task, ALL_CLOSED) for task in tasks]
    commands += [("db.status", ">&-"), ("db.status", "2>&-"), ("db.rebuild", "<&-"), ("db.psql -c 'SELECT 1'", "<&-")]
    for task, closed in commands:
        done = shell(f"$INVOKE {task} {closed}", built, KAPMAN_SERVER_DIR="/nonexistent/kapman")
        assert (done.returncode, "Traceback" in done.stderr) == (tasks[task], False), f"{task} {closed}\n{done.stderr}"
    assert operators.rows_left(built) == operators.ROWS


@pytest.mark.slow
def test_each_task_that_is_named_runs_and_the_first_failure_stops_the_rest(server: TestServer, built: Target) -> None:
    url = server.url(built.database)
    done = run_invoke("db.fingerprint", "db.verify", "db.fingerprint", DATABASE_URL=url)
    first, *_, last = done.stdout.splitlines()
    assert (done.returncode, first) == (0, last)
    server.execute("CREATE TABLE extra (a integer)", built.database)
    done = run_invoke("db.verify", "db.create", "db.verify", DATABASE_URL=url)
    assert done.returncode == 1
    assert "Create" not in done.stderr


@pytest.mark.slow
def test_one_url_holds_for_all_tasks_of_a_command_line(server: TestServer, target: Target, tmp_path: Path) -> None:
    done = run_invoke(
        "db.drop", "db.create", "--url", server.url(target.database), "db.migrate", "db.verify",
        KAPMAN_SERVER_DIR=str(tmp_path / "none"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert operators.exists(server, target.database)
    assert list(tmp_path.iterdir()) == []


def test_variables_of_libpq_name_the_database_as_for_psql(server: TestServer, built: Target) -> None:
    variables = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    environ = {name: server.parameters[key] for key, name in variables.items() if key in server.parameters}
    environ |= {"PGDATABASE": built.database, "PGDATESTYLE": "German", "PGTZ": "Asia/Tokyo", "PGOPTIONS": "-c jit=on"}
    # For each task of a command line, although no session of the first one takes them from the environment.
    done = run_invoke("db.status", "db.status", **environ)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"Status of {built.database} on {server.target().server}") == 2


def test_several_hosts_are_refused_wherever_they_come_from(built: Target) -> None:
    hosts = {"PGHOST": "a.invalid,b.invalid", "DATABASE_URL": f"postgresql:///{built.database}"}
    for environ in (hosts, {"PGHOSTADDR": "127.0.0.1,127.0.0.2", "DATABASE_URL": f"postgresql://h/{built.database}"}):
        done = run_invoke("db.rebuild", "--plan", **environ)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert "more than one host is named" in done.stderr


@pytest.mark.parametrize("words", ["", "--command", "-c"])
def test_psql_without_a_server_is_no_wrong_usage(words: str) -> None:
    url = f"postgresql://127.0.0.1:{servers.free_port()}/kapman_dev"
    done = run_invoke("db.psql", *([words, "SELECT 1"] if words else []), DATABASE_URL=url)
    assert done.returncode == 3
    assert "Connection refused" in done.stderr


@pytest.mark.slow
def test_signal_that_the_caller_ignores_ends_no_task() -> None:
    url = f"postgresql://u@127.0.0.1:{servers.free_port()}/kapman_dev"
    command = f"trap '' HUP; exec {sys.executable} -m invoke db.wait --timeout 3 --url {url}"
    with subprocess.Popen(["bash", "-c", command], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert "waiting" in process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        said = process.stderr.read()
    assert (process.returncode, "interrupted" in said) == (3, False)
    # Before a task runs, too.
    command = f"trap '' HUP; {sys.executable} -c {shlex.quote(EARLY)} db.status --url {url}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "interrupted" in done.stderr) == (3, False)


FOREIGN = {
    "db.status": 1,
    "db.status --require-current": 1,
    "db.migrate": 3,
    "db.migrate --plan": 3,
    "db.verify": 1,
    "db.drift": 1,
    "db.rebuild --yes": 5,
    "db.drop --yes": 5,
    "db.rebuild --plan": 0,
}


def test_foreign_database_is_met_with_the_advice_to_correct_its_name_first(server: TestServer, empty: Target) -> None:
    server.execute("CREATE TABLE orders (id integer)", empty.database)
    url = server.url(empty.database)
    for words, code in FOREIGN.items():
        done = run_invoke(*words.split(), "--url", url, "--env", "test")
        assert done.returncode == code, f"{words}\n{done.stderr}"
        said = done.stdout + done.stderr
        advice = [line for line in said.splitlines() if line.startswith(("hint: ", "  next    "))]
        assert advice, words
        for line in advice:
            # No command that builds or migrates another database: each names this one.
            named = re.findall(rf"--env test --url [^`]*\b(?:dbname=|:\d+/){empty.database}\b[^`]*`", line)
            assert line.count("`invoke ") == len(named), line
            assert "password=" not in line
        if words not in ("db.rebuild --plan", "db.drift", "db.drop --yes"):
            assert "correct the" in advice[-1].lower(), f"{words}\n{said}"
            before, _, _ = advice[-1].lower().partition("correct the")
            assert "db.rebuild" not in before, said


def test_environment_that_is_not_the_labels_is_said_where_a_task_looks(server: TestServer, built: Target) -> None:
    url = server.url(built.database)
    assert "labelled" not in run_invoke("db.status", "--url", url).stderr
    done = run_invoke("db.status", "--url", url, "--env", "prod")
    assert "warning labelled dev, and the environment chosen is prod" in done.stderr


@pytest.mark.slow
def test_interruption_of_a_task_that_looks_says_that_nothing_was_changed() -> None:
    url = f"postgresql://u@127.0.0.1:{servers.free_port()}/kapman_dev"
    with start_invoke("db.wait", "--timeout", "60", DATABASE_URL=url) as process:
        assert process.stderr
        assert "waiting" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert said.splitlines()[-1] == "interrupted: nothing was changed: the task only reads."


@pytest.mark.slow
def test_interruption_of_a_question_says_that_nothing_was_agreed_to(built: Target) -> None:
    operators.fill(built)
    words = ["-m", "invoke", "db.drop", "--url", operators.dsn(built)]
    with pexpect.spawn(sys.executable, words, cwd=ROOT, encoding="utf-8", timeout=60) as terminal:
        terminal.expect("Type the database name")
        terminal.sendintr()
        terminal.expect("interrupted: ")
        said = terminal.read()
        terminal.close()
    assert terminal.exitstatus == 130
    assert "Traceback" not in said
    assert operators.rows_left(built) == operators.ROWS


def test_interruption_of_a_statement_in_psql_ends_neither_psql_nor_the_tasks_behind_it(built: Target) -> None:
    words = ["-m", "invoke", "db.psql", "db.status", "--url", operators.dsn(built)]
    environ = {**os.environ, "PAGER": "cat"}
    with pexpect.spawn(sys.executable, words, cwd=ROOT, env=environ, encoding="utf-8", timeout=60) as terminal:
        terminal.expect("=[#>] ")
        terminal.sendline("SELECT 'wai' || 'ting';\nSELECT pg_sleep(60);")
        terminal.expect("waiting")
        terminal.expect("=[#>] ")
        time.sleep(0.5)
        terminal.sendintr()
        terminal.expect("canceling statement due to user request")
        terminal.sendintr()
        terminal.sendline("SELECT 'still ' || 'there';")
        terminal.expect("still there")
        terminal.sendline("\\q")
        said = terminal.read()
        terminal.close()
    assert (terminal.exitstatus, f"{built.database}: " in said, "interrupted" in said) == (0, True, False)
