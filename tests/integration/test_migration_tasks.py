"""The tasks that migrate, as an operator runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dbops import label, postgres
from dbops.settings import ROOT, Target
from tests.support import servers
from tests.support.migration_files import write
from tests.support.processes import run_invoke, start_invoke, surroundings
from tests.support.servers import TestServer, run

COUNT = len(list((ROOT / "db" / "migrations").glob("*.sql")))


def invoke(server: TestServer, target: Target, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a task against a target."""
    return run_invoke(*words, DATABASE_URL=server.url(target.database))


def test_migrate_applies_the_baseline_and_says_so(server: TestServer, empty: Target) -> None:
    first = invoke(server, empty, "db.migrate")
    assert (first.returncode, f"{COUNT} applied in" in first.stdout) == (0, True)
    again = invoke(server, empty, "db.migrate")
    assert (again.returncode, "nothing to apply" in again.stdout) == (0, True)


def test_plan_for_machines_is_one_object_and_runs_nothing(server: TestServer, empty: Target) -> None:
    ran = invoke(server, empty, "db.migrate", "--plan", "--format", "json")
    planned = json.loads(ran.stdout)
    assert [migration["version"] for migration in planned["pending"]] == list(range(1, COUNT + 1))
    assert {"name", "path", "size", "statements", "locks", "transaction", "lock_timeout"} <= set(planned["pending"][0])
    assert planned["pending"][0]["path"].startswith("db/migrations/0001_")
    assert json.loads(invoke(server, empty, "db.status", "--format", "json").stdout)["has_ledger"] is False


def test_check_prints_the_plan_and_leaves_nothing(server: TestServer, empty: Target) -> None:
    ran = invoke(server, empty, "db.migrate", "--plan", "--check", "--format", "json")
    found = json.loads(ran.stdout)
    assert ran.returncode == 0
    assert len(found["plan"]["pending"]) == len(found["result"]["applied"]) == COUNT
    assert found["result"]["rolled_back"] is True
    with servers.connect(empty) as connection:
        assert connection.execute("SELECT to_regnamespace('dbops') IS NULL").fetchall() == [(True,)]


def test_debug_shows_each_statement_with_its_time(server: TestServer, empty: Target) -> None:
    ran = invoke(server, empty, "db.migrate", "--to", "0002", "--log-level", "DEBUG", "--format", "json")
    events = [json.loads(line) for line in ran.stderr.splitlines()]
    statements = [event for event in events if event["event"] == "statement"]
    assert any(event["sql"].startswith("CREATE TABLE public.tickers") for event in statements)
    assert all(event["seconds"] >= 0 and "db/migrations/" in event["where"] for event in statements)
    assert [migration["version"] for migration in json.loads(ran.stdout)["applied"]] == [1, 2]


def test_status_is_green_for_what_is_as_it_should_be(server: TestServer, built: Target) -> None:
    ran = invoke(server, built, "db.status")
    assert ran.returncode == 0
    assert "PostgreSQL" in ran.stdout
    assert "TimescaleDB" in ran.stdout
    assert f"{COUNT} applied" in ran.stdout


def test_status_and_migrate_report_an_edited_file(server: TestServer, built: Target) -> None:
    run(built, f"UPDATE dbops.schema_migrations SET checksum = '{'0' * 64}' WHERE version = 2")
    ran = invoke(server, built, "db.status", "--format", "json")
    item = json.loads(ran.stdout)["items"][1]
    assert (ran.returncode, item["state"], item["entry"]["checksum"]) == (1, "edited", "0" * 64)
    refused = invoke(server, built, "db.migrate")
    assert refused.returncode == 4
    assert "0002_create_tickers: edited" in refused.stderr
    assert "with checksum 000000000000, the file now has" in refused.stderr


def test_status_counts_what_is_pending(server: TestServer, empty: Target) -> None:
    ran = invoke(server, empty, "db.status")
    assert ran.returncode == 0
    assert f"{COUNT} pending" in ran.stdout


