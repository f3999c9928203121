import subprocess
import sys

import pytest

from dbops.settings import ROOT

VERBS = {
    "db": ["create", "drop", "migrate", "rebuild", "status", "verify", "wait"],
    "server": ["destroy", "down", "install", "logs", "status", "up"],
}


def invoke(*words):
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "invoke", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_list_of_tasks_stays_light_and_complete():
    listed = invoke("--list")
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in listed.stderr.splitlines()}
    assert "tasks" in imported
    assert not imported & {"psycopg", "rich", "sqlfluff", "dotenv"}
    for collection, verbs in VERBS.items():
        for verb in verbs:
            assert f"  {collection}.{verb} " in listed.stdout


@pytest.mark.parametrize("task", [f"db.{verb}" for verb in VERBS["db"]])
def test_help_of_each_task_explains_the_common_options(task):
    text = invoke("--help", task).stdout
    for option in ("--url", "--env", "--format", "--log-level"):
        assert option in text
