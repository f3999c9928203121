"""The whole operation: what it proves, and that a failure costs nothing."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dbops import label
from dbops.database import rebuild
from dbops.database.consent import ANY
from dbops.database.inspection import look_inside
from dbops.errors import CheckError, ConsentError, MigrationError, PreflightError
from dbops.events import Event, StepStarted
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.migration_files import write
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
    assert (second.migrations, second.rows) == (6, 0)
    assert (first.unavailable is None, second.unavailable is not None) == (True, True)
    assert second.checks > 100
    assert [step.step for step in first.steps] == ["preflight", "create", "migrate", "verify", "swap"]
    assert [step.step for step in second.steps] == ["preflight", "create", "migrate", "verify", "swap", "drop"]
    assert scheduler_runs(server, target.database)
    assert operators.scratch_databases(server) == []


def test_rebuild_that_is_agreed_to_loses_the_rows(server: TestServer, precious: Target, small: dict[str, Any]) -> None:
    rebuild.rebuild(precious, options(yes=True, **small))
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


def test_session_of_a_subscriber_is_ended_as_any_other(empty: Target, small: dict[str, Any]) -> None:
    """A walsender that is connected to the database keeps it from being renamed, and could write there meanwhile."""
    with psycopg.connect(operators.dsn(empty), replication="database", application_name="the subscriber") as client:
        result = rebuild.rebuild(empty, options(timeout=5, **small))
        client.close()
    assert "the subscriber" in {session.application for session in result.ended}


def test_empty_database_needs_no_consent(built: Target, small: dict[str, Any]) -> None:
    rebuild.rebuild(built, options(**small))


def test_without_consent_everything_stays(server: TestServer, precious: Target) -> None:
    with pytest.raises(ConsentError, match="1,000 rows"):
        rebuild.rebuild(precious, options())
    assert works(server, precious)


def test_broken_migration_leaves_the_database_and_its_sessions_as_they_were(
    server: TestServer, precious: Target, small: dict[str, Any]
) -> None:
    (small["migrations"] / "0002_break_it.sql").write_text(BROKEN)
    with psycopg.connect(operators.dsn(precious)) as client:
        with pytest.raises(MigrationError) as failed:
            rebuild.rebuild(precious, options(yes=True, **small))
        assert client.execute("SELECT count(*) FROM precious").fetchone() == (operators.ROWS,)
    assert failed.value.state == f"{precious.database} was not changed."
    assert works(server, precious)
    assert operators.scratch_databases(server) == []


def test_failing_check_leaves_the_database_as_it_was(
    server: TestServer, precious: Target, small: dict[str, Any]
) -> None:
    (small["checks"] / "structure" / "impossible.sql").write_text(
        "SELECT 'impossible' AS check_name, false AS passed, '1'::text AS expected, '2'::text AS actual;\n"
    )
    with pytest.raises(CheckError) as failed:
        rebuild.rebuild(precious, options(yes=True, **small))
    assert "impossible: expected 1, is 2" in failed.value.notes
    assert failed.value.state == f"{precious.database} was not changed."
    assert works(server, precious)
    assert operators.scratch_databases(server) == []


def test_crash_of_a_reporter_leaves_the_database_as_it_was(
    server: TestServer, precious: Target, small: dict[str, Any]
) -> None:
    def refuse(event: Event) -> None:
        if isinstance(event, StepStarted) and event.step == "swap":
            raise PreflightError("refused", where="the test", hint="")

    with pytest.raises(PreflightError) as refused:
        rebuild.rebuild(precious, options(yes=True, **small), report=refuse)
    assert refused.value.state == f"{precious.database} was not changed."
    assert works(server, precious)
    assert operators.scratch_databases(server) == []


def test_broken_migration_of_a_database_that_is_missing_leaves_none(
    server: TestServer, target: Target, small: dict[str, Any]
) -> None:
    (small["migrations"] / "0002_break_it.sql").write_text(BROKEN)
    with pytest.raises(MigrationError) as failed:
        rebuild.rebuild(target, options(**small))
    assert failed.value.state.startswith(f"There is no database {target.database}")
    assert not exists(server, target.database)
    assert operators.scratch_databases(server) == []


def test_check_builds_and_verifies_says_what_would_be_lost_and_changes_nothing(
    server: TestServer, precious: Target, small: dict[str, Any]
) -> None:
    before = server.execute(f"SELECT oid::text FROM pg_database WHERE datname = '{precious.database}'")
    result = rebuild.rebuild(precious, options(check=True, **small))
    assert result.checked
    assert result.consent.kind == ANY
    assert "table public.precious" in {item.name for item in result.lost}
    assert result.fingerprint == rebuild.rebuild(precious, options(check=True, **small)).fingerprint
    assert server.execute(f"SELECT oid::text FROM pg_database WHERE datname = '{precious.database}'") == before
    assert works(server, precious)
    assert operators.scratch_databases(server) == []


HAND_MADE = {
    "CREATE VIEW public.latest AS SELECT 1 AS x": "view public.latest",
    "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql RETURN 1": "function public.f()",
    "ALTER TABLE public.least ADD COLUMN more text": 'table public."least": column more: text',
    "GRANT SELECT ON public.least TO PUBLIC": 'table public."least": grant SELECT to public',
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC": "default privileges",
    "CREATE PUBLICATION news": "publication news",
}


@pytest.mark.parametrize("statement", HAND_MADE)
def test_what_was_made_by_hand_is_listed_and_outside_dev_needs_consent(
    server: TestServer, target: Target, small: dict[str, Any], statement: str
) -> None:
    other = replace(target, environment="test")
    rebuild.rebuild(other, options(**small))
    server.execute(statement, target.database)
    with pytest.raises(ConsentError) as refused:
        rebuild.rebuild(other, options(**small))
    assert HAND_MADE[statement] in str(refused.value)
    assert refused.value.state == f"{target.database} was not changed."
    said: list[str] = []
    result = rebuild.rebuild(other, options(yes=True, **small), report=lambda event: said.append(str(event)))
    assert len(result.lost) == 1
    assert HAND_MADE[statement] in "".join(said)
    assert rebuild.rebuild(other, options(**small)).lost == ()


def test_schema_that_cannot_be_read_any_more_counts_as_lost(
    server: TestServer, target: Target, small: dict[str, Any]
) -> None:
    target = replace(target, environment="test")
    rebuild.rebuild(target, options(**small))

    def end_reader(event: Event) -> None:
        if isinstance(event, StepStarted) and event.step == "verify":
            reads = f"datname = '{target.database}' AND application_name LIKE 'kapman-dbops%'"
            server.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {reads}")

    with pytest.raises(ConsentError, match="do not build what else there may be: its schema could not be read"):
        rebuild.rebuild(target, options(**small), report=end_reader)
    assert operators.scratch_databases(server) == []


def test_what_was_made_by_hand_is_only_listed_in_dev(server: TestServer, target: Target, small: dict[str, Any]) -> None:
    rebuild.rebuild(target, options(**small))
    server.execute("CREATE VIEW public.latest AS SELECT 1 AS x", target.database)
    assert [str(item) for item in rebuild.rebuild(target, options(**small)).lost] == ["view public.latest"]


OWN = """
DO $$ BEGIN
    EXECUTE format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 20', current_database());
    EXECUTE format('COMMENT ON DATABASE %I IS ''by a migration''', current_database());
    EXECUTE format('ALTER DATABASE %I SET work_mem = ''9MB''', current_database());
