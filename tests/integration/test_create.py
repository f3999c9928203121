"""Creating a database: from template0, whatever its name, closed until it is ready."""

from __future__ import annotations

import contextlib
import re
import uuid
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dbops import postgres
from dbops.database import properties, rebuild
from dbops.database.inspection import inspect, look_inside
from dbops.database.operator import Operator, operating, scratch_database
from dbops.database.properties import Kind
from dbops.errors import Interrupted, PreflightError, ServerError
from dbops.events import Event, StepStarted, ignore
from dbops.settings import SCRATCH_PREFIX, Target
from tests.support import operators, servers
from tests.support.operators import as_role, dsn, exists, options
from tests.support.servers import TestServer, drop_quietly, renamed

NAMES = ("Capital", "two words", 'a "quoted" one', "o'clock", "größe-数据", "%s {} \\", "x" * 63, "é" * 31)


def create(target: Target) -> rebuild.CreateResult:
    return rebuild.create(target, options())


def leave_behind(
    server: TestServer, target: Target, kind: Kind = Kind.BUILDING, owner: str = "postgres", **changes: Any
) -> str:
    """Make a scratch database with a marker, as a run leaves it that was killed; return its name."""
    name = f"{SCRATCH_PREFIX}{uuid.uuid4().hex[:12]}"
    server.execute(f'CREATE DATABASE "{name}" OWNER {owner} TEMPLATE template0')
    with postgres.maintenance(target) as connection:
        found = properties.find_database(connection, name)
    assert found
    marker = properties.marker(kind, target.database, replace(found.properties, **changes)).text()
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


@pytest.mark.parametrize("who", ["superuser", "superuser for an owner", "owner"])
def test_database_that_is_built_lets_no_one_else_in(
    server: TestServer, target: Target, small: dict[str, Any], who: str
) -> None:
    refused: list[str] = []

    with operators.role(server) as owner, operators.role(server) as other:
        if who != "superuser":
            server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')

        def enter(event: Event) -> None:
            if not isinstance(event, StepStarted) or event.step not in ("migrate", "verify", "swap"):
                return
            (scratch,) = operators.scratch_databases(server)
            for role in (owner, other, ""):
                there = replace(target, database=scratch)
                with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
                    psycopg.connect(dsn(as_role(there, role) if role else there))
                refused.append(f"{event.step} {role}")

        run = as_role(target, owner) if who == "owner" else target
        rebuild.rebuild(run, options(**small), report=enter)
        assert len(refused) == 9
        psycopg.connect(dsn(as_role(target, other))).close()
        servers.drop_quietly(server, target.database)


@pytest.mark.parametrize("who", ["superuser for an owner", "owner"])
def test_database_that_is_built_lets_no_one_else_in_at_the_instant_in_which_it_is_open(
    server: TestServer, target: Target, small: dict[str, Any], who: str
) -> None:
    refused: list[str] = []

    with operators.role(server) as owner, operators.role(server) as other:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')

        def enter(event: Event) -> None:
            if "ALLOW_CONNECTIONS true" not in str(event) or refused:
                return
            (scratch,) = operators.scratch_databases(server)
            for role in (other,) if who == "owner" else (owner, other):
                with pytest.raises(psycopg.OperationalError, match=r"too many connections|CONNECT privilege"):
                    psycopg.connect(dsn(as_role(replace(target, database=scratch), role)))
                refused.append(role)

        rebuild.rebuild(as_role(target, owner) if who == "owner" else target, options(**small), report=enter)
        assert refused
        servers.drop_quietly(server, target.database)


@pytest.mark.parametrize("verb", ["rebuild", "drop"])
def test_trial_of_properties_leaves_a_new_database_closed_and_the_operators_own(
    server: TestServer, target: Target, small: dict[str, Any], verb: str
) -> None:
    """A new database is tried with all that the target has, and that is rolled back before it gets its marker."""
    seen: list[tuple[object, ...]] = []

    def look(event: Event) -> None:
        if (marked := re.search(r"COMMENT ON DATABASE \W*(kapman_scratch_\w+)", str(event))) and not seen:
            seen.extend(
                server.execute(f"""
                    SELECT datallowconn, pg_get_userbyid(datdba)::text, datacl FROM pg_database
                    WHERE datname = '{marked[1]}'""")
            )

    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        server.execute(f'REVOKE CONNECT ON DATABASE "{target.database}" FROM PUBLIC')
        run = rebuild.rebuild if verb == "rebuild" else rebuild.drop
        run(target, options(**small), report=look)
        assert seen == [(False, "postgres", None)]
        rebuild.create(target, options())


