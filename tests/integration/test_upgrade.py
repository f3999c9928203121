"""TimescaleDB in a database is brought to the version that the server has installed, whatever uses the database."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from dbops import testing
from dbops.database import status
from dbops.database import upgrade as core
from dbops.errors import CheckError, ConsentError, PreflightError, ServerError
from dbops.events import Event, Message, StatementFinished, StepStarted
from dbops.migrations.files import discover
from dbops.migrations.run import migrate
from dbops.settings import MIGRATIONS, Target
from tests.support import operators, processes, servers
from tests.support.operators import as_role, dsn, role, scheduler_runs
from tests.support.servers import TestServer
from tests.support.versions import Packages, two_versions

FILES = discover(MIGRATIONS)
EXTENSION = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
YES = core.UpgradeOptions(yes=True)


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[TestServer, Packages]]:
    with two_versions() as made:
        yield made


@pytest.fixture
def packages(both: tuple[TestServer, Packages]) -> Iterator[Packages]:
    """Return the server's packages, the older version installed; what a test does to them is undone."""
    yield both[1]
    both[1].remove(both[1].new)
    both[1].install(both[1].old)


@pytest.fixture
def aged(both: tuple[TestServer, Packages], packages: Packages) -> Iterator[Target]:
    """Return the baseline with rows, in the older version, on a server where the newer one has just been installed."""
    server = both[0]
    target = server.target(servers.fresh_name())
    testing.clone(server.session(), testing.build_template(server.target()), target.database)
    servers.run(target, "INSERT INTO public.tickers (symbol) VALUES ('AAPL')")
    packages.install(packages.new)
    yield target
    servers.drop_quietly(server, target.database)


def version(target: Target) -> object:
    """Return which version a database has, as a session sees it that does not load the library."""
    options = "-c timescaledb.disable_load=on"
    [[found]] = servers.rows(replace(target, parameters={**target.parameters, "options": options}), EXTENSION)
    return found


def test_database_is_updated_verified_and_its_scheduler_runs(
    both: tuple[TestServer, Packages], aged: Target, packages: Packages
) -> None:
    before = status.status(aged, FILES).newer_timescaledb
    said: list[Event] = []
    result = core.upgrade(aged, core.UpgradeOptions(), report=said.append)
    assert (before, result.before, result.after) == (packages.new, packages.old, packages.new)
    assert version(aged) == packages.new
    assert result.checks > 100
    assert [event.sql for event in said if isinstance(event, StatementFinished)] == [
        f"ALTER EXTENSION timescaledb UPDATE TO '{packages.new}'"
    ]
    assert status.status(aged, FILES).newer_timescaledb == ""
    assert servers.rows(aged, "SELECT symbol FROM public.tickers") == [("AAPL",)]
    assert scheduler_runs(both[0], aged.database)
    again = core.upgrade(aged, core.UpgradeOptions())
    assert (again.before, again.after, again.checks) == (packages.new, packages.new, 0)


def test_verb_plans_updates_and_finds_nothing_more_to_do(aged: Target, packages: Packages) -> None:
    status = operators.invoke("db.status", target=aged)
    assert f"TimescaleDB {packages.new} is installed on the server: `invoke db.upgrade` updates to it" in status.stdout
    plan = operators.invoke("db.upgrade", "--plan", target=aged)
    assert (plan.returncode, version(aged)) == (0, packages.old)
    assert "an update would verify, update, verify" in plan.stdout
    done = operators.invoke("db.upgrade", target=aged)
    assert (done.returncode, version(aged)) == (0, packages.new)
    assert f"is updated from {packages.old} to {packages.new}" in done.stdout
    again = operators.invoke("db.upgrade", "--format", "json", target=aged)
    assert (again.returncode, f'"after": "{packages.new}"' in again.stdout) == (0, True)


