"""The whole operation: what it proves, and that a failure costs nothing."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from dbops import label
from dbops.database import rebuild
from dbops.database.inspection import look_inside
from dbops.errors import CheckError, ConsentError, MigrationError, PreflightError
from dbops.events import Event, StepStarted
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.operators import Clients, as_role, exists, options, scheduler_runs, works
from tests.support.processes import run_invoke
from tests.support.servers import TestServer

BROKEN = "-- Breaks.\nSELECT 1 / 0;\n"


def read_label(target: Target) -> label.Label | None:
    with servers.connect(target) as connection:
        return label.read(connection)


def test_two_rebuilds_in_a_row_give_the_same_database(server: TestServer, target: Target) -> None:
    first = rebuild.rebuild(target, options())
    second = rebuild.rebuild(target, options())
    assert first.fingerprint == second.fingerprint
    assert (second.migrations, second.rows, second.rehearsed) == (6, 0, False)
    assert second.checks > 100
    assert [step.step for step in second.steps] == [
        "preflight", "create", "drop", "migrate", "verify", "fingerprint", "open",
    ]  # fmt: skip
    assert scheduler_runs(server, target.database)
    assert operators.scratch_databases(server) == []


def test_rebuild_that_loses_rows_is_rehearsed_and_then_gone(
    server: TestServer, precious: Target, small: dict[str, Any]
) -> None:
    result = rebuild.rebuild(precious, options(yes=True, **small))
    assert result.rehearsed
    assert not look_inside(precious).rows
    assert operators.scratch_databases(server) == []


def test_rebuild_labels_the_database_with_its_environment(target: Target, small: dict[str, Any]) -> None:
    rebuild.rebuild(replace(target, environment="test"), options(**small))
    assert read_label(target) == label.Label("test", native=True)


def test_sessions_that_were_ended_are_named(empty: Target, small: dict[str, Any]) -> None:
    with psycopg.connect(operators.dsn(empty), application_name="the service") as client:
        client.execute("SELECT 1")
        result = rebuild.rebuild(empty, options(**small))
        client.close()
    assert "the service" in {session.application for session in result.ended}


def test_empty_database_needs_no_consent(built: Target, small: dict[str, Any]) -> None:
    rebuild.rebuild(built, options(**small))


def test_without_consent_everything_stays(server: TestServer, precious: Target) -> None:
    with pytest.raises(ConsentError, match="1,000 rows"):
        rebuild.rebuild(precious, options())
    assert works(server, precious)


def test_broken_migration_is_found_in_the_rehearsal(
    server: TestServer, precious: Target, small: dict[str, Any]
) -> None:
    (small["migrations"] / "0002_break_it.sql").write_text(BROKEN)
    with pytest.raises(MigrationError) as failed:
        rebuild.rebuild(precious, options(yes=True, **small))
    assert "was not changed" in failed.value.state
    assert "nothing was dropped" in failed.value.state
    assert works(server, precious)
    assert operators.scratch_databases(server) == []


def test_failing_check_is_found_in_the_rehearsal(server: TestServer, precious: Target, small: dict[str, Any]) -> None:
    (small["checks"] / "structure" / "impossible.sql").write_text(
        "SELECT 'impossible' AS check_name, false AS passed, '1'::text AS expected, '2'::text AS actual;\n"
    )
    with pytest.raises(CheckError) as failed:
        rebuild.rebuild(precious, options(yes=True, **small))
    assert "impossible: expected 1, is 2" in failed.value.notes
    assert works(server, precious)
    assert operators.scratch_databases(server) == []


def test_refusal_while_building_says_that_the_database_is_partly_built(empty: Target, small: dict[str, Any]) -> None:
    def refuse(event: Event) -> None:
        if isinstance(event, StepStarted) and event.step == "migrate":
            raise PreflightError("refused", where="the test", hint="")

    with pytest.raises(PreflightError) as refused:
        rebuild.rebuild(empty, options(**small), report=refuse)
    assert "partly built and stays closed" in refused.value.state


def test_without_rehearsal_a_failure_leaves_a_closed_database_that_the_next_rebuild_replaces(
    server: TestServer, precious: Target, small: dict[str, Any]
) -> None:
    broken = small["migrations"] / "0002_break_it.sql"
    broken.write_text(BROKEN)
    with pytest.raises(MigrationError) as failed:
        rebuild.rebuild(precious, options(yes=True, rehearse=False, **small))
    assert "partly built and stays closed" in failed.value.state
    limit = f"SELECT datconnlimit FROM pg_database WHERE datname = '{precious.database}'"
    assert server.execute(limit) == [(0,)]
    broken.unlink()
    rebuild.rebuild(precious, options(**small))
    assert server.execute(limit) == [(-1,)]


def test_create_opens_what_a_failed_build_left_closed(
    server: TestServer, target: Target, small: dict[str, Any]
) -> None:
    (small["migrations"] / "0002_break_it.sql").write_text(BROKEN)
    with pytest.raises(MigrationError):
        rebuild.rebuild(target, options(**small))
    opened = rebuild.create(target, options())
    assert (opened.created, opened.opened) == (False, True)
    limit = f"SELECT datconnlimit FROM pg_database WHERE datname = '{target.database}'"
    assert server.execute(limit) == [(-1,)]


def test_plan_changes_nothing(server: TestServer, precious: Target) -> None:
    planned = rebuild.plan(precious, options())
    assert not planned.refusals
    assert planned.rehearse
    assert len(planned.migrations) == 6
    assert works(server, precious)
    assert operators.scratch_databases(server) == []


@pytest.mark.slow
def test_repeat_fails_when_a_build_gives_another_schema(target: Target, small: dict[str, Any]) -> None:
    chance = small["migrations"] / "0002_add_chance.sql"
    chance.write_text(
        "-- Adds a column of another name each time.\n"
        "DO $$ BEGIN EXECUTE format('CREATE TABLE public.t (c%s int)', pg_backend_pid()); END $$;\n"
    )
    with pytest.raises(CheckError, match="built another schema"):
        rebuild.repeat(target, options(**small), 2)
    chance.unlink()
    assert len({result.fingerprint for result in rebuild.repeat(target, options(**small), 2)}) == 1


@pytest.mark.parametrize("who", ["superuser", "owner"])
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("times", "pause"), [(5, 0.1), pytest.param(50, 0.03, marks=pytest.mark.soak)], ids=["sample", "full"]
)
@pytest.mark.slow
def test_rebuilds_in_a_row_succeed_under_clients_that_reconnect_in_a_loop(
    server: TestServer, target: Target, small: dict[str, Any], who: str, times: int, pause: float
) -> None:
    with operators.role(server) as owner, operators.role(server, "LOGIN") as service:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        operator = target if who == "superuser" else as_role(target, owner)
        # An owner may end sessions of his own role only, so that is whom his clients connect as.
        client = as_role(target, service if who == "superuser" else owner)
        with Clients(client, pause) as clients:
            results = rebuild.repeat(operator, options(**small), times)
    assert len(results) == times
    assert clients.entered > times


@pytest.mark.slow
def test_service_that_creates_its_own_table_on_connecting_stays_out_until_all_is_verified(
    server: TestServer, built: Target
) -> None:
    done = threading.Event()
    seen: list[bool] = []

    def service(address: str) -> None:
        while not done.is_set():
            try:
                with psycopg.connect(address, autocommit=True) as connection:
                    row = connection.execute("SELECT to_regclass('recommendation_outcomes') IS NOT NULL").fetchone()
                    seen.append(bool(row and row[0]))
            except psycopg.Error:
                continue

    with operators.role(server, "LOGIN") as name:
        thread = threading.Thread(target=service, args=(operators.dsn(as_role(built, name)),))
        thread.start()
        for _ in range(2):
            rebuild.rebuild(built, options())
        done.set()
        thread.join()
    assert seen
    assert all(seen)


def test_command_line_shows_header_progress_and_summary(server: TestServer, target: Target) -> None:
    done = run_invoke("db.rebuild", DATABASE_URL=operators.dsn(target))
    assert done.returncode == 0, done.stderr
    ((version,),) = server.execute("SHOW server_version")
    for words in (
        f"Rebuild {target.database}",
        target.server,
        f"({target.environment})",
        f"PostgreSQL {str(version).split()[0]}",
        "TimescaleDB 2",
        "6, from 0001",
    ):
        assert words in done.stderr
    for words in (
        "6 migrations applied",
        "checks passed",
        "0: no ingestion has run",
        "fingerprint",
        "in all (preflight",
    ):
        assert words in done.stdout
    assert exists(server, target.database)
