"""Creating a database: from template0, whatever its name, closed until it is ready."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psycopg
import pytest

from dbops import lifecycle, rebuild
from dbops.errors import PreflightError, ServerError
from dbops.lifecycle.scratch import new_name
from dbops.lock import operator_lock
from dbops.settings import Target
from tests.support import operators
from tests.support.operators import as_role, dsn, exists, options, scheduler_runs
from tests.support.servers import drop_quietly, renamed

NAMES = ("Capital", "two words", 'a "quoted" one', "o'clock", "größe-数据", "%s {} \\", "x" * 63, "é" * 31)


def create(target: Target, state: Path, **changes):
    with operator_lock(target) as lock:
        return lifecycle.create(lock, state, **changes)


def test_new_database_is_utf8_and_without_traces(server, target, state):
    assert create(target, state).created
    query = "SELECT pg_encoding_to_char(encoding), datconnlimit, datacl FROM pg_database WHERE datname = "
    assert server.execute(f"{query}'{target.database}'") == [("UTF8", -1, None)]
    assert list(state.iterdir()) == []
    assert operators.scratch_databases(server) == []


def test_create_of_an_existing_database_changes_nothing(server, target, state):
    create(target, state)
    operators.fill(target)
    assert not create(target, state).created
    assert operators.rows_left(target) == operators.ROWS


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_created_looked_at_and_dropped(server, target, state, name):
    odd = renamed(target, name)
    try:
        assert create(odd, state).created
        operators.fill(odd, 1)
        assert lifecycle.stakes(odd).evidence == "public.precious"
        with operator_lock(odd) as lock:
            assert lifecycle.drop(lock, state).existed
        assert not exists(server, name)
    finally:
        drop_quietly(server, name)


def test_superusers_fence_keeps_ordinary_roles_out_and_lets_the_scheduler_in(server, target, state):
    with operators.role(server) as stranger, operator_lock(target) as lock:
        assert lifecycle.create(lock, state, fenced=True).kept_out == "all but superusers"
        server.execute("CREATE EXTENSION timescaledb", target.database)
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            psycopg.connect(dsn(as_role(target, stranger)))
        assert scheduler_runs(server, target.database)
        lifecycle.open_up(lock, state)
        psycopg.connect(dsn(as_role(target, stranger))).close()


def test_owners_fence_keeps_other_roles_out(server, target, state):
    with (
        operators.role(server) as owner,
        operators.role(server) as stranger,
        operator_lock(as_role(target, owner)) as lock,
    ):
        assert owner in lifecycle.create(lock, state, fenced=True).kept_out
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(dsn(as_role(target, stranger)))
        psycopg.connect(dsn(as_role(target, owner))).close()
        lifecycle.open_up(lock, state)
        psycopg.connect(dsn(as_role(target, stranger))).close()


def test_half_dropped_database_is_not_taken_for_one_that_is_there(server, empty, state):
    server.execute(f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{empty.database}'")
    with pytest.raises(PreflightError, match="half dropped"):
        create(empty, state)


def test_failed_create_leaves_no_scratch_database_and_no_state(server, target, state):
    with (
        operators.role(server, "LOGIN") as nobody,
        operator_lock(as_role(target, nobody)) as lock,
        pytest.raises(ServerError, match="permission denied"),
    ):
        lifecycle.create(lock, state)
    assert operators.scratch_databases(server) == []
    assert not state.exists() or list(state.iterdir()) == []


def test_scratch_database_is_gone_even_after_a_failure(server, target):
    with contextlib.suppress(ZeroDivisionError), lifecycle.scratch(target) as made:
        assert exists(server, made.database)
        raise ZeroDivisionError
    assert not exists(server, made.database)
    assert operators.scratch_databases(server) == []


def leftover(server):
    """Make a database as an operator leaves it that was killed, and return its name."""
    name = new_name()
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    return name


def test_sweep_leaves_the_scratch_databases_of_the_living_alone(server, target):
    left = leftover(server)
    with lifecycle.scratch(target) as made:
        assert left in lifecycle.sweep(target)
        assert exists(server, made.database)
        assert not exists(server, left)


def test_sweep_claims_no_drop_that_the_role_may_not_do(server, target):
    left, said = leftover(server), []
    with operators.role(server) as stranger:
        assert lifecycle.sweep(as_role(target, stranger), said.append) == ()
    assert said == []
    assert left in lifecycle.sweep(target)


def test_interrupted_create_says_what_is_there_and_the_next_one_opens_it(server, target, state):
    def interrupt(event):
        if "RENAME TO" in str(event):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interrupted:
        rebuild.create(target, options(state), report=interrupt)
    assert interrupted.value.__notes__ == [f"{target.database} is there, fenced: `invoke db.create` opens it."]
    assert not rebuild.create(target, options(state)).created
    limit = f"SELECT datconnlimit FROM pg_database WHERE datname = '{target.database}'"
    assert server.execute(limit) == [(-1,)]


def test_create_of_what_is_there_wants_no_rights(server, empty, state):
    with operators.role(server, "LOGIN") as nobody:
        assert not rebuild.create(as_role(empty, nobody), options(state)).created
