"""What texts advise can be typed as it stands: the program, the target's words, and where the target came from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from dbops import settings
from dbops.report.commands import CommandLine
from tests.support.processes import run_invoke

URL = "postgresql://u:s3kret@127.0.0.1:1/other"
LINE = CommandLine(
    "uv run invoke", "--env test", "--url", {"db.rebuild": "kapman.rebuild"}, frozenset({"db.rebuild", "db.create"})
)
COMPLETED = {
    "run `invoke db.create`.": "run `uv run invoke db.create --env test`.",
    "`invoke db.drop db.create`, or": "`uv run invoke db.drop db.create --env test`, or",
    "`invoke db.rebuild --confirm kapman_dev`": "`uv run invoke kapman.rebuild --confirm kapman_dev --env test`",
    "`invoke db.create --env prod`": "`uv run invoke db.create --env prod`",
    "`invoke server.up`": "`uv run invoke server.up`",
    "`invoke --help db.create`": "`uv run invoke --help db.create`",
    "correct the name in DATABASE_URL.": "correct the name in --url.",
    "put its own host into DATABASE_URL": "put its own host into --url",
    "DATABASE_URL is set, but empty": "DATABASE_URL is set, but empty",
    "a table `invoke` of others": "a table `invoke` of others",
}


@pytest.mark.parametrize("text", COMPLETED)
def test_command_in_a_text_is_completed_for_the_target_at_hand(text: str) -> None:
    assert LINE.complete(text) == COMPLETED[text]


@pytest.mark.parametrize(
    ("url", "env", "words"),
    [
        (None, None, ""),
        (None, "test", "--env test"),
        ("postgresql://u@h/d?sslmode=require", None, "--url 'postgresql://u@h/d?sslmode=require'"),
        ("postgresql://u:s3kret@h:5/d", "prod", "--env prod --url postgresql://u@h:5/d"),
        ("postgresql://h/d?password=s3kret", None, "--url postgresql://h/d"),
        ("host=h dbname=d sslpassword=s3kret", None, "--url postgresql://h/d"),
        ("postgresql://u:s3/kret@h/d", None, ""),
    ],
)
def test_words_that_name_the_target_are_repeated_without_a_password(
    url: str | None, env: str | None, words: str
) -> None:
    assert settings.target_words(url, env) == words


def failed(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    done = run_invoke(*words, **environ)
    assert "s3kret" not in done.stderr + done.stdout
    return done


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_hint_has_the_words_of_the_command_line_and_names_the_source_of_the_target(output_format: str) -> None:
    done = failed("db.status", "--url", URL, "--env", "test", "--format", output_format, UV_RUN_RECURSION_DEPTH="1")
    said = json.loads(done.stderr.splitlines()[-1])["hint"] if output_format == "json" else done.stderr
    assert done.returncode == 3
    assert "correct host and port in --url" in said
    done = failed("db.status", DATABASE_URL=URL)
    assert "correct host and port in DATABASE_URL" in done.stderr


def test_hint_of_a_task_started_by_uv_can_be_typed_again(tmp_path: Path) -> None:
    environ = {"KAPMAN_SERVER_DIR": str(tmp_path / "none"), "UV_RUN_RECURSION_DEPTH": "1"}
    done = failed("db.status", "--env", "test", **environ)
    assert "uv run invoke db.rebuild --env test`" in done.stderr
    assert done.returncode == 3


def test_annotation_of_github_has_the_complete_command_too(tmp_path: Path) -> None:
    environ = {"KAPMAN_SERVER_DIR": str(tmp_path / "none"), "GITHUB_ACTIONS": "true"}
    done = failed("db.status", "--env", "test", **environ)
    assert "`invoke db.rebuild --env test`" in done.stderr.splitlines()[-1]