def test_tables_without_a_ledger_are_refused_by_the_preflight(server: TestServer, empty: Target) -> None:
    run(empty, "CREATE TABLE public.somebodys (n integer)")
    ran = invoke(server, empty, "db.migrate")
    assert ran.returncode == 3
    assert "no ledger dbops.schema_migrations" in ran.stderr
    shown = invoke(server, empty, "db.status")
    assert (shown.returncode, "somebodys exists without a ledger" in shown.stdout) == (1, True)


def test_database_of_another_environment_is_refused(server: TestServer, built: Target) -> None:
    with servers.connect(built) as connection:
        label.write(connection, "prod")
    refused = invoke(server, built, "db.migrate", "--env", "dev")
    assert (refused.returncode, "is a prod database, and the environment chosen is dev" in refused.stderr) == (5, True)
    assert invoke(server, built, "db.migrate", "--env", "prod").returncode == 0


def test_second_operator_waits_and_is_told_who_holds_the_lock(server: TestServer, built: Target) -> None:
    with postgres.operator_session(built):
        ran = invoke(server, built, "db.migrate", "--timeout", "0.2")
    assert (ran.returncode, "another operator is at work" in ran.stderr) == (3, True)
    assert "waiting up to 0.2 s for another operator" in ran.stderr


@pytest.mark.slow
def test_signal_while_an_operator_is_waited_for_says_that_nothing_was_applied(
    server: TestServer, built: Target
) -> None:
    with (
        postgres.operator_session(built),
        start_invoke("db.migrate", DATABASE_URL=server.url(built.database)) as process,
    ):
        assert process.stderr
        while "waiting up to 60 s" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    # A line that is being printed when the signal comes may be printed once more.
    assert (process.returncode, said.splitlines()[-1]) == (143, "interrupted: Nothing was applied.")


