"""The verbs as Invoke lists and explains them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.exceptions import Exit

import tasks
from dbops.settings import ROOT

VERBS = {
    "db": [
        "create",
        "diagram",
        "drift",
        "drop",
        "fingerprint",
        "migrate",
        "new",
        "rebuild",
        "status",
        "verify",
        "wait",
    ],
    "server": ["destroy", "down", "install", "logs", "status", "up"],
}


def invoke(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    base = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "invoke", *words],
        cwd=ROOT,
        env={**base, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_list_of_tasks_stays_light_and_complete() -> None:
    listed = invoke("--list")
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in listed.stderr.splitlines()}
    assert "dataclasses" in imported
    assert not imported & {"dbops", "psycopg", "rich", "sqlfluff", "dotenv"}
    for collection, verbs in VERBS.items():
        for verb in verbs:
            assert f"  {collection}.{verb} " in listed.stdout


def bytecode(directory: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in directory.rglob("*.pyc")}


def test_bytecode_of_what_a_verb_imports_is_kept_unless_the_environment_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    environ = {"DATABASE_URL": "postgresql://h", "PYTHONPYCACHEPREFIX": str(tmp_path / "none")}
    assert invoke("db.status", PYTHONDONTWRITEBYTECODE="1", **environ).returncode == 2
    assert bytecode(tmp_path / "none") == set()
    assert invoke("db.status", **{**environ, "PYTHONPYCACHEPREFIX": str(tmp_path / "kept")}).returncode == 2
    assert {"settings", "console", "conninfo"} <= bytecode(tmp_path / "kept")


@pytest.mark.parametrize("task", [f"db.{verb}" for verb in VERBS["db"] if verb != "new"])
def test_help_of_each_task_explains_the_common_options(task: str) -> None:
    text = invoke("--help", task).stdout
    for option in ("--url", "--env", "--format", "--log-level"):
        assert option in text


INTERRUPTED = """
import os, signal, sys

class Watcher:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.Signals[sys.argv[2]])

sys.meta_path.insert(0, Watcher())
from invoke.main import program
sys.argv[0] = "invoke"
program.run(["invoke", "db.status"])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("module", ["dbops.report", "rich.console", "psycopg", "dbops.migrations"])
def test_signal_while_a_verb_is_being_loaded_ends_it_with_a_sentence(module: str, number: signal.Signals) -> None:
    command = [sys.executable, "-c", INTERRUPTED, module, number.name]
    environ = {**os.environ, "DATABASE_URL": "postgresql://127.0.0.1:1/d"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 128 + number, done.stderr
    assert done.stderr.startswith("interrupted: ")
    assert len(done.stderr.splitlines()) == 1


URL = "postgresql://u:s3kret-w0rd@127.0.0.1/d"


@pytest.mark.parametrize("log_level", ["INFO", "DEBUG"])
def test_unforeseen_exception_is_a_report_without_the_password_and_exit_code_70(
    log_level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit) as ended, tasks.running("text", log_level) as run:  # noqa: PT012
        run.settings(URL, "dev")
        run.settings(URL, None).target.parameters["s3kret-w0rd"]
    said = capsys.readouterr().err
    assert ended.value.code == 70
    assert said.startswith("error: unexpected error: KeyError: '***'\n  --> ")
    assert "hint: This is a bug." in said
    assert "s3kret" not in said
    assert ("Traceback (most recent call last)" in said) == (log_level == "DEBUG")


def test_unforeseen_exception_before_the_target_is_known_shows_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit) as ended, tasks.running("json", "DEBUG"):
        raise ValueError(URL)
    assert ended.value.code == 70
    assert json.loads(capsys.readouterr().err)["what"] == "unexpected error: ValueError"


def test_signal_handlers_are_those_of_the_caller_again_after_a_verb() -> None:
    before = [signal.getsignal(number) for number in tasks.SIGNALS]
    with pytest.raises(Exit), tasks.running("text", "INFO") as run:  # noqa: PT012
        assert [signal.getsignal(number) for number in tasks.SIGNALS] != before
        run.code = 1
    assert [signal.getsignal(number) for number in tasks.SIGNALS] == before
