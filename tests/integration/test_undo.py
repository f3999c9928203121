"""A database that a rebuild kept can be put back, and is never dropped without a word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from dbops.database import rebuild, status
from dbops.database.consent import Agreement
from dbops.database.inspection import look_inside
from dbops.errors import ConsentError, PreflightError
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.odd_databases import odd_database, properties
from tests.support.operators import as_role, options, rows_left, scheduler_runs, works
from tests.support.servers import TestServer


def kept(server: TestServer, target: Target, small: dict[str, Any]) -> str:
    """Rebuild a database and keep the old one; return its name."""
    return rebuild.rebuild(target, options(yes=True, keep=True, **small)).kept


def test_undo_puts_the_old_database_back_and_drops_the_new_one(
    server: TestServer, precious: Target, small: dict[str, Any]
) -> None:
    name = kept(server, precious, small)
    assert operators.scratch_databases(server) == [name]
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        servers.connect(precious, name)
    assert not look_inside(precious).rows
    result = rebuild.undo(precious, options())
    assert (result.replaced, result.kept, result.left) == (name, "", "")
    assert works(server, precious)
    assert operators.scratch_databases(server) == []


def test_kept_database_that_an_undo_left_open_when_it_was_killed_is_closed_by_the_next_command(
    server: TestServer, empty: Target, small: dict[str, Any]
) -> None:
    name = kept(server, empty, small)
    server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    rebuild.create(empty, options())
    assert server.execute(f"SELECT datallowconn FROM pg_database WHERE datname = '{name}'") == [(False,)]


def test_kept_database_that_was_left_open_is_in_no_way_of_a_role_that_may_not_close_it(
    server: TestServer, target: Target, small: dict[str, Any]
) -> None:
    with operators.role(server) as owner, operators.role(server) as stranger:
        owned = as_role(target, owner)
        rebuild.rebuild(owned, options(**small))
        name = kept(server, owned, small)
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert not rebuild.create(as_role(target, stranger), options()).created


def test_undo_that_keeps_can_be_undone(server: TestServer, precious: Target, small: dict[str, Any]) -> None:
    kept(server, precious, small)
    for there in (True, False, True):
        result = rebuild.undo(precious, options(yes=True, keep=True))
        assert operators.scratch_databases(server) == [result.kept]
        assert look_inside(precious).rows == there


def test_undo_asks_before_rows_of_the_present_database_are_lost(
    server: TestServer, served: Target, small: dict[str, Any]
) -> None:
    name = kept(server, served, small)
    operators.fill(served, 3)
    with pytest.raises(ConsentError, match="rows would be lost"):
        rebuild.undo(served, options())
    assert rows_left(served) == 3
    assert operators.scratch_databases(server) == [name]
    rebuild.undo(served, options(yes=True))
    assert not look_inside(served).rows


@pytest.mark.parametrize("verb", ["undo", "drop_kept"])
def test_kept_database_takes_no_connection_while_the_operator_is_asked(
    server: TestServer, precious: Target, small: dict[str, Any], verb: str
) -> None:
    name = kept(server, precious, small)
    if verb == "undo":
        operators.fill(precious, 3)
    asked: list[str] = []

    def refuse(question: str) -> str:
        with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
            servers.connect(precious, name)
        asked.append(question)
        return "no"

    agreement = Agreement(ask=refuse)
    with pytest.raises(ConsentError, match="the name typed is not the database's name"):
        getattr(rebuild, verb)(precious, replace(options(), agreement=agreement))
    assert asked
    assert operators.scratch_databases(server) == [name]


def test_undo_outside_dev_needs_consent_for_what_the_kept_database_has_not(
    server: TestServer, target: Target, small: dict[str, Any]
) -> None:
    other = replace(target, environment="test")
    rebuild.rebuild(other, options(**small))
    kept(server, other, small)
    server.execute("CREATE VIEW public.since AS SELECT 1 AS x", target.database)
    said: list[str] = []
    with pytest.raises(ConsentError, match=r"view public\.since"):
        rebuild.undo(other, options(), report=lambda event: said.append(str(event)))
    assert "the database that takes its place does not have: view public.since" in " ".join(said)
    rebuild.undo(other, options(yes=True))


def test_a_second_database_is_not_kept_and_the_first_is_not_dropped_by_any_rebuild(
    server: TestServer, precious: Target, small: dict[str, Any]
) -> None:
    name = kept(server, precious, small)
    with pytest.raises(PreflightError, match=f"{name} is kept for {precious.database} already"):
        rebuild.rebuild(precious, options(yes=True, keep=True, **small))
    rebuild.rebuild(precious, options(**small))
    rebuild.drop(precious, options(), forget=True)
    rebuild.create(precious, options())
    assert name in operators.scratch_databases(server)
    rebuild.undo(precious, options())
    assert works(server, precious)


def test_kept_database_is_dropped_only_with_consent_for_what_it_holds(
    server: TestServer, precious: Target, small: dict[str, Any]
) -> None:
    name = kept(server, precious, small)
    with pytest.raises(ConsentError, match="1,000 rows"):
        rebuild.drop_kept(precious, options())
    assert operators.scratch_databases(server) == [name]
    assert rebuild.drop_kept(precious, options(yes=True)).database == name
    assert operators.scratch_databases(server) == []
    assert operators.exists(server, precious.database)


def test_properties_of_both_survive(server: TestServer, target: Target, small: dict[str, Any]) -> None:
    with odd_database(server, target) as had:
        kept(server, target, small)
        assert properties(target) == had
        rebuild.undo(target, options())
        assert properties(target) == had


def test_owner_can_undo_what_a_superuser_kept(server: TestServer, target: Target, small: dict[str, Any]) -> None:
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        server.execute("CREATE EXTENSION timescaledb", target.database)
        kept(server, target, small)
        rebuild.undo(as_role(target, owner), options(confirm=target.database))
        assert scheduler_runs(server, target.database, patience=0)
        assert operators.scratch_databases(server) == []


def test_kept_database_that_is_partly_dropped_is_dropped_by_the_next_run(
    server: TestServer, built: Target, small: dict[str, Any]
) -> None:
    name = kept(server, built, small)
    server.execute(f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{name}'")
    with pytest.raises(PreflightError, match="no database is kept"):
        rebuild.drop_kept(built, options())
    assert operators.scratch_databases(server) == []


def test_status_names_the_kept_database_with_its_age_and_size(
    server: TestServer, built: Target, small: dict[str, Any]
) -> None:
    assert status.status(built, ()).kept == ()
    name = kept(server, built, small)
    (found,) = status.status(built, ()).kept
    assert found.name == name
    assert found.since.endswith("UTC")
    assert found.size
    assert found.size > 1_000_000
    done = operators.invoke("db.status", target=built)
    assert f"{name} is kept since {found.since}" in done.stdout


def test_status_does_not_name_a_database_that_a_stranger_marked_as_kept(
    server: TestServer, built: Target, small: dict[str, Any]
) -> None:
    name = kept(server, built, small)
    with operators.role(server) as stranger:
        server.execute(f'ALTER DATABASE "{name}" OWNER TO {stranger}')
        assert status.status(built, ()).kept == ()


def test_without_a_kept_database_there_is_nothing_to_undo(served: Target) -> None:
    for run in (rebuild.undo, rebuild.drop_kept):
        with pytest.raises(PreflightError, match="no database is kept"):
            run(served, options(yes=True))


@pytest.mark.slow
def test_after_a_kill_the_next_undo_still_finds_the_kept_database(
    server: TestServer, precious: Target, small: dict[str, Any]
) -> None:
    for moment in ("StepStarted(step='swap'", "text='closed ", "RENAME TO"):
        died = operators.operator(precious, **small, at=moment, action="SIGKILL", keep="yes")
        assert died.returncode == -9, died.stderr
        rebuild.create(precious, options())
        assert works(server, precious)
        assert operators.scratch_databases(server) == []
    died = operators.operator(precious, **small, at="StepFinished(step='swap'", action="SIGKILL", keep="yes")
    assert died.returncode == -9, died.stderr
    rebuild.undo(precious, options())
    assert works(server, precious)