def test_sessions_are_named_and_ended_only_with_consent(aged: Target, packages: Packages) -> None:
    with closing(psycopg.connect(dsn(aged), application_name="the service")) as client:
        client.execute("SELECT count(*) FROM ohlcv")
        refused = operators.invoke("db.upgrade", target=aged)
        assert (refused.returncode, version(aged)) == (5, packages.old)
        assert "application the service" in refused.stderr
        client.execute("SELECT 1")
        result = core.upgrade(aged, YES)
        assert {session.application for session in result.ended} == {"the service"}
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")


def test_session_that_comes_after_the_question_is_not_ended(aged: Target, packages: Packages) -> None:
    with contextlib.ExitStack() as clients:
        came: list[psycopg.Connection[tuple[object, ...]]] = []

        def come(event: Event) -> None:
            if isinstance(event, StepStarted) and event.step == "update":
                came.append(clients.enter_context(closing(psycopg.connect(dsn(aged)))))

        with pytest.raises(ConsentError, match="ends 1 session"):
            core.upgrade(aged, core.UpgradeOptions(), report=come)
        assert came[0].execute("SELECT 1").fetchone() == (1,)
    assert version(aged) == packages.old


def test_session_that_comes_after_the_update_stays_while_those_from_before_it_are_ended(aged: Target) -> None:
    """A client that connects again right after the update has the new version."""
    with contextlib.ExitStack() as clients:
        came: list[psycopg.Connection[tuple[object, ...]]] = []

        def come(event: Event) -> None:
            updated = isinstance(event, StatementFinished)
            if updated or (len(came) == 1 and str(came[0].info.backend_pid) in str(event)):
                came.append(clients.enter_context(closing(psycopg.connect(dsn(aged), autocommit=True))))

        result = core.upgrade(aged, YES, report=come)
        early, late = came
        assert early.info.backend_pid in {session.pid for session in result.ended}
        assert late.execute("SELECT 1").fetchone() == (1,)


def test_typed_name_is_consent(aged: Target, packages: Packages) -> None:
    with closing(psycopg.connect(dsn(aged))) as client:
        client.execute("SELECT 1")
        with pytest.raises(ConsentError):
            core.upgrade(aged, core.UpgradeOptions(ask=lambda _: "another"))
        core.upgrade(aged, core.UpgradeOptions(ask=lambda _: aged.database))
    assert version(aged) == packages.new


