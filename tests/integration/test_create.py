"""Creating a database: from template0, whatever its name, closed until it is ready."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from dbops import postgres
from dbops.database import lifecycle, properties, rebuild
from dbops.database.inspection import inspect, look_inside
from dbops.database.lifecycle import scratch_database
from dbops.errors import Interrupted, PreflightError
from dbops.events import Event, ignore
from dbops.settings import SCRATCH_PREFIX, Target
from tests.support import operators
from tests.support.operators import as_role, dsn, exists, options, scheduler_runs
from tests.support.servers import TestServer, drop_quietly, renamed

NAMES = ("Capital", "two words", 'a "quoted" one', "o'clock", "größe-数据", "%s {} \\", "x" * 63, "é" * 31)


def create(target: Target) -> rebuild.CreateResult:
    return rebuild.create(target, options())


@contextlib.contextmanager
def closed(target: Target) -> Iterator[str]:
    """Create the target's database as a rebuild does, yield what keeps clients out, then open it."""
    with postgres.operator(target) as connection:
        found = inspect(connection, target)
        lifecycle.name_successor(connection, found, lifecycle.create_successor(connection, found, found.wanted))
        yield lifecycle.kept_out(found.server)
        lifecycle.open_database(connection, target)


def leave_behind(server: TestServer, target: Target, kind: str = "rehearsal") -> str:
    """Make a scratch database with a marker, as a run leaves it that was killed; return its name."""
    name = f"{SCRATCH_PREFIX}{uuid.uuid4().hex[:12]}"
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    with postgres.maintenance(target) as connection:
        found = properties.find(connection, name)
    assert found
    marker = lifecycle.marker_for(kind, target.database, found.properties).text()
    server.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(marker)))
    return name


def test_new_database_is_utf8_and_without_traces(server: TestServer, target: Target) -> None:
    assert create(target).created
    query = "SELECT pg_encoding_to_char(encoding), datconnlimit, datacl FROM pg_database WHERE datname = "
    assert server.execute(f"{query}'{target.database}'") == [("UTF8", -1, None)]
    assert operators.scratch_databases(server) == []


def test_create_of_an_existing_database_changes_nothing(server: TestServer, target: Target) -> None:
    create(target)
    operators.fill(target)
    assert not create(target).created
    assert operators.rows_left(target) == operators.ROWS


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_created_looked_at_and_dropped(server: TestServer, target: Target, name: str) -> None:
    odd = renamed(target, name)
    try:
        assert create(odd).created
        operators.fill(odd, 1)
        assert look_inside(odd).evidence == "public.precious"
        assert rebuild.drop(odd, options(confirm=name), forget=True).existed
        assert not exists(server, name)
    finally:
        drop_quietly(server, name)


def test_new_database_keeps_ordinary_roles_out_and_lets_the_scheduler_in(server: TestServer, target: Target) -> None:
    with operators.role(server) as other:
        with closed(target) as kept_out:
            assert kept_out == "all but superusers"
            server.execute("CREATE EXTENSION timescaledb", target.database)
            with pytest.raises(psycopg.OperationalError, match="too many connections"):
                psycopg.connect(dsn(as_role(target, other)))
            assert scheduler_runs(server, target.database)
        psycopg.connect(dsn(as_role(target, other))).close()


def test_new_database_of_an_owner_keeps_other_roles_out(server: TestServer, target: Target) -> None:
    with operators.role(server) as owner, operators.role(server) as other:
        with closed(as_role(target, owner)) as kept_out:
            assert owner in kept_out
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                psycopg.connect(dsn(as_role(target, other)))
            psycopg.connect(dsn(as_role(target, owner))).close()
        psycopg.connect(dsn(as_role(target, other))).close()


