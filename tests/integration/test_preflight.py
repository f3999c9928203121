"""Everything that could fail half-way is found before anything is destroyed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from dbops.lifecycle import state as kept
from dbops.lifecycle.properties import find
from dbops.lifecycle.server import read as server_of
from dbops.preflight import Preflight, preflight
from dbops.preflight.model import View
from dbops.preflight.server import is_primary
from dbops.wait import wait

from dbops import postgres, rebuild
from dbops.errors import ConsentError, PreflightError, ServerError
from dbops.events import ignore
from tests.support import operators, servers
from tests.support.operators import as_role, dsn, options, works


def refused(found: Preflight) -> set[str]:
    return {finding.name for finding in found.refusals}


def test_sound_target_passes_every_finding(built, state):
    found = preflight(built, state, migrations=servers.settings.ROOT / "db" / "migrations")
    assert not found.refusals
    assert len(found.findings) > 12
    assert found.timescaledb.startswith("2.")


@pytest.mark.parametrize("name", ["postgres", "template0", "template1"])
def test_databases_of_the_server_itself_are_refused(server, state, name):
    assert "database name" in refused(preflight(server.target(name), state))


def test_maintenance_database_is_refused(server, built, state):
    assert "database name" in refused(preflight(replace(built, maintenance_database=built.database), state))


def test_what_blocks_or_would_go_with_a_drop_is_found(own_server, precious_on_own_server, state):
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
        found = preflight(precious, state)
        with pytest.raises(PreflightError) as error:
            rebuild.rebuild(precious, options(state, yes=True))
    finally:
        server.execute("ROLLBACK PREPARED 'undecided'", name)
        server.execute(f"SELECT pg_drop_replication_slot('slot_{name}')", name)
        server.execute("ALTER SUBSCRIPTION paper SET (slot_name = NONE)", name)
        server.execute("DROP SUBSCRIPTION paper", name)
    assert refused(found) == {"no prepared transactions", "no replication slots", "no subscriptions"}
    assert len(error.value.notes) == 3
    assert all(word in "".join(error.value.notes) for word in ("undecided", f"slot_{name}", "paper"))
    assert works(server, precious)


def test_template_database_is_refused(server, built, state):
    server.execute(f'ALTER DATABASE "{built.database}" IS_TEMPLATE true')
    try:
        assert "no template" in refused(preflight(built, state))
    finally:
        server.execute(f'ALTER DATABASE "{built.database}" IS_TEMPLATE false')


def test_role_that_does_not_own_the_database_is_refused(server, precious, state):
    with operators.role(server) as stranger:
        with pytest.raises(PreflightError, match="may not drop it"):
            rebuild.rebuild(as_role(precious, stranger), options(state, yes=True))
        assert works(server, precious)


def test_owner_without_createdb_is_refused_before_the_drop(server, target, state):
    with operators.role(server, "LOGIN") as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        with pytest.raises(PreflightError, match="may not create databases") as error:
            rebuild.rebuild(as_role(target, owner), options(state))
        assert "CREATEDB" in error.value.hint
        assert operators.exists(server, target.database)


def test_property_that_this_role_could_not_restore_is_found_before_the_drop(server, target, state):
    with operators.role(server) as owner, operators.role(server, "LOGIN") as other:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        server.execute(f"ALTER ROLE {other} IN DATABASE \"{target.database}\" SET work_mem TO '7MB'")
        with pytest.raises(PreflightError, match=r"could not create .* again as it is"):
            rebuild.rebuild(as_role(target, owner), options(state))
        assert operators.exists(server, target.database)
        server.execute(f'ALTER ROLE {other} IN DATABASE "{target.database}" RESET ALL')
        server.execute(f"ALTER DATABASE \"{target.database}\" SET log_statement TO 'all'")
        assert refused(preflight(as_role(target, owner), state)) == {"properties can be restored"}
    assert operators.scratch_databases(server) == []


def test_superusers_session_in_an_owners_database_is_found(server, target, state):
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        with psycopg.connect(dsn(target), application_name="the boss"):
            found = preflight(as_role(target, owner), state)
        (finding,) = found.refusals
        assert finding.name == "sessions can be ended"
        assert "the boss" in finding.reason


def test_broken_migration_files_are_found(built, state, tmp_path):
    directory = tmp_path / "migrations"
    directory.mkdir()
    assert refused(preflight(built, state, migrations=directory)) == {"migration files"}
    (directory / "0001_create_x.sql").write_text("-- One.\nSELECT 1;\n")
    (directory / "0003_create_y.sql").write_text("-- Three.\nSELECT 1;\n")
    assert refused(preflight(built, state, migrations=directory)) == {"migration files"}


def test_migrations_of_one_number_are_found(empty, state, small):
    (small["migrations"] / "0001_create_it_twice.sql").write_text("-- One.\nSELECT 1;\n")
    assert refused(preflight(empty, state, migrations=small["migrations"])) == {"migration files"}


def test_locale_that_the_server_does_not_have_any_more_is_found(empty, state):
    with postgres.maintenance(empty) as connection:
        here, found = server_of(connection), find(connection, empty.database)
    odd = replace(found.properties, provider="c", collate="xx_XX.utf8", ctype="xx_XX.utf8")
    kept.save(state, kept.State(here.system_identifier, empty.database, odd, new_oid=found.oid))
    (finding,) = preflight(empty, state).refusals
    assert finding.name == "properties can be restored"
    assert "locale" in finding.reason


def test_standby_is_refused(empty, state):
    with postgres.maintenance(empty) as connection:
        here, found = server_of(connection), find(connection, empty.database)
        view = View(connection, empty, replace(here, in_recovery=True), found, found.properties, ignore)
    assert not is_primary(view).passed


def test_state_directory_that_cannot_be_written_is_found(built, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    assert refused(preflight(built, file / "state")) == {"state directory"}


def test_saved_properties_that_cannot_be_read_are_found(server, built, state):
    rebuild.drop(built, options(state))
    (file,) = state.iterdir()
    file.write_text("{")
    with pytest.raises(PreflightError, match="cannot read the saved properties"):
        rebuild.create(built, options(state))


def test_all_refusals_come_at_once(server, built, tmp_path):
    (tmp_path / "file").write_text("")
    with operators.role(server, "LOGIN") as nobody:
        found = preflight(as_role(built, nobody), tmp_path / "file" / "state", migrations=Path(tmp_path / "none"))
        assert refused(found) >= {"right to drop", "right to create", "state directory", "migration files"}
        with pytest.raises(PreflightError) as error:
            found.assert_passed(built)
    assert len(error.value.notes) == len(found.refusals)


def test_server_without_preloaded_timescaledb_is_refused_and_keeps_its_rows(state):
    with servers.throwaway_server("shared_preload_libraries = ''\n") as plain:
        plain.execute("CREATE DATABASE rows TEMPLATE template0")
        target = plain.target("rows")
        operators.fill(target)
        with pytest.raises(PreflightError, match="does not load it"):
            rebuild.rebuild(target, options(state, yes=True))
        assert operators.rows_left(target) == operators.ROWS
        with pytest.raises(ServerError, match="does not load it"):
            wait(target, timeout=0.1)


def test_drop_alone_wants_no_right_to_create(server, target, state):
    with operators.role(server, "LOGIN") as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        said = []
        assert rebuild.drop(as_role(target, owner), options(state), report=said.append).existed
        assert any("may not create databases" in str(event) for event in said)


def test_confirmation_of_another_name_is_refused(built, state):
    with pytest.raises(ConsentError):
        rebuild.drop(built, options(state, confirm="another"))
