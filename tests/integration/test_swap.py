"""What a rebuild needs of the server, what may be in its way, and what clients notice of the swap."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from dbops.database import existing, operator, rebuild
from dbops.database.inspection import Impact, impact
from dbops.errors import DbopsError, PreflightError, ServerError
from dbops.events import Event, Message
from dbops.migrations.files import discover
from dbops.postgres import Connection
from dbops.settings import ROOT, Target
from tests.support import operators, servers
from tests.support.operators import as_role, dsn, options, scheduler_runs
from tests.support.servers import TestServer

EXTENSION = ROOT / "db" / "migrations" / "0001_create_timescaledb_extension.sql"


@pytest.fixture
def scheduled(small: dict[str, Any]) -> dict[str, Any]:
    """Return the least that can be built with TimescaleDB, whose scheduler has to run in the end."""
    (small["migrations"] / "0002_create_timescaledb_extension.sql").write_text(EXTENSION.read_text())
    return small


# Roles that operate for the owner.


@contextmanager
def team(server: TestServer, target: Target, member: str, group: str) -> Iterator[tuple[Target, Target]]:
    """Give a database to a group role; yield it as its two members see it, the second of whom inherits."""
    with operators.role(server, f"NOLOGIN {group}") as owner:
        options_ = (f"LOGIN {member} IN ROLE {owner}", f"LOGIN CREATEDB IN ROLE {owner}")
        with operators.role(server, options_[0]) as one, operators.role(server, options_[1]) as other:
            server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
            yield as_role(target, one), as_role(target, other)
            servers.drop_quietly(server, target.database)


@pytest.mark.parametrize(
    ("member", "group"),
    [("NOINHERIT", "CREATEDB"), ("INHERIT", "CREATEDB"), ("INHERIT CREATEDB", "")],
    ids=["as the owner", "without CREATEDB", "for the owner"],
)
@pytest.mark.slow
def test_each_member_of_the_owner_can_rebuild_again_and_again(
    server: TestServer, target: Target, member: str, group: str
) -> None:
    with team(server, target, member, group) as members:
        for one in (*members, members[0]):
            assert not rebuild.plan(one, options()).refusals
            rebuild.rebuild(one, options())
            owner = f"SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = '{target.database}'"
            ((name,),) = server.execute(owner)
            owned = "SELECT count(DISTINCT relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            assert server.execute(f"{owned} AND relowner = '{name}'::regrole", target.database) == [(1,)]
        assert operators.scratch_databases(server) == []


def test_member_who_can_neither_create_databases_nor_become_a_role_that_can_is_refused(
    server: TestServer, target: Target, small: dict[str, Any]
) -> None:
    with team(server, target, "NOINHERIT", "") as (member, _):
        with pytest.raises(PreflightError, match="may not create databases") as refused:
            rebuild.rebuild(member, options(**small))
        assert refused.value.hint.startswith("As a superuser, run ALTER ROLE")
        assert refused.value.state == "Nothing was changed."


# Limits.


@pytest.mark.parametrize(("limit", "enough"), [(1, False), (2, False), (3, True)])
@pytest.mark.parametrize("exists", [True, False])
def test_role_with_too_few_connections_is_refused_before_anything_is_created(
    server: TestServer, target: Target, small: dict[str, Any], limit: int, enough: bool, exists: bool
) -> None:
    with operators.role(server, f"LOGIN CREATEDB CONNECTION LIMIT {limit}") as tiny:
        own = as_role(target, tiny)
        if exists:
            server.execute(f'CREATE DATABASE "{target.database}" OWNER {tiny} TEMPLATE template0')
        created: list[str] = []

        def watch(event: Event) -> None:
            if "CREATE DATABASE" in str(event):
                created.append(str(event))

        if enough:
            rebuild.rebuild(own, options(**small), report=watch)
        else:
            with pytest.raises(PreflightError, match="may open"):
                rebuild.rebuild(own, options(**small), report=watch)
        assert bool(created) == enough


@pytest.mark.parametrize("who", ["the owner", "a superuser"])
def test_owner_that_may_not_create_schemas_is_told_so_before_anything_is_built(
    server: TestServer, target: Target, small: dict[str, Any], who: str
) -> None:
    with operators.role(server) as owner, operators.role(server) as other:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        server.execute(f'REVOKE CREATE ON DATABASE "{target.database}" FROM {owner}')
        own = target
        if who == "the owner":
            own = as_role(target, owner)
            server.execute(f'GRANT CREATE ON DATABASE "{target.database}" TO {other}')
        with pytest.raises(PreflightError, match="may not create schemas") as refused:
            rebuild.rebuild(own, options(**small))
        server.execute(refused.value.hint.removeprefix("As the owner, run ").removesuffix("."))
        rebuild.rebuild(own, options(**small))
        server.execute(f'DROP DATABASE "{target.database}" WITH (FORCE)')


def test_database_whose_owner_may_not_create_schemas_is_created_again_as_it_was(
    server: TestServer, target: Target
) -> None:
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        server.execute(f'REVOKE CREATE ON DATABASE "{target.database}" FROM {owner}')
        own = as_role(target, owner)
        rebuild.drop(own, options())
        assert rebuild.create(own, options()).kept
        created = f"SELECT has_database_privilege('{owner}', '{target.database}', 'CREATE')"
        assert server.execute(created) == [(False,)]


def test_superuser_that_does_not_inherit_rebuilds(server: TestServer, target: Target, small: dict[str, Any]) -> None:
    with operators.role(server, "LOGIN SUPERUSER NOINHERIT") as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        rebuild.rebuild(as_role(target, owner), options(**small))


@pytest.mark.slow
def test_prepared_transaction_that_comes_after_preflight_is_named(
    own_server: TestServer, precious_on_own_server: Target, small: dict[str, Any]
) -> None:
    served = precious_on_own_server

    def prepare(event: Event) -> None:
        if "step='create'" in str(event) and "StepStarted" in repr(event):
            servers.run(served, "BEGIN; INSERT INTO precious VALUES (1); PREPARE TRANSACTION 'late'")

    try:
        with servers.connect(own_server.target("postgres")) as bystander, bystander.transaction(force_rollback=True):
            bystander.execute("ALTER DATABASE template1 CONNECTION LIMIT -1")
            with pytest.raises(PreflightError, match="1 prepared transaction using the database") as refused:
                rebuild.rebuild(served, options(confirm=served.database, timeout=1.0, **small), report=prepare)
        assert not any(f"process {bystander.info.backend_pid} " in note for note in refused.value.notes)
    finally:
        own_server.execute("ROLLBACK PREPARED 'late'", served.database)
    assert refused.value.state.endswith("works as before.")
    assert operators.rows_left(served) == operators.ROWS


@pytest.mark.slow
def test_scratch_name_that_the_server_does_not_let_in_is_said_with_the_way_out(small: dict[str, Any]) -> None:
    with servers.throwaway_server() as strict:
        target = strict.target("kapman_dev")
        rebuild.rebuild(target, options(**small))
        assert strict.directory
        hba = next(strict.directory.rglob("pg_hba.conf"))
        hba.write_text("local kapman_dev,postgres all trust\nhost kapman_dev,postgres all samehost trust\n")
        strict.execute("SELECT pg_reload_conf()")
        with pytest.raises(PreflightError, match="does not let") as refused:
            rebuild.rebuild(target, options(**small))
        assert "pg_hba.conf" in refused.value.hint
        assert "`invoke db.drop db.create db.migrate db.verify`" in refused.value.hint
        assert refused.value.state == "kapman_dev was not changed."
        rebuild.drop(target, options())
        rebuild.create(target, options())
        existing.migrate(target, discover(small["migrations"]))
        assert strict.execute("SELECT datname::text FROM pg_database WHERE datname LIKE 'kapman%'") == [("kapman_dev",)]


# TimescaleDB's scheduler.


@pytest.mark.parametrize("who", ["superuser", "owner"])
def test_scheduler_runs_after_each_operation(
    server: TestServer, target: Target, scheduled: dict[str, Any], who: str
) -> None:
    with operators.role(server) as owner:
        own = as_role(target, owner) if who == "owner" else target
        said: list[Event] = []

        def assert_running() -> None:
            assert scheduler_runs(server, target.database, patience=0)
            assert [event for event in said if isinstance(event, Message) and event.level == "WARNING"] == []

        for _ in range(2):
            rebuild.rebuild(own, options(**scheduled), report=said.append)
            assert_running()
        rebuild.rebuild(own, options(keep=True, **scheduled), report=said.append)
        assert_running()
        rebuild.undo(own, options(), report=said.append)
        assert_running()
        with pytest.raises(PreflightError, match="given up"):
            rebuild.drop(own, options(), report=_give_up)
        assert_running()
        died = operators.operator(own, **scheduled, at="text='closed ", action="SIGKILL")
        assert died.returncode == -signal.SIGKILL
        rebuild.create(own, options(), report=said.append)
        assert_running()


def _give_up(event: Event) -> None:
    if "DROP DATABASE" not in str(event) and "text='closed " in str(event):
        raise PreflightError("given up", where="the test", hint="")


@pytest.mark.slow
def test_server_without_a_free_worker_gets_one_warning(small: dict[str, Any], scheduled: dict[str, Any]) -> None:
    few = f"{servers.PRELOAD}max_worker_processes = 3\ntimescaledb.max_background_workers = 1\n"
    with servers.throwaway_server(few) as server:
        said: list[Event] = []
        target = server.target("kapman_dev")
        for name in ("other_1", "other_2", "other_3"):
            server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
            server.execute("CREATE EXTENSION timescaledb", name)
        rebuild.rebuild(target, options(**scheduled), report=said.append)
        warnings = [event.text for event in said if isinstance(event, Message) and event.level == "WARNING"]
        assert len(warnings) == 1
        assert "scheduler does not run in kapman_dev" in warnings[0]


# A drop that hangs.


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["rebuild", "drop"])
def test_drop_that_waits_for_a_stopped_process_ends_names_it_and_says_what_is_left(
    small: dict[str, Any], verb: str
) -> None:
    said: list[str] = []
    with servers.throwaway_server() as server:
        target = server.target("kapman_dev")
        rebuild.rebuild(target, options(**small))
        with psycopg.connect(dsn(server.target()), application_name="the sleeper") as sleeper:
            pid = sleeper.info.backend_pid
            os.kill(pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                if verb == "rebuild":
                    result = rebuild.rebuild(target, options(timeout=2, **small), report=lambda e: said.append(str(e)))
                else:
                    with pytest.raises(PreflightError, match="a process of the server does not answer") as refused:
                        rebuild.drop(target, options(timeout=2))
                spent = time.monotonic() - began
            finally:
                os.kill(pid, signal.SIGCONT)
        assert spent < 30
        if verb == "rebuild":
            assert result.left
            assert f"process {pid} (" in "".join(said)
            assert "the sleeper" in "".join(said)
            psycopg.connect(dsn(target)).close()
        else:
            assert any(f"process {pid} (" in note for note in refused.value.notes)
            assert "is partly dropped and cannot be used" in refused.value.state
        assert not rebuild.rebuild(target, options(**small)).left
        names = server.execute("SELECT datname::text FROM pg_database WHERE datname LIKE 'kapman%'")
        assert names == [("kapman_dev",)]


@pytest.mark.slow
def test_interruption_of_a_drop_that_hangs_is_answered(small: dict[str, Any]) -> None:
    with servers.throwaway_server() as server:
        target = server.target("kapman_dev")
        rebuild.rebuild(target, options(**small))
        with servers.connect(server.target()) as sleeper:
            pid = sleeper.info.backend_pid
            process = operators.started(target, **small, at="StepFinished(step='swap'", action="SIGCONT")
            os.kill(pid, signal.SIGSTOP)
            try:
                waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'ProcSignalBarrier'"
                deadline = time.monotonic() + 60
                while not server.execute(waits) and time.monotonic() < deadline:
                    time.sleep(0.1)
                process.send_signal(signal.SIGTERM)
                began = time.monotonic()
                _, err = process.communicate()
                spent = time.monotonic() - began
            finally:
                os.kill(pid, signal.SIGCONT)
        assert process.returncode == 143, err
        assert spent < 10
        assert "kapman_dev is in place, and open" in err
        psycopg.connect(dsn(target)).close()


@pytest.mark.slow
def test_restore_point_is_made_before_a_prod_database_is_replaced_where_the_server_archives(
    small: dict[str, Any],
) -> None:
    archiving = f"{servers.PRELOAD}wal_level = replica\narchive_mode = on\narchive_command = 'true'\n"
    with servers.throwaway_server(archiving) as server:
        said: list[Event] = []
        for environment, points in (("dev", 0), ("prod", 1)):
            target = replace(server.target(f"kapman_{environment}"), environment=environment)
            rebuild.rebuild(target, options(**small), report=said.append)
            rebuild.rebuild(target, options(confirm=target.database, **small), report=said.append)
            found = [event.text for event in said if isinstance(event, Message) and "restore point" in event.text]
            assert len(found) == points
        assert "replace kapman_prod" in found[0]
        with operators.role(server) as owner:
            # Who may not make one rebuilds without.
            own = replace(as_role(server.target("kapman_own"), owner), environment="prod")
            rebuild.rebuild(own, options(**small), report=said.append)
            rebuild.rebuild(own, options(confirm=own.database, **small), report=said.append)
        assert sum("restore point" in str(event) for event in said) == 1


@pytest.mark.parametrize("moment", ["CREATE DATABASE", "ALLOW_CONNECTIONS true", "StepFinished(step='verify'"])
def test_session_that_is_lost_blames_no_property_and_leaves_nothing(
    server: TestServer, precious: Target, small: dict[str, Any], moment: str
) -> None:
    def end_operator(event: Event) -> None:
        if moment in str(event):
            holders = f"application_name LIKE 'kapman-dbops %:{os.getpid()}'"
            server.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {holders}")

    with pytest.raises(DbopsError, match="terminating connection") as lost:
        rebuild.rebuild(precious, options(yes=True, **small), report=end_operator)
    assert "again as it is" not in lost.value.what
    assert lost.value.state == f"{precious.database} was not changed."
    assert operators.works(server, precious)
    assert operators.scratch_databases(server) == []


def test_swap_whose_commit_is_lost_says_that_it_took_place(
    server: TestServer, precious: Target, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = operator.Operator._commit

    def commit_and_lose(self: operator.Operator, *arguments: Any) -> None:
        commit(self, *arguments)
        if self.incoming:
            self.connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(operator.Operator, "_commit", commit_and_lose)
    with pytest.raises(DbopsError) as lost:
        rebuild.rebuild(precious, options(yes=True, **small))
    assert lost.value.state == f"{precious.database} is in place, and open: nothing is left to do."
    assert operators.scratch_databases(server) == []


def test_scratch_database_leaves_a_target_closed_that_an_operator_has_closed(
    server: TestServer, precious: Target
) -> None:
    is_open = f"SELECT datallowconn FROM pg_database WHERE datname = '{precious.database}'"
    with operator.operating(precious) as at_work:
        with operator.scratch_database(precious):
            at_work.close(at_work.clean_up_and_inspect())
        assert server.execute(is_open) == [(False,)]
        at_work.undo()
    assert server.execute(is_open) == [(True,)]


def test_member_who_worked_as_the_owner_leaves_nothing_when_the_session_is_lost(
    server: TestServer, target: Target, small: dict[str, Any]
) -> None:
    def end_operator(event: Event) -> None:
        if "StepFinished(step='verify'" in str(event):
            holders = f"application_name LIKE 'kapman-dbops %:{os.getpid()}'"
            server.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {holders}")

    with team(server, target, "NOINHERIT", "CREATEDB") as (member, _):
        with pytest.raises(DbopsError, match="terminating connection") as lost:
            rebuild.rebuild(member, options(**small), report=end_operator)
        assert lost.value.state == f"{target.database} was not changed."
        assert operators.scratch_databases(server) == []


@pytest.mark.slow
def test_owner_drops_a_database_that_autovacuum_works_in() -> None:
    """Only a superuser may end its workers by force."""
    dawdling = "autovacuum_naptime = 1\nautovacuum_vacuum_cost_delay = 100\nautovacuum_vacuum_cost_limit = 1\n"
    with servers.throwaway_server(servers.PRELOAD + dawdling) as server, operators.role(server) as owner:
        own = as_role(server.target("kapman_dev"), owner)
        server.execute(f"CREATE DATABASE kapman_dev OWNER {owner} TEMPLATE template0")
        servers.run(own, "CREATE TABLE t AS SELECT generate_series(1, 100000) AS n", "DELETE FROM t")
        works = "SELECT 1 FROM pg_stat_activity WHERE datname = 'kapman_dev' AND backend_type = 'autovacuum worker'"
        deadline = time.monotonic() + 60
        while not server.execute(works):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert rebuild.drop(own, options(confirm="kapman_dev", timeout=15)).existed
        assert not operators.exists(server, "kapman_dev")


@pytest.mark.slow
def test_session_that_began_in_the_moment_of_closing_is_ended_before_the_next_attempt(
    server: TestServer, empty: Target, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[Connection] = []
    leave = operator.Operator.leave

    def leave_and_let_one_in(self: operator.Operator) -> None:
        leave(self)
        if self.closed_at is not None and not late:
            server.execute(f'ALTER DATABASE "{empty.database}" ALLOW_CONNECTIONS true')
            late.append(servers.connect(empty))
            server.execute(f'ALTER DATABASE "{empty.database}" ALLOW_CONNECTIONS false')

    monkeypatch.setattr(operator.Operator, "leave", leave_and_let_one_in)
    result = rebuild.rebuild(empty, options(timeout=20, **small))
    assert [session.pid for session in result.ended] == [late[0].info.backend_pid]
    with pytest.raises(psycopg.OperationalError, match="terminating connection"):
        late[0].execute("SELECT 1")


@contextmanager
def altering(server: TestServer, own: Target) -> Iterator[list[str]]:
    """Alter all databases of a role again and again, each in a transaction of 30 ms; yield the names as they come."""
    done = threading.Event()
    altered: list[str] = []
    names = "SELECT datname::text FROM pg_database WHERE pg_get_userbyid(datdba) = current_user"

    def alter() -> None:
        while not done.is_set():
            # To alter a database that is being dropped ends the session.
            with suppress(psycopg.OperationalError), servers.connect(own, "postgres") as connection:
                while not done.is_set():
                    for (name,) in connection.execute(names).fetchall():
                        with suppress(psycopg.ProgrammingError, psycopg.InternalError), connection.transaction():
                            connection.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1'.encode())
                            time.sleep(0.03)
                            altered.append(str(name))
                    time.sleep(0.02)

    thread = threading.Thread(target=alter)
    thread.start()
    try:
        yield altered
    finally:
        done.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["rebuild", "keep", "undo", "restored", "drop and create"])
def test_session_that_alters_the_same_databases_at_the_same_moments_stops_nothing(
    server: TestServer, target: Target, small: dict[str, Any], verb: str
) -> None:
    agreed = options(confirm=target.database, keep=verb == "keep", timeout=30, **small)
    with operators.role(server) as owner:
        own = as_role(target, owner)
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        kept = rebuild.rebuild(
            target, options(confirm=target.database, keep=verb in {"undo", "restored"}, **small)
        ).kept
        beside = ""
        if verb == "restored":
            beside = servers.fresh_name()
            server.execute(f'CREATE DATABASE "{beside}" OWNER {owner} TEMPLATE template0')
            rebuild.rebuild(replace(target, database=beside), options(**small))
            server.execute(f"ALTER DATABASE \"{beside}\" SET work_mem = '9MB'")
        with altering(server, own) as altered:
            if verb == "drop and create":
                rebuild.drop(target, agreed)
                rebuild.create(target, agreed)
            elif verb in {"undo", "restored"}:
                rebuild.undo(target, agreed, restored=beside)
            else:
                rebuild.rebuild(target, agreed)
        assert target.database in altered
        assert servers.rows(own, "SELECT current_database()::text") == [(target.database,)]
        left = operators.scratch_databases(server)
        assert len(left) == int(verb in {"keep", "restored"}), kept
        for name in left:
            assert server.execute(f"SELECT datallowconn FROM pg_database WHERE datname = '{name}'") == [(False,)]
        for name in (*left, target.database):
            servers.drop_quietly(server, name)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["rebuild", "undo", "drop"])
def test_session_that_has_altered_a_database_and_does_not_commit_is_named(
    server: TestServer, target: Target, small: dict[str, Any], verb: str
) -> None:
    rebuild.rebuild(target, options(**small))
    kept = rebuild.rebuild(target, options(confirm=target.database, keep=True, **small)).kept
    agreed = options(confirm=target.database, timeout=1, **small)
    with servers.connect(target, "postgres") as other, other.transaction():
        for name in (kept, target.database):
            other.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1'.encode())
        with pytest.raises(PreflightError, match="could not alter") as caught:
            getattr(rebuild, verb)(target, agreed)
        assert any(f"process {other.info.backend_pid} " in note for note in caught.value.notes)
        assert caught.value.state == f"{target.database} was not changed."
    getattr(rebuild, verb)(target, agreed)
    for name in (*operators.scratch_databases(server), target.database):
        servers.drop_quietly(server, name)


def end_from_outside(inside: Connection, server: TestServer) -> None:
    """End a session before it asks anything."""
    server.execute(f"SELECT pg_terminate_backend({inside.info.backend_pid}, 5000)")


def end_itself(inside: Connection, _: TestServer) -> None:
    """End a session while it asks something."""
    inside.execute("SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())")


@pytest.mark.parametrize(
    ("end", "said"), [(end_from_outside, "server closed the connection"), (end_itself, "terminating connection")]
)
def test_session_that_is_ended_while_it_looks_for_rows_does_not_count_as_an_unreadable_database(
    server: TestServer,
    precious: Target,
    small: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[Connection, TestServer], None],
    said: str,
) -> None:
    def look(inside: Connection) -> Impact:
        end(inside, server)
        return impact(inside)

    monkeypatch.setattr(operator, "impact", look)
    with pytest.raises(ServerError, match=said):
        rebuild.rebuild(precious, options(confirm=precious.database, **small))
    assert operators.works(server, precious)
    assert operators.scratch_databases(server) == []
