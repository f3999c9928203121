"""Who may migrate, and when: one session at a time, no operator at work, the roles that have what it takes."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dbops import __version__, postgres
from dbops.database import existing, rebuild, status
from dbops.errors import MigrationError, PreflightError, ServerError
from dbops.events import Event, Message
from dbops.migrations.alone import MIGRATION_LOCK
from dbops.migrations.files import discover
from dbops.migrations.ledger import State
from dbops.migrations.options import MigrationOptions
from dbops.migrations.run import migrate, plan
from dbops.postgres import Connection
from dbops.settings import ROOT, Target
from tests.support import operators, servers
from tests.support.migration_files import write, written
from tests.support.operators import as_role
from tests.support.servers import TestServer, fresh_name, rows

TABLE = "CREATE TABLE public.t (n integer);"
FILES = discover(ROOT / "db" / "migrations")


@pytest.fixture
def postgres_is_closed(own_server: TestServer) -> Iterator[None]:
    """Let only superusers connect to the database postgres."""
    own_server.execute("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
    yield
    own_server.execute("GRANT CONNECT ON DATABASE postgres TO PUBLIC")


def test_migration_waits_once_for_an_operator_and_is_not_in_his_way(
    server: TestServer, empty: Target, tmp_path: Path
) -> None:
    said: list[str] = []
    outcome: list[int] = []
    files = written(tmp_path, TABLE)

    def note(event: Event) -> None:
        if isinstance(event, Message) and "waiting" in event.text:
            said.append(event.text)

    def work() -> None:
        outcome.append(len(existing.migrate(empty, files, report=note).applied))

    with postgres.operator_session(empty) as operator:
        thread = threading.Thread(target=work)
        thread.start()
        until = time.monotonic() + 30
        while not said:
            assert time.monotonic() < until
            time.sleep(0.05)
        # Another database takes its place, which a session in it would prevent.
        server.execute(f'ALTER DATABASE "{empty.database}" ALLOW_CONNECTIONS false')
        time.sleep(0.5)
        server.execute(f'DROP DATABASE "{empty.database}"')
        time.sleep(0.5)
        server.execute(f'CREATE DATABASE "{empty.database}" TEMPLATE template0')
        assert not outcome
        pid = operator.info.backend_pid
    thread.join(30)
    assert outcome == [1]
    assert len(said) == 1
    assert f"another operator: process {pid} (" in said[0]


def test_operator_who_finishes_while_a_migration_looks_for_him_is_no_error(
    server: TestServer, empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = postgres.connect

    def connect_before_he_finishes(target: Target, *arguments: Any, **options: Any) -> Connection:
        try:
            return connect(target, *arguments, **options)
        except ServerError:
            server.execute(f'CREATE DATABASE "{empty.database}" TEMPLATE template0')
            raise

    server.execute(f'DROP DATABASE "{empty.database}"')
    monkeypatch.setattr(postgres, "connect", connect_before_he_finishes)
    assert len(existing.migrate(empty, written(tmp_path, TABLE)).applied) == 1


def test_operator_who_comes_while_a_migration_takes_its_lock_is_seen(
    empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_lock = postgres.try_lock
    with contextlib.ExitStack() as came:

        def come_and_lock(connection: Connection, key: int) -> bool:
            came.enter_context(postgres.operator_session(empty))
            return try_lock(connection, key)

        monkeypatch.setattr(postgres, "try_lock", come_and_lock)
        with pytest.raises(PreflightError, match="another operator is at work on"):
            existing.migrate(empty, written(tmp_path, TABLE), MigrationOptions(patience=-1))


@pytest.mark.slow
def test_wait_for_operators_and_migrations_together_is_as_long_as_it_says(empty: Target, tmp_path: Path) -> None:
    files = written(tmp_path, TABLE)
    began = time.monotonic()
    with postgres.connect(empty) as other:
        assert postgres.try_lock(other, MIGRATION_LOCK)
        with postgres.operator_session(empty):
            release = threading.Timer(1, other.close)
            release.start()
            with pytest.raises(PreflightError, match="another operator is at work on") as refused:
                existing.migrate(empty, files, MigrationOptions(patience=4))
            release.join()
    assert 4 <= time.monotonic() - began < 8
    assert "Nothing was applied." in refused.value.advice


@pytest.mark.slow
def test_rebuild_waits_for_a_migration_and_names_it_when_the_time_is_up(empty: Target, small: dict[str, Any]) -> None:
    said: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Message) and event.text.startswith("waiting up to"):
            said.append(event.text)
            if len(said) == 2:
                threading.Timer(0.5, other.close).start()

    with postgres.connect(empty) as other:
        holder = f"process {other.info.backend_pid} ("
        assert postgres.try_lock(other, MIGRATION_LOCK)
        with pytest.raises(PreflightError, match=f"a migration of {empty.database} is running") as refused:
            rebuild.rebuild(empty, operators.options(timeout=0.5, **small), report=note)
        assert refused.value.state == f"{empty.database} was not changed."
        rebuild.rebuild(empty, operators.options(timeout=60, **small), report=note)
    assert [holder in text for text in (*refused.value.notes, *said)] == [True, True, True]


def test_lock_is_free_where_a_migration_gave_up(empty: Target, tmp_path: Path) -> None:
    with postgres.operator_session(empty):
        with pytest.raises(PreflightError):
            existing.migrate(empty, written(tmp_path, TABLE), MigrationOptions(patience=0))
        with postgres.connect(empty) as connection:
            assert postgres.try_lock(connection, MIGRATION_LOCK)


def test_migration_of_another_database_is_not_named_as_who_is_in_the_way(
    server: TestServer, empty: Target, tmp_path: Path
) -> None:
    """Both hold the same lock, each in its own database."""
    with (
        servers.database(server) as other,
        postgres.connect(other) as elsewhere,
        postgres.connect(empty) as here,
    ):
        assert all(postgres.try_lock(session, MIGRATION_LOCK) for session in (elsewhere, here))
        with pytest.raises(PreflightError, match=rf"is running: process {here.info.backend_pid} \("):
            existing.migrate(empty, written(tmp_path, TABLE), MigrationOptions(patience=0))


@pytest.mark.parametrize("database", ["postgres", "template1", "upkeep"])
def test_system_databases_are_refused(server: TestServer, database: str) -> None:
    target = replace(server.target(database), maintenance_database="upkeep")
    for run in (existing.migrate, migrate, plan, existing.rehearse):
        with pytest.raises(PreflightError, match="is a system database"):
            run(target, FILES)
    if database != "upkeep":
        assert server.execute("SELECT to_regnamespace('dbops') IS NULL", database) == [(True,)]


@pytest.mark.slow
def test_owner_who_may_not_connect_to_postgres_migrates_his_database(
    own_server: TestServer, postgres_is_closed: None
) -> None:
    with operators.role(own_server, "LOGIN") as owner:
        own = as_role(own_server.target(fresh_name()), owner)
        own_server.execute(f'CREATE DATABASE "{own.database}" OWNER {owner} TEMPLATE template0')
        assert len(existing.migrate(own, FILES).applied) == len(FILES)
        assert existing.migrate(own, FILES).applied == ()
        for verb in (["db.migrate"], ["db.migrate", "--plan"], ["db.migrate", "--check"], ["db.status"]):
            done = operators.invoke(*verb, target=own)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("inherits", ["NOINHERIT", "INHERIT"])
@pytest.mark.slow
def test_members_of_the_owner_migrate_again_and_again(server: TestServer, target: Target, inherits: str) -> None:
    with operators.role(server, "NOLOGIN") as team:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {team} TEMPLATE template0')
        members = [fresh_name("member") for _ in range(2)]
        for member in members:
            server.execute(f"CREATE ROLE {member} LOGIN {inherits} PASSWORD '{operators.PASSWORD}' IN ROLE {team}")
        try:
            for member in members:
                mine = as_role(target, member)
                existing.migrate(mine, FILES)
                assert {item.state for item in status.status(mine, FILES).items} == {State.APPLIED}
                assert plan(mine, FILES).pending == ()
                # The label of a copy is renewed as the owner of its schema.
                label = '\'{"environment": "dev", "system_identifier": "1"}\''
                server.execute(f"COMMENT ON SCHEMA dbops IS {label}", target.database)
                existing.migrate(mine, FILES)
                found = status.status(mine, FILES).label
                assert found is not None
                assert found.native
        finally:
            for member in members:
                server.execute(f"DROP ROLE {member}")
            server.execute(f'DROP DATABASE "{target.database}" WITH (FORCE)')


LEAN = {
    "CREATE ON SCHEMA public": ["GRANT CREATE ON DATABASE {database} TO {role}"],
    "CREATE ON DATABASE": ["GRANT CREATE ON SCHEMA public TO {role}"],
    "SELECT, INSERT, UPDATE ON dbops.schema_migrations": [
        "GRANT CREATE ON DATABASE {database} TO {role}",
        "GRANT CREATE ON SCHEMA public TO {role}",
        "GRANT USAGE ON SCHEMA dbops TO {role}",
        "GRANT SELECT ON dbops.schema_migrations TO {role}",
    ],
}


@pytest.mark.parametrize("missing", LEAN)
def test_right_that_a_role_lacks_is_named_before_the_first_statement(
    server: TestServer, empty: Target, tmp_path: Path, missing: str
) -> None:
    files = written(tmp_path, TABLE)
    if "schema_migrations" in missing:
        migrate(empty, files)
        files = discover(write(tmp_path, "CREATE TABLE public.u ();", first=2))
    with operators.role(server, "LOGIN") as lean:
        name = f'"{empty.database}"'
        for grant in LEAN[missing]:
            server.execute(grant.format(database=name, role=lean), empty.database)
        for run in (plan, migrate):
            with pytest.raises(ServerError, match=f"to migrate it, {lean} lacks") as refused:
                run(as_role(empty, lean), files)
            assert missing in refused.value.what
        assert "Connect as postgres" in refused.value.hint
        for grant in refused.value.hint.partition("let it run: ")[2].split(";"):
            if grant.strip():
                server.execute(grant, empty.database)
        assert len(migrate(as_role(empty, lean), files).applied) == 1
        server.execute(f'DROP DATABASE "{empty.database}" WITH (FORCE)')


def test_rights_that_a_message_names_are_enough_for_a_file_outside_a_transaction(
    server: TestServer, empty: Target, tmp_path: Path
) -> None:
    migrate(empty, written(tmp_path, TABLE))
    index = "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY u_n ON public.u (n);"
    files = discover(write(tmp_path, "CREATE TABLE public.u (n integer);", index, first=2))
    with operators.role(server, "LOGIN") as lean:
        for grant in ("USAGE ON SCHEMA dbops", "SELECT ON dbops.schema_migrations"):
            server.execute(f"GRANT {grant} TO {lean}", empty.database)
        with pytest.raises(ServerError, match="lacks") as refused:
            plan(as_role(empty, lean), files)
        for grant in refused.value.hint.partition("let it run: ")[2].rstrip(";").split(";"):
            server.execute(grant, empty.database)
        try:
            assert len(migrate(as_role(empty, lean), files).applied) == 2
        finally:
            server.execute(f'DROP DATABASE "{empty.database}" WITH (FORCE)')


def test_owner_whose_schema_public_belongs_to_another_is_told(
    server: TestServer, target: Target, tmp_path: Path
) -> None:
    with operators.role(server, "LOGIN") as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        server.execute("ALTER SCHEMA public OWNER TO postgres", target.database)
        with pytest.raises(ServerError, match="lacks USAGE, CREATE ON SCHEMA public"):
            migrate(as_role(target, owner), written(tmp_path, TABLE))


def test_table_of_another_role_is_no_fault_of_the_file(server: TestServer, target: Target, tmp_path: Path) -> None:
    with operators.role(server, "LOGIN") as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        files = written(tmp_path, TABLE)
        migrate(as_role(target, owner), files)
        server.execute("ALTER TABLE public.t OWNER TO postgres", target.database)
        later = discover(write(tmp_path, "ALTER TABLE public.t ADD COLUMN m integer;", first=2))
        with pytest.raises(MigrationError, match="must be owner of table t") as failure:
            migrate(as_role(target, owner), later)
        assert "the role lacks a privilege" in failure.value.hint


def test_ledger_names_the_commit_of_the_checkout(empty: Target, tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    files = written(tmp_path, TABLE, "-- migrate: no-transaction\nVACUUM;")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "c"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    migrate(empty, files)
    assert rows(empty, "SELECT DISTINCT tool_version FROM dbops.schema_migrations") == [
        (f"{__version__} ({commit[:12]})",)
    ]


@pytest.mark.slow
def test_restore_point_is_made_in_prod_where_the_server_archives(tmp_path: Path) -> None:
    settings = "archive_mode = on\narchive_command = 'true'\n"
    with servers.throwaway_server(settings) as archiving, servers.database(archiving) as target:
        said: list[str] = []

        def note(event: Event) -> None:
            if isinstance(event, Message) and "restore point" in event.text:
                said.append(event.text)

        prod = replace(target, environment="prod")
        migrate(prod, written(tmp_path, TABLE), MigrationOptions(check=True), report=note)
        migrate(target, written(tmp_path, TABLE), report=note)
        assert said == []
        later = discover(write(tmp_path, "SELECT 1;", first=2))
        migrate(prod, later, report=note)
        assert len(said) == 1
        assert f"migrate {target.database}" in said[0]
        assert " at 0/" in said[0]
        migrate(prod, later, report=note)
        assert len(said) == 1, "nothing was applied"