@pytest.mark.slow
def test_clients_that_reconnect_all_the_time_neither_stop_the_update_nor_keep_the_old_library(
    aged: Target, packages: Packages
) -> None:
    mapped: list[str] = []
    stop = threading.Event()

    def reconnect() -> None:
        while not stop.is_set():
            try:
                with closing(servers.connect(aged)) as client:
                    while not stop.is_set():
                        client.execute("SELECT count(*) FROM ohlcv")
            except psycopg.Error:
                continue

    threads = [threading.Thread(target=reconnect) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        result = core.upgrade(aged, YES)
        for _, pid in servers.rows(aged, f"SELECT 1, pid FROM pg_stat_activity WHERE datname = '{aged.database}'"):
            with contextlib.suppress(OSError):
                mapped += Path(f"/proc/{pid}/maps").read_text().splitlines()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert result.ended
    assert any(f"timescaledb-{packages.new}.so" in line for line in mapped)
    assert not any(f"timescaledb-{packages.old}.so" in line for line in mapped)


VERBS = {
    "db.status": (),
    "db.verify": (),
    "db.migrate": (),
    "db.migrate --plan": ("db.migrate", "--plan"),
    "db.drift": (),
    "db.drift --build": ("db.drift", "--build"),
    "db.fingerprint": (),
}


@pytest.mark.parametrize("verb", VERBS)
def test_where_the_version_of_a_database_is_gone_each_verb_says_so_and_names_the_way_out(
    aged: Target, packages: Packages, verb: str
) -> None:
    packages.remove(packages.old)
    done = operators.invoke(*(VERBS[verb] or (verb,)), target=aged)
    assert done.returncode == 3
    assert f"TimescaleDB {packages.old}, which the database {aged.database} has, is not installed" in done.stderr
    assert f"installed there now: {packages.new}\n" in done.stderr
    assert f"`invoke db.upgrade` updates the database to {packages.new}" in done.stderr
    assert "server's log" not in done.stderr


def test_where_the_version_of_a_database_is_gone_upgrade_is_the_way_out(
    both: tuple[TestServer, Packages], aged: Target, packages: Packages
) -> None:
    packages.remove(packages.old)
    plan = core.plan(aged)
    assert (plan.before, plan.after) == (packages.old, packages.new)
    said: list[Event] = []
    result = core.upgrade(aged, core.UpgradeOptions(), report=said.append)
    assert any(isinstance(event, Message) and event.text.startswith("not verified before") for event in said)
    assert (version(aged), result.scheduler) == (packages.new, True)
    assert scheduler_runs(both[0], aged.database)
    assert operators.invoke("db.verify", target=aged).returncode == 0


def test_database_whose_version_is_gone_can_still_be_rebuilt_with_consent(aged: Target, packages: Packages) -> None:
    packages.remove(packages.old)
    refused = operators.invoke("db.rebuild", target=aged)
    assert refused.returncode == 5
    assert f"TimescaleDB {packages.old}" in refused.stderr
    assert operators.invoke("db.rebuild", "--confirm", aged.database, target=aged).returncode == 0
    assert version(aged) == packages.new


def test_neither_version_there_says_what_to_install(aged: Target, packages: Packages) -> None:
    packages.install(packages.old)
    packages.remove(packages.old)
    done = operators.invoke("db.verify", target=aged)
    assert (done.returncode, f"Install TimescaleDB {packages.old} or a newer version" in done.stderr) == (3, True)


def test_older_server_version_is_refused(aged: Target, packages: Packages) -> None:
    core.upgrade(aged, YES)
    packages.install(packages.old)
    with pytest.raises(PreflightError, match=f"the server has TimescaleDB {packages.old} installed") as refused:
        core.upgrade(aged, YES)
    assert f"Install TimescaleDB {packages.new} or a newer version" in refused.value.hint
    assert operators.invoke("db.upgrade", "--plan", target=aged).returncode == 3


def test_incomplete_package_leaves_the_database_as_it_is(
    both: tuple[TestServer, Packages], aged: Target, packages: Packages
) -> None:
    packages.remove(packages.new)
    with pytest.raises(ServerError, match="TimescaleDB was not updated") as failed:
        core.upgrade(aged, YES)
    assert failed.value.state == f"{aged.database} has TimescaleDB {packages.old}."
    assert "installed completely" in failed.value.hint
    assert operators.invoke("db.verify", target=aged).returncode == 0
    assert scheduler_runs(both[0], aged.database)


def test_failed_check_before_stops_it_and_no_verify_passes_over_it(aged: Target, packages: Packages) -> None:
    servers.run(aged, "CREATE TABLE public.extra (id integer)")
    with pytest.raises(CheckError, match=r"1 of .* checks fail before the update") as stopped:
        core.upgrade(aged, YES)
    assert stopped.value.state == f"{aged.database} has TimescaleDB {packages.old}."
    passed_over = operators.invoke("db.upgrade", "--no-verify", target=aged)
    assert (passed_over.returncode, version(aged)) == (1, packages.new)
    assert "checks fail after the update" in passed_over.stderr
    assert f"{aged.database} has TimescaleDB {packages.new}." in passed_over.stderr


def test_database_of_another_environment_or_without_the_extension_is_refused(
    both: tuple[TestServer, Packages], aged: Target, packages: Packages
) -> None:
    with pytest.raises(ConsentError, match="is a dev database, and the environment chosen is prod"):
        core.upgrade(replace(aged, environment="prod"), YES)
    with servers.database(both[0]) as bare, pytest.raises(PreflightError, match="TimescaleDB is not in the database"):
        core.upgrade(bare, YES)
    assert version(aged) == packages.old


def test_maintenance_database_that_has_a_version_that_is_gone_is_in_no_verbs_way(
    both: tuple[TestServer, Packages], aged: Target, packages: Packages
) -> None:
    maintenance = replace(aged, database="postgres")
    servers.run(maintenance, "CREATE EXTENSION timescaledb")
    try:
        packages.install(packages.old)
        packages.remove(packages.new)
        assert operators.invoke("db.wait", target=aged).returncode == 0
        assert operators.invoke("db.rebuild", "--yes", target=aged).returncode == 0
        with pytest.raises(PreflightError, match="postgres is a system database"):
            core.upgrade(maintenance, YES)
    finally:
        packages.install(packages.new)
        servers.run(maintenance, "DROP EXTENSION timescaledb CASCADE")


def test_owner_without_superuser_may_update_and_another_role_may_not(
    both: tuple[TestServer, Packages], aged: Target, packages: Packages
) -> None:
    server = both[0]
    packages.install(packages.old)
    with role(server) as owner, role(server) as other, servers.database(server) as owned:
        server.execute(f'ALTER DATABASE "{owned.database}" OWNER TO "{owner}"')
        as_owner = as_role(owned, owner)
        migrate(as_owner, FILES)
        packages.install(packages.new)
        with pytest.raises(PreflightError, match=f"the extension belongs to {owner}, and {other} may not update"):
            core.upgrade(as_role(owned, other), YES)
        result = core.upgrade(as_owner, YES)
        assert (version(owned), result.checks > 100) == (packages.new, True)
        assert scheduler_runs(server, owned.database)


@pytest.fixture
def locked(both: tuple[TestServer, Packages], aged: Target) -> Iterator[Target]:
    """Return the database while a prepared transaction holds a lock that the update needs."""
    with servers.connect(aged) as connection:
        connection.execute("BEGIN; LOCK TABLE _timescaledb_catalog.metadata; PREPARE TRANSACTION 'held'")
    yield aged
    with servers.connect(aged) as connection, contextlib.suppress(psycopg.Error):
        connection.execute("ROLLBACK PREPARED 'held'")


@pytest.mark.slow
def test_lock_that_is_not_released_ends_it_in_time_and_changes_nothing(locked: Target, packages: Packages) -> None:
    with pytest.raises(PreflightError, match="TimescaleDB could not be updated") as refused:
        core.upgrade(locked, core.UpgradeOptions(timeout=1.0))
    assert refused.value.state == f"{locked.database} has TimescaleDB {packages.old}."
    servers.run(locked, "ROLLBACK PREPARED 'held'")
    assert core.upgrade(locked, core.UpgradeOptions()).after == packages.new


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_or_killed_update_happened_as_a_whole_or_not_at_all(
    both: tuple[TestServer, Packages], locked: Target, packages: Packages, number: signal.Signals
) -> None:
    server = both[0]
    process = processes.start_invoke("db.upgrade", "--timeout", "60", DATABASE_URL=dsn(locked))
    waiting = f"SELECT pid FROM pg_stat_activity WHERE datname = '{locked.database}' AND query LIKE 'ALTER EXTENSION%'"
    wait_until(lambda: server.execute(waiting))
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert number == signal.SIGKILL or f"interrupted: {locked.database} has TimescaleDB {packages.old}.\n" in said
    # A server looks for its client every few seconds.
    wait_until(lambda: not server.execute(waiting))
    assert version(locked) == packages.old
    servers.run(locked, "ROLLBACK PREPARED 'held'")
    assert core.upgrade(locked, YES).after == packages.new
    assert scheduler_runs(server, locked.database)


def wait_until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)
