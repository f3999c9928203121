"""Ctrl-C, SIGTERM and kill -9 at any moment: nothing hangs, nothing is left over, the next run succeeds."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dbops import lifecycle, migrations, postgres, rebuild
from dbops.errors import PreflightError
from dbops.lifecycle import properties
from dbops.lifecycle.ddl import default_properties
from dbops.lifecycle.server import read
from dbops.lock import operator_lock
from dbops.settings import ROOT, Target
from tests.support import operators
from tests.support.operators import exists, operator, options, scheduler_runs, works

# What an operator reports while rebuilding a database that holds rows, in this order.
BEFORE_THE_DROP = (
    "StepStarted(step='preflight'",
    "step='rehearse'",
    "text='migrate: 1 applied'",
    "StepFinished(step='rehearse'",
    "ALLOW_CONNECTIONS false",
)
AFTER_THE_DROP = (
    "StepFinished(step='drop'",
    "CONNECTION LIMIT 0",
    "RENAME TO",
    "StepFinished(step='create'",
    "StepFinished(step='migrate'",
    "step='open'",
    "StepFinished(step='open'",
)


def set_apart(server, target: Target) -> properties.Properties:
    """Give a database properties of its own, and return them."""
    server.execute(f'ALTER DATABASE "{target.database}" CONNECTION LIMIT 23')
    server.execute(f"ALTER DATABASE \"{target.database}\" SET work_mem TO '7MB'")
    with postgres.maintenance(target) as connection:
        found = properties.find(connection, target.database)
    assert found
    return found.properties


def assert_as_new(server, target: Target, state: Path, had: properties.Properties, small: dict[str, Path]) -> None:
    """Assert that a rebuild, of whatever is there, ends in the same state and leaves nothing over."""
    result = rebuild.rebuild(target, options(state, yes=True, **small))
    with postgres.maintenance(target) as connection:
        found = properties.find(connection, target.database)
    assert found
    assert found.properties == had
    assert result.rows == 0
    assert list(state.iterdir()) == []
    assert operators.scratch_databases(server) == []
    assert scheduler_runs(server, target.database)


def kill(target: Target, state: Path, moment: str, small: dict[str, Path]) -> None:
    """Let an operator begin a rebuild and die."""
    died = operator(target, state, **small, at=moment, action="SIGKILL")
    assert died.returncode == -signal.SIGKILL, died.stderr


def test_after_a_kill_before_the_drop_the_next_command_puts_everything_right(server, precious, state, small):
    had = set_apart(server, precious)
    for moment in BEFORE_THE_DROP:
        kill(precious, state, moment, small)
        assert not rebuild.create(precious, options(state)).created
        assert works(server, precious)
        assert not state.exists() or list(state.iterdir()) == []
        # The server may take a moment to notice that the operator's sessions are dead.
        deadline = time.monotonic() + 10
        while operators.scratch_databases(server) and time.monotonic() < deadline:
            lifecycle.sweep(precious)
            time.sleep(0.1)
        assert operators.scratch_databases(server) == []
    assert_as_new(server, precious, state, had, small)


def test_after_a_kill_later_on_the_next_rebuild_ends_in_the_same_state(server, empty, state, small):
    had = set_apart(server, empty)
    for moment in AFTER_THE_DROP:
        kill(empty, state, moment, small)
        assert_as_new(server, empty, state, had, small)


def test_after_a_kill_amid_the_real_migrations_the_next_rebuild_builds_the_whole_baseline(target, state):
    died = operator(target, state, at="item='0005_", action="SIGKILL")
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert rebuild.rebuild(target, options(state)).migrations == len(migrations.discover(options(state).migrations))


@pytest.mark.soak
def test_after_a_kill_at_any_event_at_all_the_next_rebuild_ends_in_the_same_state(server, served, state, small):
    had = set_apart(server, served)
    operators.fill(served, 1)
    events = operator(served, state, **small).stdout.splitlines()
    for number in range(1, len(events) + 1):
        operators.fill(served, 1)
        died = operator(served, state, **small, at=f"#{number}", action="SIGKILL")
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert_as_new(server, served, state, had, small)


def test_interruption_before_the_drop_leaves_everything_as_it_was(server, precious, state, small):
    names = {"SIGINT": 130, "SIGTERM": 143}
    for moment, name in zip(BEFORE_THE_DROP, itertools.cycle(names)):
        done = operator(precious, state, **small, at=moment, action=name)
        assert done.returncode == names[name], done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith("interrupted: ")
        assert precious.database in last
        fence = moment == "ALLOW_CONNECTIONS false"
        assert ("was not dropped and works as before" if fence else "`invoke db.rebuild`") in last
        assert "Traceback" not in done.stderr
        assert works(server, precious)
        assert not state.exists() or list(state.iterdir()) == []
        assert operators.scratch_databases(server) == []


def test_interruption_of_the_build_leaves_no_half_built_database(server, empty, state, small):
    had = set_apart(server, empty)
    for moment in ("CONNECTION LIMIT 0", "RENAME TO", "StepFinished(step='create'", "step='open'"):
        done = operator(empty, state, **small, at=moment, action="SIGINT")
        assert done.returncode == 130, done.stderr
        assert "is dropped, its properties are kept: `invoke db.rebuild` continues." in done.stderr.splitlines()[-1]
        assert not exists(server, empty.database)
        assert operators.scratch_databases(server) == []
    assert_as_new(server, empty, state, had, small)


def test_interruption_after_all_is_done_leaves_the_new_database(server, empty, state, small):
    done = operator(empty, state, **small, at="StepFinished(step='open'", action="SIGINT")
    assert done.returncode == 130
    assert "is rebuilt and open" in done.stderr.splitlines()[-1]
    assert scheduler_runs(server, empty.database)
    assert list(state.iterdir()) == []


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_interruption_ends_the_statement_that_runs(server, precious, state, small, tmp_path, name, code):
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "0001_wait_long.sql").write_text("-- Waits.\nSELECT pg_sleep(300);\n")
    process = operators.started(precious, state, migrations=slow, verify=small["verify"])
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(300)%' AND wait_event = 'PgSleep'"
    try:
        deadline = time.monotonic() + 60
        while not server.execute(sleeping) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.Signals[name])
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, said
    assert not server.execute(sleeping)
    assert works(server, precious)
    assert operators.scratch_databases(server) == []


def test_interruption_while_waiting_for_another_operator_changes_nothing(server, precious, state, small):
    command = [sys.executable, "-m", "invoke", "db.drop", "--yes", "--timeout", "60"]
    with operator_lock(precious):
        process = subprocess.Popen(
            command, cwd=ROOT, env=operators.surroundings(precious, state), stderr=subprocess.PIPE, text=True
        )
        assert "is at work on it" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert said.splitlines()[-1] == f"interrupted: {precious.database} was not touched."
    assert works(server, precious)


def test_fence_without_its_state_is_nobodys_property(target, state, small, tmp_path):
    died = operator(target, state, **small, at="StepFinished(step='migrate'", action="SIGKILL")
    assert died.returncode == -signal.SIGKILL, died.stderr
    elsewhere, said = options(tmp_path / "elsewhere", **small), []
    with pytest.raises(PreflightError, match="is fenced"):
        rebuild.migrate(target, migrations.discover(small["migrations"]))
    assert "is fenced" in operators.invoke("db.status", target=target, state=state).stderr
    rebuild.rebuild(target, elsewhere, report=said.append)
    with postgres.maintenance(target) as connection:
        found = properties.find(connection, target.database)
        assert not found.fenced
        assert replace(found.properties, owner="") == replace(default_properties(read(connection)), owner="")
    assert any("another KAPMAN_STATE_DIR" in str(event) for event in said)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_owners_half_built_database_is_put_right_as_well(server, target, state, small):
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        own = operators.as_role(target, owner)
        with postgres.maintenance(own) as connection:
            had = properties.find(connection, target.database).properties
        died = operator(own, state, **small, at="RENAME TO", action="SIGKILL")
        assert died.returncode == -signal.SIGKILL, died.stderr
        rebuild.rebuild(own, options(state, **small))
        with postgres.maintenance(own) as connection:
            found = properties.find(connection, target.database).properties
        assert found.effective_acl() == had.effective_acl()
        assert replace(found, acl=None) == had
