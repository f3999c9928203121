"""A command line means one thing: one target, no option without effect, every verb that is named."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from dbops.verb import running
from tests.support.processes import run_invoke

ONE = "postgresql://127.0.0.1:1/one"
TWO = "postgresql://127.0.0.1:1/two"


@pytest.mark.parametrize(
    "words",
    [
        f"db.status --url {ONE} db.create --url {TWO}",
        f"db.status --url {ONE} db.create db.verify --url {TWO}",
        f"db.status --env dev --url {ONE} db.create --env test",
    ],
)
def test_two_targets_on_one_command_line_are_wrong_usage_before_anything_runs(words: str) -> None:
    done = run_invoke(*words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: the tasks of one command line work on one database, but two are named\n")


@pytest.mark.parametrize("words", [f"db.status --url {ONE} db.create", f"db.status db.create --url {ONE}"])
def test_target_that_is_named_once_holds_for_all_tasks(words: str, tmp_path: Path) -> None:
    done = run_invoke(*words.split(), KAPMAN_SERVER_DIR=str(tmp_path / "none"), DATABASE_URL=TWO)
    assert done.returncode == 3
    assert "one on 127.0.0.1:1" in done.stderr
    assert "two" not in done.stderr


LOOKING = ["db.status", "db.verify", "db.drift", "db.rebuild --plan", "db.migrate --plan", "db.fingerprint", "db.psql",
           "db.wait --timeout 1", "db.diagram", "db.migrate", "db.drop --yes"]  # fmt: skip


@pytest.mark.parametrize("words", LOOKING)
def test_only_what_builds_a_database_makes_a_server(words: str, tmp_path: Path) -> None:
    done = run_invoke(*words.split(), KAPMAN_SERVER_DIR=str(tmp_path / "none"))
    assert done.returncode == 3
    assert "there is no embedded server, and no other server is named" in done.stderr
    assert list(tmp_path.iterdir()) == []


EMPTY = {
    "db.rebuild --confirm=": "--confirm",
    "db.migrate --to=": "--to",
    "db.drift --against=": "--against",
    "db.migrate --lock-budget=": "--lock-budget",
    "db.migrate --lock-timeout=": "--lock-timeout",
    "db.migrate --statement-timeout=": "--statement-timeout",
    "db.migrate --commit=": "--commit",
    "db.verify --only=": "--only",
    "db.verify --only=,": "--only",
    "db.verify --output=": "--output",
    "db.diagram --output=": "--output",
    "db.psql --command=": "--command",
    "db.wait --timeout=": "--timeout",
    "db.status --format=": "--format",
    "db.status --log-level=": "--log-level",
    "db.status --url=": "--url",
    "db.status --env=": "--env",
    "server.up --port=": "--port",
    "server.destroy --confirm=": "--confirm",
    "server.logs --lines=": "--lines",
}


@pytest.mark.parametrize("words", EMPTY)
def test_option_that_is_given_and_empty_never_means_its_default(words: str, tmp_path: Path) -> None:
    done = run_invoke(*words.split(), KAPMAN_SERVER_DIR=str(tmp_path / "none"), DATABASE_URL=ONE)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"\n  --> {EMPTY[words]}\n" in done.stderr


def test_name_of_a_new_file_that_is_empty_is_wrong_usage() -> None:
    assert "error: NAME is empty" in run_invoke("db.new", "").stderr


def test_dry_run_that_invoke_takes_from_a_variable_changes_nothing() -> None:
    done = run_invoke("db.drop", "--yes", DATABASE_URL=ONE, INVOKE_RUN_DRY="1")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2,
        "error: Invoke's dry run does not reach the tasks of this project",
    )


LONG = "a_" + "b" * 5000
ODD = {
    ("db.migrate", "--to", "9" * 5000): "invalid version",
    ("db.migrate", "--to", "٣"): "invalid version",
    ("db.migrate", "--commit", "b" * 5000): "unknown commit",
    ("db.migrate", "--lock-budget", "9" * 5000): "longer than PostgreSQL allows",
    ("db.wait", "--timeout", "9" * 5000): "longer than PostgreSQL allows",
    ("db.rebuild", "--repeat", "9" * 5000): "must be a positive integer",
    ("server.logs", "--lines", "9" * 5000): "must be a positive integer",
    ("server.up", "--port", "9" * 5000): "invalid port",
    ("db.new", LONG): "invalid migration name",
    ("db.new", "--renumber", LONG): "no migration",
    ("db.verify", "--output", "b" * 300): "cannot write the result",
    ("db.verify", "--only", "b" * 300): "no check file",
    ("db.status", "--env", "b" * 300): "unknown environment",
    ("db.status", "--url", f"postgresql://127.0.0.1:1/{'b' * 300}"): "the database name is 300 bytes long",
}


@pytest.mark.parametrize("words", ODD, ids=lambda words: " ".join(words)[:24])
def test_value_that_is_too_long_is_wrong_usage(words: tuple[str, ...], tmp_path: Path) -> None:
    done = run_invoke(*words, KAPMAN_SERVER_DIR=str(tmp_path / "none"), DATABASE_URL=ONE)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert ODD[words] in done.stderr


def test_error_of_the_file_system_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit) as ended, running("text", "INFO"):
        raise PermissionError(errno.EACCES, "Permission denied", "db/migrations/0007_add_x.sql")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(
        "error: cannot use a file: Permission denied\n  --> db/migrations/0007_add_x.sql\nhint: "
    )