END $$;
"""


@pytest.mark.parametrize("who", ["superuser", "superuser for an owner", "owner", "member"])
def test_what_migrations_set_on_their_own_database_stays(
    server: TestServer, target: Target, small: dict[str, Any], who: str
) -> None:
    (small["migrations"] / "0002_set_own.sql").write_text(f"-- Why: x\n-- Needs: 0001.\n-- Locks: none\n{OWN}")
    query = f"""
        SELECT pg_get_userbyid(datdba)::text, datconnlimit, shobj_description(d.oid, 'pg_database'), setconfig::text,
            has_database_privilege('public', d.oid, 'CONNECT')
        FROM pg_database AS d JOIN pg_db_role_setting AS s ON s.setdatabase = d.oid AND s.setrole = 0
        WHERE datname = '{target.database}'"""
    with operators.role(server) as owner, operators.role(server, f"LOGIN CREATEDB IN ROLE {owner}") as member:
        names = {"superuser": "postgres", "superuser for an owner": "postgres", "owner": owner, "member": member}
        operator = target if "superuser" in who else as_role(target, names[who])
        own = "postgres" if who == "superuser" else owner
        if who != "superuser":
            server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        for _ in range(2):
            rebuild.rebuild(operator, options(**small))
            assert server.execute(query) == [(own, 20, "by a migration", "{work_mem=9MB}", False)]
        servers.drop_quietly(server, target.database)


def test_first_file_may_run_outside_a_transaction_where_the_owner_is_another_role(
    server: TestServer, target: Target, tmp_path: Path, small: dict[str, Any]
) -> None:
    with operators.role(server, "LOGIN") as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        directory = write(
            tmp_path / "migrations", "-- migrate: no-transaction\nANALYZE;", "CREATE TABLE public.t (n integer);"
        )
        rebuild.rebuild(target, options(yes=True, **{**small, "migrations": directory}))
        tables = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('dbops', 'public')"
        assert server.execute(tables, target.database) == [(owner,)]


def test_plan_only_reads(server: TestServer, precious: Target) -> None:
    planned = rebuild.plan(precious, options())
    assert not planned.refusals
    assert planned.consent.kind == ANY
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
        "is rebuilt in",
    ):
        assert words in done.stdout
    assert exists(server, target.database)