def test_partly_dropped_database_is_not_taken_for_one_that_is_there(server: TestServer, empty: Target) -> None:
    server.execute(f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{empty.database}'")
    with pytest.raises(PreflightError, match="partly dropped"):
        create(empty)


def test_failed_create_leaves_no_scratch_database(server: TestServer, target: Target) -> None:
    before = operators.scratch_databases(server)
    with operators.role(server, "LOGIN") as other, pytest.raises(PreflightError, match="may not create databases"):
        create(as_role(target, other))
    with operators.role(server) as owner, postgres.operator(as_role(target, owner)) as connection:
        found = inspect(connection, as_role(target, owner))
        with pytest.raises(PreflightError, match="could not create") as refused:
            lifecycle.create_successor(connection, found, replace(found.wanted, owner="postgres"))
    assert refused.value.state == "Nothing was changed."
    assert set(operators.scratch_databases(server)) <= set(before)
    assert not exists(server, target.database)


def test_scratch_database_is_gone_even_after_a_failure(server: TestServer, target: Target) -> None:
    with contextlib.suppress(ZeroDivisionError), scratch_database(target) as made:
        assert exists(server, made.database)
        raise ZeroDivisionError
    assert not exists(server, made.database)


def test_rehearsal_left_over_is_dropped_and_that_of_a_run_at_work_is_not(server: TestServer, target: Target) -> None:
    left = leave_behind(server, target)
    with scratch_database(target) as made:
        create(target)
        assert not exists(server, left)
        assert exists(server, made.database)


def test_database_named_like_a_scratch_one_is_not_touched(server: TestServer, target: Target) -> None:
    name = f"{SCRATCH_PREFIX}{uuid.uuid4().hex[:12]}"
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        create(target)
        rebuild.drop(target, options(), forget=True)
        assert exists(server, name)
    finally:
        drop_quietly(server, name)


def test_database_that_has_no_marker_yet_is_dropped_once_its_run_is_gone(server: TestServer, target: Target) -> None:
    with postgres.maintenance(target) as connection:
        found = inspect(connection, target)
        name = f"{SCRATCH_PREFIX}{uuid.uuid4().hex[:12]}"
        properties.create(connection, name, found.wanted, found.server.template0, ignore)
    assert exists(server, name)
    create(target)
    assert not exists(server, name)


def test_database_that_was_marked_since_it_was_inspected_is_no_leftover(server: TestServer, target: Target) -> None:
    with postgres.maintenance(target) as connection:
        found = inspect(connection, target)
        name = f"{SCRATCH_PREFIX}{uuid.uuid4().hex[:12]}"
        properties.create(connection, name, found.wanted, found.server.template0, ignore)
        unmarked = properties.find(connection, name)
        assert unmarked
        marker = lifecycle.marker_for("successor", target.database, found.wanted)
        postgres.run(connection, properties.marking(name, marker), ignore)
        assert not lifecycle.drop_left_over(connection, unmarked)
    assert exists(server, name)


def test_leftover_that_the_role_may_not_drop_is_left_without_a_word(server: TestServer, target: Target) -> None:
    left = leave_behind(server, target)
    said: list[object] = []
    with operators.role(server) as other:
        with postgres.operator(as_role(target, other)) as connection:
            lifecycle.recovered(connection, as_role(target, other), said.append)
        assert said == []
        assert exists(server, left)
    create(target)
    assert not exists(server, left)


def test_interrupted_create_says_what_is_there_and_the_next_one_opens_it(server: TestServer, target: Target) -> None:
    def interrupt(event: Event) -> None:
        if "CONNECTION LIMIT -1" in str(event):
            raise Interrupted

    with pytest.raises(Interrupted) as interrupted:
        rebuild.create(target, options(), report=interrupt)
    assert interrupted.value.state == f"{target.database} is there, and closed: `invoke db.create` opens it."
    assert not rebuild.create(target, options()).created
    limit = f"SELECT datconnlimit FROM pg_database WHERE datname = '{target.database}'"
    assert server.execute(limit) == [(-1,)]


def test_create_of_a_database_that_exists_needs_no_rights(server: TestServer, empty: Target) -> None:
    with operators.role(server, "LOGIN") as other:
        assert not rebuild.create(as_role(empty, other), options()).created


def test_database_that_another_session_creates_after_the_drop_is_refused_and_the_properties_are_kept(
    server: TestServer, empty: Target
) -> None:
    server.execute(f'ALTER DATABASE "{empty.database}" CONNECTION LIMIT 7')
    name = sql.Identifier(empty.database)

    def create_it(event: Event) -> None:
        if "DROP DATABASE" in str(event):
            server.execute(sql.SQL("CREATE DATABASE {}").format(name))

    with pytest.raises(PreflightError) as taken:
        rebuild.rebuild(empty, options(), report=create_it)
    assert taken.value.what == f"{empty.database} was created by another session just now, after it was dropped"
    assert taken.value.state == f"The new {empty.database} was not changed."
    assert len(operators.scratch_databases(server)) == 1
    server.execute(sql.SQL("DROP DATABASE {}").format(name))
    assert create(empty).kept
    limit = f"SELECT datconnlimit FROM pg_database WHERE datname = '{empty.database}'"
    assert server.execute(limit) == [(7,)]