def test_partly_dropped_database_is_not_taken_for_one_that_is_there(server: TestServer, empty: Target) -> None:
    server.execute(f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{empty.database}'")
    with pytest.raises(PreflightError, match="partly dropped"):
        create(empty)


def test_failed_create_leaves_no_scratch_database(server: TestServer, target: Target) -> None:
    before = operators.scratch_databases(server)
    with operators.role(server, "LOGIN") as other, pytest.raises(PreflightError, match="may not create databases"):
        create(as_role(target, other))
    with operators.role(server) as owner, postgres.operator_session(as_role(target, owner)) as connection:
        operator = Operator(connection, as_role(target, owner), 30, ignore)
        found = operator.clean_up_and_inspect()
        strange = replace(found.server, template0=replace(found.server.template0, owner="postgres"))
        with pytest.raises(PreflightError, match="could not create"):
            operator.create(replace(found, server=strange))
        assert operator.undo().startswith(f"There is no database {target.database}")
    assert set(operators.scratch_databases(server)) <= set(before)
    assert not exists(server, target.database)


def test_security_label_that_cannot_be_set_again_is_named_and_leaves_no_scratch_database(
    server: TestServer, target: Target
) -> None:
    with postgres.operator_session(target) as connection:
        operator = Operator(connection, target, 30, ignore)
        found = operator.clean_up_and_inspect()
        labelled = replace(found.server.template0, security_labels=(("nowhere", "secret"),))
        with pytest.raises(PreflightError, match='security label provider "nowhere" is not loaded'):
            operator.create(replace(found, server=replace(found.server, template0=labelled)))
        operator.undo()
    assert operators.scratch_databases(server) == []


def test_database_whose_privileges_cannot_be_given_again_is_neither_made_nor_put_in_place(
    server: TestServer, target: Target
) -> None:
    """A grant by a role without grant option is a mere warning of PostgreSQL's."""
    with operators.role(server) as grantor, operators.role(server) as reader:
        acl = tuple(properties.Grant(*who, "CONNECT", False) for who in (("postgres", grantor), (grantor, reader)))
        with postgres.operator_session(target) as connection:
            operator = Operator(connection, target, 30, ignore)
            found = operator.clean_up_and_inspect()
            wanted = replace(found.server.template0, acl=acl)
            with pytest.raises(ServerError, match=f"the new {target.database} would differ in: .*acl"):
                operator.create(replace(found, server=replace(found.server, template0=wanted)))
            operator.undo()
        assert operators.scratch_databases(server) == []
        successor = leave_behind(server, target, Kind.SUCCESSOR, acl=acl)
        with pytest.raises(ServerError, match=f"the new {target.database} would differ in: .*acl"):
            create(target)
        assert not exists(server, target.database)
        assert exists(server, successor)


def test_scratch_database_is_gone_even_after_a_failure(server: TestServer, target: Target) -> None:
    with contextlib.suppress(ZeroDivisionError), scratch_database(target) as made:
        assert exists(server, made.database)
        raise ZeroDivisionError
    assert not exists(server, made.database)


def test_scratch_database_has_the_servers_defaults_also_where_a_successor_waits(
    server: TestServer, empty: Target
) -> None:
    server.execute(f"ALTER DATABASE \"{empty.database}\" SET work_mem = '7MB'")
    rebuild.drop(empty, options())
    with scratch_database(empty) as made:
        settings = "SELECT 1 FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase"
        assert server.execute(f"{settings} WHERE d.datname = '{made.database}'") == []
    assert rebuild.create(empty, options()).kept


def test_scratch_database_left_over_is_dropped_and_that_of_a_run_at_work_is_not(
    server: TestServer, target: Target
) -> None:
    left = leave_behind(server, target)
    with scratch_database(target) as made:
        create(target)
        assert not exists(server, left)
        assert exists(server, made.database)


def test_database_that_was_created_this_instant_is_left_alone_by_operators_of_others(
    server: TestServer, target: Target
) -> None:
    others: list[Target] = []

    def create_another(event: Event) -> None:
        if "CREATE DATABASE" in str(event) and not others:
            others.append(renamed(target, servers.fresh_name()))
            create(others[0])

    try:
        assert rebuild.create(target, options(), report=create_another).created
    finally:
        for other in others:
            drop_quietly(server, other.database)


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
        unmarked = properties.find_database(connection, name)
        assert unmarked
        marker = properties.marker(Kind.SUCCESSOR, target.database, found.wanted)
        postgres.run(connection, properties.marking(name, marker), ignore)
        assert not Operator(connection, target, 30, ignore).drop_left_over(unmarked)
    assert exists(server, name)


def test_leftover_that_the_role_may_not_drop_is_left_without_a_word(server: TestServer, target: Target) -> None:
    left = leave_behind(server, target)
    said: list[object] = []
    with operators.role(server) as other:
        with operating(as_role(target, other), report=said.append) as operator:
            operator.clean_up_and_inspect()
        assert said == []
        assert exists(server, left)
    create(target)
    assert not exists(server, left)


def test_interrupted_create_leaves_nothing_and_says_so(server: TestServer, target: Target) -> None:
    def interrupt(event: Event) -> None:
        if "RENAME TO" in str(event):
            raise Interrupted

    with pytest.raises(Interrupted) as interrupted:
        rebuild.create(target, options(), report=interrupt)
    assert interrupted.value.state == f"There is no database {target.database}: `invoke db.rebuild` builds it."
    assert operators.scratch_databases(server) == []
    assert rebuild.create(target, options()).created


def test_create_of_a_database_that_exists_needs_no_rights(server: TestServer, empty: Target) -> None:
    with operators.role(server, "LOGIN") as other:
        assert not rebuild.create(as_role(empty, other), options()).created


def test_database_that_another_session_creates_meanwhile_is_not_touched(
    server: TestServer, target: Target, small: dict[str, Any]
) -> None:
    def create_it(event: Event) -> None:
        if isinstance(event, StepStarted) and event.step == "swap":
            server.execute(sql.SQL("CREATE DATABASE {} CONNECTION LIMIT 7").format(sql.Identifier(target.database)))

    with pytest.raises(PreflightError) as taken:
        rebuild.rebuild(target, options(**small), report=create_it)
    assert taken.value.what == f"{target.database} was created by another session just now"
    assert taken.value.state == f"{target.database} was not changed."
    assert operators.scratch_databases(server) == []
    limit = f"SELECT datconnlimit FROM pg_database WHERE datname = '{target.database}'"
    assert server.execute(limit) == [(7,)]


@pytest.mark.parametrize("kind", [Kind.SUCCESSOR, Kind.KEPT])
@pytest.mark.parametrize("verb", ["create", "rebuild", "undo"])
def test_database_that_a_stranger_marks_is_never_put_in_place(
    server: TestServer, target: Target, small: dict[str, Any], kind: Kind, verb: str
) -> None:
    with operators.role(server) as stranger:
        planted = leave_behind(server, target, kind, stranger)
        server.execute("CREATE TABLE planted (id integer)", planted)
        if verb == "create":
            assert not rebuild.create(target, options()).kept
        elif verb == "rebuild":
            rebuild.rebuild(target, options(confirm=target.database, **small))
        else:
            rebuild.create(target, options())
            with pytest.raises(PreflightError, match="no database is kept"):
                rebuild.undo(target, options(confirm=target.database))
        assert server.execute("SELECT to_regclass('planted') IS NULL", target.database) == [(True,)]
        owner = f"SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = '{target.database}'"
        assert server.execute(owner) == [("postgres",)]


@pytest.mark.parametrize(
    ("statement", "holds"),
    [
        ("CREATE FUNCTION public.f() RETURNS int LANGUAGE sql RETURN 1", "1 function"),
        # It is no object that has a name, and yet would come into use with the database.
        ("SELECT lo_from_bytea(0, 'kept')", "a large object"),
    ],
)
def test_successor_that_is_not_empty_is_not_put_in_place(
    server: TestServer, empty: Target, statement: str, holds: str
) -> None:
    successor = rebuild.drop(empty, options()).successor
    server.execute(f'ALTER DATABASE "{successor}" ALLOW_CONNECTIONS true')
    server.execute(statement, successor)
    server.execute(f'ALTER DATABASE "{successor}" ALLOW_CONNECTIONS false')
    with pytest.raises(PreflightError, match=f"is not empty: it holds {holds}"):
        rebuild.create(empty, options())
    assert not exists(server, empty.database)


def test_successor_that_could_not_be_looked_into_is_not_put_in_place(
    server: TestServer, empty: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def given_up(*_: object) -> None:
        raise PreflightError("could not alter it", where="it", hint="Try again.")

    rebuild.drop(empty, options())
    with monkeypatch.context() as patched:
        patched.setattr(Operator, "_retry", given_up)
        with pytest.raises(PreflightError, match="could not alter it"):
            rebuild.create(empty, options())
    assert not exists(server, empty.database)
    assert rebuild.create(empty, options()).kept
