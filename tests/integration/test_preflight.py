"""Every condition that would make a rebuild fail is found before anything is destroyed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dbops import postgres
from dbops.database import rebuild
from dbops.database.properties import find_database
from dbops.database.rebuild import RebuildPlan
from dbops.database.wait import wait
from dbops.errors import ConsentError, PreflightError, ServerError
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.operators import as_role, dsn, options, works
from tests.support.servers import TestServer


def plan(target: Target, **changes: Any) -> RebuildPlan:
    return rebuild.plan(target, options(**changes))


def refused(planned: RebuildPlan) -> set[str]:
    return {finding.name for finding in planned.refusals}


def test_sound_target_passes_every_finding(built: Target) -> None:
    found = plan(built)
    assert not found.refusals
    assert len(found.conditions) > 12
    assert found.inspection.server.timescaledb.startswith("2.")


@pytest.mark.parametrize("name", ["postgres", "template0", "template1"])
def test_databases_of_the_server_itself_are_refused(server: TestServer, name: str) -> None:
    assert "database name" in refused(plan(server.target(name)))


def test_maintenance_database_is_refused(server: TestServer, built: Target) -> None:
    assert "database name" in refused(plan(replace(built, maintenance_database=built.database)))


def test_what_blocks_or_would_go_with_a_drop_is_found(own_server: TestServer, precious_on_own_server: Target) -> None:
    server, precious = own_server, precious_on_own_server
    name = precious.database
    with psycopg.connect(dsn(precious), autocommit=True) as connection:
        connection.execute(f"SELECT pg_create_logical_replication_slot('slot_{name}', 'pgoutput')")
        connection.execute("CREATE PUBLICATION news")
        connection.execute(
            "CREATE SUBSCRIPTION paper CONNECTION 'host=nowhere' PUBLICATION news WITH (connect = false)"
        )
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE waiting (id integer)")
        connection.execute("PREPARE TRANSACTION 'undecided'")
    try:
        found = plan(precious)
        with servers.database(server) as other:
            of_another_database = refused(plan(other))
        with pytest.raises(PreflightError) as error:
            rebuild.rebuild(precious, options(yes=True))
    finally:
        server.execute("ROLLBACK PREPARED 'undecided'", name)
        server.execute(f"SELECT pg_drop_replication_slot('slot_{name}')", name)
        server.execute("ALTER SUBSCRIPTION paper SET (slot_name = NONE)", name)
        server.execute("DROP SUBSCRIPTION paper", name)
    assert refused(found) == {"no prepared transactions", "no replication slots", "no subscriptions"}
    assert of_another_database == set()
    assert len(error.value.notes) == 3
    assert all(word in "".join(error.value.notes) for word in ("undecided", f"slot_{name}", "paper"))
    assert works(server, precious)


def test_template_database_is_refused(server: TestServer, built: Target) -> None:
    server.execute(f'ALTER DATABASE "{built.database}" IS_TEMPLATE true')
    try:
        assert "not a template" in refused(plan(built))
    finally:
        server.execute(f'ALTER DATABASE "{built.database}" IS_TEMPLATE false')


def test_role_that_does_not_own_the_database_is_refused(server: TestServer, precious: Target) -> None:
    with operators.role(server) as other:
        with pytest.raises(PreflightError, match="may not drop it"):
            rebuild.rebuild(as_role(precious, other), options(yes=True))
        assert works(server, precious)


def test_owner_without_createdb_is_refused_before_the_drop(server: TestServer, target: Target) -> None:
    with operators.role(server, "LOGIN") as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        with pytest.raises(PreflightError, match="may not create databases") as error:
            rebuild.rebuild(as_role(target, owner), options())
        assert "CREATEDB" in error.value.hint
        assert operators.exists(server, target.database)


def test_property_that_this_role_could_not_restore_is_found_before_the_drop(server: TestServer, target: Target) -> None:
    with operators.role(server) as owner, operators.role(server, "LOGIN") as other:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        server.execute(f"ALTER ROLE {other} IN DATABASE \"{target.database}\" SET work_mem TO '7MB'")
        with pytest.raises(PreflightError, match=r"could not create .* again as it is"):
            rebuild.rebuild(as_role(target, owner), options())
        assert operators.exists(server, target.database)
        server.execute(f'ALTER ROLE {other} IN DATABASE "{target.database}" RESET ALL')
        server.execute(f"ALTER DATABASE \"{target.database}\" SET log_statement TO 'all'")
        with pytest.raises(PreflightError, match=r"could not create .* again as it is"):
            rebuild.rebuild(as_role(target, owner), options(check=True))
    assert operators.scratch_databases(server) == []


@pytest.mark.slow
def test_superusers_session_in_an_owners_database_is_found(server: TestServer, target: Target) -> None:
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        with psycopg.connect(dsn(target), application_name="the boss"):
            found = plan(as_role(target, owner))
        (finding,) = found.refusals
        assert finding.name == "sessions can be ended"
        assert "the boss" in finding.reason


def test_broken_migration_files_are_found(built: Target, tmp_path: Path) -> None:
    directory = tmp_path / "migrations"
    directory.mkdir()
    assert refused(plan(built, migrations=directory)) == {"migration files"}
    (directory / "0001_create_x.sql").write_text("-- One.\nSELECT 1;\n")
    (directory / "0003_create_y.sql").write_text("-- Three.\nSELECT 1;\n")
    assert refused(plan(built, migrations=directory)) == {"migration files"}


def test_missing_check_files_are_found_before_anything_is_dropped(
    server: TestServer, precious: Target, tmp_path: Path
) -> None:
    assert refused(plan(precious, checks=tmp_path)) == {"check files"}
    with pytest.raises(PreflightError, match="there is no check file in the structure suite"):
        rebuild.rebuild(precious, options(yes=True, checks=tmp_path))
    assert works(server, precious)


def test_migrations_of_one_number_are_found(empty: Target, small: dict[str, Any]) -> None:
    (small["migrations"] / "0001_create_it_twice.sql").write_text("-- One.\nSELECT 1;\n")
    assert refused(plan(empty, migrations=small["migrations"])) == {"migration files"}


def test_locale_that_the_server_does_not_have_any_more_is_found(server: TestServer, empty: Target) -> None:
    server.execute(f"UPDATE pg_database SET datcollate = 'xx_XX.utf8' WHERE datname = '{empty.database}'")
    with pytest.raises(PreflightError, match="locale") as error:
        rebuild.rebuild(empty, options(check=True))
    assert error.value.state == f"{empty.database} was not changed."
    assert operators.scratch_databases(server) == []


@pytest.mark.parametrize("task", [rebuild.drop, rebuild.rebuild])
def test_database_is_not_dropped_where_its_successor_cannot_be_created(
    server: TestServer, precious: Target, task: Callable[..., object]
) -> None:
    ((locale,),) = server.execute(f"SELECT datcollate FROM pg_database WHERE datname = '{precious.database}'")
    change = f"UPDATE pg_database SET datcollate = '%s' WHERE datname = '{precious.database}'"
    server.execute(change % "xx_XX.utf8")
    with pytest.raises(PreflightError, match="locale") as error:
        task(precious, options(confirm=precious.database))
    assert error.value.state == f"{precious.database} was not changed."
    server.execute(change % locale)
    assert works(server, precious)
    assert operators.scratch_databases(server) == []


def test_marker_that_cannot_be_read_leaves_the_database_as_it_is(server: TestServer, empty: Target) -> None:
    broken = f"{postgres.MARKER}{{"
    server.execute(f"COMMENT ON DATABASE \"{empty.database}\" IS '{broken}'")
    rebuild.drop(empty, options())
    assert rebuild.create(empty, options()).kept
    with postgres.maintenance(empty) as connection:
        found = find_database(connection, empty.database)
    assert found is not None
    assert (found.marker, found.properties.comment) == (None, broken)


def test_all_refusals_come_at_once(server: TestServer, built: Target, tmp_path: Path) -> None:
    with operators.role(server, "LOGIN") as other:
        found = plan(as_role(built, other), migrations=Path(tmp_path / "none"))
        assert refused(found) >= {"right to drop", "right to create", "migration files"}
        with pytest.raises(PreflightError) as error:
            rebuild.rebuild(as_role(built, other), options(yes=True, migrations=Path(tmp_path / "none")))
    assert len(error.value.notes) == len(found.refusals)
    assert error.value.state == "Nothing was changed."


def test_server_without_preloaded_timescaledb_is_refused_and_keeps_its_rows() -> None:
    with servers.throwaway_server("shared_preload_libraries = ''\n") as plain:
        plain.execute("CREATE DATABASE rows TEMPLATE template0")
        target = plain.target("rows")
        operators.fill(target)
        with pytest.raises(PreflightError, match="does not load it"):
            rebuild.rebuild(target, options(yes=True))
        assert operators.rows_left(target) == operators.ROWS
        with pytest.raises(ServerError, match="does not load it"):
            wait(target, timeout=0.1)


def test_drop_by_an_owner_without_createdb_must_forget_the_properties(server: TestServer, target: Target) -> None:
    with operators.role(server, "LOGIN") as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        with pytest.raises(PreflightError, match="would lose its properties") as refused:
            rebuild.drop(as_role(target, owner), options())
        assert "--forget" in refused.value.hint
        assert "CREATEDB" in refused.value.hint
        assert operators.exists(server, target.database)
        assert rebuild.drop(as_role(target, owner), options(), forget=True).existed
        assert not operators.exists(server, target.database)
    assert operators.scratch_databases(server) == []


def test_confirmation_of_another_name_is_refused(built: Target) -> None:
    with pytest.raises(ConsentError):
        rebuild.drop(built, options(confirm="another"))


@pytest.mark.slow
def test_server_without_template0_is_named() -> None:
    with servers.throwaway_server() as bare:
        bare.execute("ALTER DATABASE template0 RENAME TO renamed")
        with pytest.raises(PreflightError, match="no database template0"):
            plan(bare.target("kapman_dev"))
