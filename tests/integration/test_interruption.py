"""Ctrl-C, SIGTERM and kill -9 at any moment: nothing hangs, nothing is left over, the next run succeeds."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dbops import postgres
from dbops.database import existing, properties, rebuild
from dbops.errors import PreflightError, ServerError
from dbops.events import ignore
from dbops.migrations.files import discover
from dbops.settings import ROOT, Target
from tests.support import operators
from tests.support.operators import operator, options, scheduler_runs, works
from tests.support.processes import run_invoke
from tests.support.servers import TestServer

pytestmark = pytest.mark.slow

# What an operator reports while rebuilding a database, in this order: before the target is touched, ...
BEFORE_IT_CLOSES = (
    "StepStarted(step='preflight'",
    "CREATE DATABASE",
    "CONNECTION LIMIT 0",
    "StepFinished(step='migrate'",
    "StepStarted(step='swap'",
)
# ... while it is closed (a renaming is reported before its commit), ...
WHILE_IT_IS_CLOSED = ("text='closed ", "RENAME TO")
# ... and when the new database is in place.
AFTER_THE_SWAP = ("StepFinished(step='swap'", "StepStarted(step='drop'", "StepFinished(step='drop'")


@pytest.fixture
def scheduled(small: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Return the least that can be built with TimescaleDB, whose scheduler has to run in the end."""
    (tmp_path / "scheduled").mkdir()
    shutil.copy(ROOT / "db" / "migrations" / "0001_create_timescaledb_extension.sql", tmp_path / "scheduled")
    return {**small, "migrations": tmp_path / "scheduled"}


def set_apart(server: TestServer, target: Target) -> properties.Properties:
    """Give a database properties of its own, and return them."""
    server.execute(f'ALTER DATABASE "{target.database}" CONNECTION LIMIT 23')
    server.execute(f"ALTER DATABASE \"{target.database}\" SET work_mem TO '7MB'")
    with postgres.maintenance(target) as connection:
        found = properties.find_database(connection, target.database)
    assert found
    return found.properties


def assert_as_new(server: TestServer, target: Target, had: properties.Properties, scheduled: dict[str, Any]) -> None:
    """Assert that a rebuild, of whatever is there, ends in the same state and leaves nothing over."""
    result = rebuild.rebuild(target, options(yes=True, **scheduled))
    with postgres.maintenance(target) as connection:
        found = properties.find_database(connection, target.database)
    assert found
    assert found.properties == had
    assert result.rows == 0
    assert operators.scratch_databases(server) == []
    assert scheduler_runs(server, target.database)


def kill(target: Target, moment: str, small: dict[str, Any]) -> None:
    """Let an operator begin a rebuild and die."""
    died = operator(target, **small, at=moment, action="SIGKILL")
    assert died.returncode == -signal.SIGKILL, died.stderr


def test_after_a_kill_before_the_swap_the_next_command_puts_everything_right(
    server: TestServer, precious: Target, small: dict[str, Any], scheduled: dict[str, Any]
) -> None:
    had = set_apart(server, precious)
    for moment in (*BEFORE_IT_CLOSES, *WHILE_IT_IS_CLOSED):
        kill(precious, moment, small)
        assert not rebuild.create(precious, options()).created
        assert works(server, precious)
        assert operators.scratch_databases(server) == []
    assert_as_new(server, precious, had, scheduled)


def test_after_a_kill_after_the_swap_the_next_rebuild_ends_in_the_same_state(
    server: TestServer, empty: Target, scheduled: dict[str, Any]
) -> None:
    had = set_apart(server, empty)
    for moment in AFTER_THE_SWAP:
        kill(empty, moment, scheduled)
        assert_as_new(server, empty, had, scheduled)


def test_after_a_kill_amid_the_real_migrations_the_next_rebuild_builds_the_whole_baseline(target: Target) -> None:
    died = operator(target, at="item='0005_", action="SIGKILL")
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert rebuild.rebuild(target, options()).migrations == len(discover(options().migrations))


@pytest.mark.soak
def test_after_a_kill_at_any_event_at_all_the_next_rebuild_ends_in_the_same_state(
    server: TestServer, served: Target, scheduled: dict[str, Any]
) -> None:
    had = set_apart(server, served)
    # The first one replaces the baseline, and warns of more than those after it.
    for _ in range(2):
        operators.fill(served, 1)
        events = operator(served, **scheduled).stdout.splitlines()
    for number in range(1, len(events) + 1):
        operators.fill(served, 1)
        died = operator(served, **scheduled, at=f"#{number}", action="SIGKILL")
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert_as_new(server, served, had, scheduled)