def invoke_in(checkout: Path, server: TestServer, target: Target, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a task of a copy of the repository, whose migrations may be others, against a target."""
    command = [sys.executable, "-m", "invoke", *words]
    environ = surroundings(DATABASE_URL=server.url(target.database))
    return subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True, timeout=60, check=False)


def migrations_of(checkout: Path, *texts: str) -> None:
    """Have these migrations alone in a copy of the repository."""
    directory = checkout / "db" / "migrations"
    for path in directory.glob("*.sql"):
        path.unlink()
    write(directory, *texts)


@pytest.mark.slow
def test_limits_and_commits_are_those_that_the_options_say(server: TestServer, empty: Target, checkout: Path) -> None:
    look = (
        "-- lock-timeout: 1min\nCREATE TABLE public.seen AS SELECT"
        " current_setting('lock_timeout') AS l, current_setting('statement_timeout') AS s;"
    )
    migrations_of(checkout, look, "SELECT 1 / 0;")
    limits = ("--lock-timeout", "3s", "--statement-timeout", "20min")
    ran = invoke_in(checkout, server, empty, "db.migrate", *limits, "--commit", "file")
    assert (ran.returncode, "0001_do_step1 is committed" in ran.stderr) == (4, True)
    assert servers.rows(empty, "SELECT l, s FROM public.seen") == [("3s", "20min")]
    planned = invoke_in(checkout, server, empty, "db.migrate", "--plan", "--format", "json", *limits)
    (second,) = json.loads(planned.stdout)["pending"]
    assert (second["lock_timeout"], second["statement_timeout"]) == ("3s", "20min")


@pytest.mark.slow
def test_lock_budget_is_the_one_that_the_option_says(server: TestServer, empty: Target, checkout: Path) -> None:
    run(empty, "CREATE SCHEMA dbops")
    migrations_of(checkout, "-- lock-budget: 1h\nSELECT 1;")
    with servers.connect(empty) as holder:
        holder.execute("BEGIN; CREATE TABLE dbops.schema_migrations ()")
        # Were the option without effect, the migration would succeed by then.
        release = threading.Timer(20, holder.close)
        release.start()
        ran = invoke_in(checkout, server, empty, "db.migrate", "--lock-timeout", "100ms", "--lock-budget", "1s")
        release.cancel()
    assert (ran.returncode, "could not acquire a lock" in ran.stderr) == (4, True), ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("way", [[], ["--check"], ["--plan", "--check"]], ids=" ".join)
def test_option_verify_rolls_back_what_is_not_as_expected(
    server: TestServer, built: Target, checkout: Path, way: list[str]
) -> None:
    write(checkout / "db" / "migrations", "CREATE TABLE public.stray (id integer);", first=COUNT + 1)
    ran = invoke_in(checkout, server, built, "db.migrate", "--verify", *way)
    assert (ran.returncode, "would not be as expected: 1 of" in ran.stderr) == (1, True)
    assert servers.rows(built, "SELECT to_regclass('public.stray') IS NULL") == [(True,)]


@pytest.mark.parametrize("way", [[], ["--check"]], ids=" ".join)
def test_option_confirm_agrees_to_a_database_without_a_label(server: TestServer, built: Target, way: list[str]) -> None:
    run(built, "COMMENT ON SCHEMA dbops IS NULL")
    assert invoke(server, built, "db.migrate", *way).returncode == 5
    assert invoke(server, built, "db.migrate", *way, "--confirm", built.database).returncode == 0


@pytest.mark.parametrize("to", ["banana", "9999", "-1"])
def test_invalid_version_is_wrong_usage(server: TestServer, empty: Target, to: str) -> None:
    assert invoke(server, empty, "db.migrate", f"--to={to}").returncode == 2


def test_new_file_with_a_bad_name_is_wrong_usage(server: TestServer, empty: Target) -> None:
    before = sorted(Path(ROOT / "db" / "migrations").iterdir())
    ran = invoke(server, empty, "db.new", "nonsense")
    assert (ran.returncode, sorted(Path(ROOT / "db" / "migrations").iterdir())) == (2, before)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.slow
def test_signal_rolls_back_and_says_so_in_a_line(
    server: TestServer, empty: Target, sent: signal.Signals, code: int
) -> None:
    with servers.connect(empty) as holder:
        holder.execute("BEGIN; CREATE SCHEMA dbops")
        environ = {**os.environ, "DATABASE_URL": server.url(empty.database)}
        command = [sys.executable, "-m", "invoke", "db.migrate", "--lock-timeout", "1min"]
        ran = subprocess.Popen(command, env=environ, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'kapman-dbops'"
        )
        deadline = time.monotonic() + 60
        with servers.connect(empty) as looking:
            while looking.execute(waiting.encode()).fetchall() != [(1,)]:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        ran.send_signal(sent)
        said = ran.communicate(timeout=60)[1]
    assert (ran.returncode, "interrupted: Nothing was applied." in said) == (code, True)
    assert "Traceback" not in said
    with servers.connect(empty) as connection:
        assert connection.execute("SELECT to_regclass('public.tickers') IS NULL").fetchall() == [(True,)]


@pytest.mark.slow
def test_task_rehearses_without_touching_the_target(server: TestServer, empty: Target) -> None:
    ran = invoke(server, empty, "db.migrate", "--rehearse", "--format", "json")
    measured = json.loads(ran.stdout)
    assert ran.returncode == 0
    assert [migration["name"] for migration in measured] == [
        path.stem for path in sorted((ROOT / "db" / "migrations").glob("*.sql"))
    ]
    assert measured[-1]["statements"][0]["locks"] == {"public.tickers": "ACCESS EXCLUSIVE"}
    first = invoke(server, empty, "db.migrate", "--rehearse", "--to", "2", "--format", "json")
    assert [migration["version"] for migration in json.loads(first.stdout)] == [1, 2]
    with servers.connect(empty) as connection:
        assert connection.execute("SELECT to_regnamespace('dbops') IS NULL").fetchall() == [(True,)]
