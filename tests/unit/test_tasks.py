"""The verbs as Invoke lists and explains them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