def test_interruption_before_the_swap_leaves_everything_as_it_was(
    server: TestServer, precious: Target, small: dict[str, Any]
) -> None:
    names = {"SIGINT": 130, "SIGTERM": 143}
    for moment, name in zip((*BEFORE_IT_CLOSES, *WHILE_IT_IS_CLOSED), itertools.cycle(names)):
        done = operator(precious, **small, at=moment, action=name)
        assert done.returncode == names[name], done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith("interrupted: ")
        assert precious.database in last
        assert ("was not dropped and works as before" if moment in WHILE_IT_IS_CLOSED else "was not changed") in last
        assert "Traceback" not in done.stderr
        assert works(server, precious)
        assert operators.scratch_databases(server) == []


def test_interruption_after_the_swap_leaves_the_new_database(
    server: TestServer, empty: Target, scheduled: dict[str, Any]
) -> None:
    had = set_apart(server, empty)
    for moment in AFTER_THE_SWAP:
        done = operator(empty, **scheduled, at=moment, action="SIGINT")
        assert done.returncode == 130
        assert done.stderr.splitlines()[-1] == (
            f"interrupted: {empty.database} is in place, and open: nothing is left to do."
        )
        assert scheduler_runs(server, empty.database)
    assert_as_new(server, empty, had, scheduled)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_interruption_ends_the_statement_that_runs(
    server: TestServer, precious: Target, small: dict[str, Any], tmp_path: Path, name: str, code: int
) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "0001_wait_long.sql").write_text("-- Waits.\nSELECT pg_sleep(300);\n")
    process = operators.started(precious, **{**small, "migrations": slow})
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(300)%' AND wait_event = 'PgSleep'"
    try:
        deadline = time.monotonic() + 60
        while not server.execute(sleeping) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.Signals[name])
        _, said = process.communicate()
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.returncode == code, said
    assert not server.execute(sleeping)
    assert works(server, precious)
    assert operators.scratch_databases(server) == []


def test_interruption_while_waiting_for_another_operator_changes_nothing(
    server: TestServer, precious: Target, small: dict[str, Any]
) -> None:
    command = [sys.executable, "-m", "invoke", "db.drop", "--yes", "--timeout", "60"]
    with postgres.operator_session(precious):
        process = subprocess.Popen(
            command, cwd=ROOT, env=operators.surroundings(precious), stderr=subprocess.PIPE, text=True
        )
        assert process.stderr
        assert f"for {precious.database}, which is locked by process" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert said.splitlines()[-1] == f"interrupted: {precious.database} was not changed."
    assert works(server, precious)


def test_closed_database_is_refused_by_migrate_named_by_status_and_keeps_its_properties(
    server: TestServer, empty: Target, scheduled: dict[str, Any]
) -> None:
    had = set_apart(server, empty)
    kill(empty, WHILE_IT_IS_CLOSED[0], scheduled)
    with pytest.raises(ServerError) as refused:
        existing.migrate(empty, discover(scheduled["migrations"]))
    assert f"{empty.database} is closed since" in refused.value.hint
    assert "is closed" in run_invoke("db.status", DATABASE_URL=operators.dsn(empty)).stderr
    assert_as_new(server, empty, had, scheduled)


def test_database_that_was_closed_after_a_migration_had_connected_is_not_migrated(
    server: TestServer, empty: Target, small: dict[str, Any]
) -> None:
    """An operator that closed it and was killed is not seen at work any more: the comment alone tells."""
    with postgres.maintenance(empty) as connection:
        found = properties.find_database(connection, empty.database)
        assert found
        marker = properties.marker(properties.Kind.CLOSED, empty.database, found.properties)
        postgres.run(connection, properties.marking(empty.database, marker), ignore)
    with pytest.raises(PreflightError, match=f"{empty.database} is closed"):
        existing.migrate(empty, discover(small["migrations"]))
    assert server.execute("SELECT to_regclass('public.least') IS NULL", empty.database) == [(True,)]


def test_owners_closed_database_is_opened_as_well(server: TestServer, target: Target, small: dict[str, Any]) -> None:
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        own = operators.as_role(target, owner)
        with postgres.maintenance(own) as connection:
            before = properties.find_database(connection, target.database)
        kill(own, "RENAME TO", small)
        rebuild.rebuild(own, options(**small))
        with postgres.maintenance(own) as connection:
            after = properties.find_database(connection, target.database)
        assert before
        assert after
        assert after.properties.effective_acl() == before.properties.effective_acl()
        assert replace(after.properties, acl=None) == before.properties


def test_interruption_before_there_is_a_database_says_that_there_is_none(target: Target, small: dict[str, Any]) -> None:
    stopped = operator(target, **small, at="CREATE DATABASE", action="SIGTERM")
    assert f"There is no database {target.database}: `invoke db.rebuild` builds it." in stopped.stdout + stopped.stderr
    assert "scheduler" not in stopped.stdout + stopped.stderr
