"""Every verb ends: when the network stops passing bytes on without a word, when the server says nothing any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import psycopg
import pytest

from dbops import postgres
from dbops.database import existing, rebuild, status
from dbops.database.schema import drift
from dbops.database.wait import wait
from dbops.errors import DbopsError, ServerError
from dbops.migrations.files import discover
from dbops.postgres import waiting
from dbops.settings import CHECKS, MIGRATIONS, Target
from tests.support import operators, servers, verifying
from tests.support.forwarder import forwarder
from tests.support.migration_files import write, written
from tests.support.operators import options
from tests.support.pooler import pooler_of
from tests.support.servers import TestServer

# How long a verb may take when its network stops, with the times of `quick`.
PATIENCE = 45.0
TRIALS = 3


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask after a second of silence, and wait two for the answer."""
    monkeypatch.setattr(waiting, "SILENCE", 1.0)
    monkeypatch.setattr(waiting, "PATIENCE", 2.0)


def run_status(target: Target, _: Path) -> object:
    return status.status(target, discover(MIGRATIONS))


def run_verify(target: Target, _: Path) -> object:
    return verifying.verify(target, CHECKS, baseline=True)


def run_drift(target: Target, _: Path) -> object:
    return drift(target, discover(MIGRATIONS), schema=None)


def run_migrate(target: Target, directory: Path) -> object:
    files = written(directory, "CREATE TABLE public.a (i integer);", "CREATE TABLE public.b (i integer);")
    return existing.migrate(target, files)


def run_rebuild(target: Target, _: Path) -> object:
    return rebuild.rebuild(target, options())


def run_wait(target: Target, _: Path) -> object:
    return wait(target, timeout=3)


VERBS: dict[str, Callable[[Target, Path], object]] = {
    "status": run_status,
    "verify": run_verify,
    "drift": run_drift,
    "migrate": run_migrate,
    "rebuild": run_rebuild,
    "wait": run_wait,
}


def trials(boundaries: list[int], number: int) -> list[int]:
    """Return so many of the totals after which a message ended, from the first to the last but one."""
    known = sorted(set(boundaries))[:-1]
    return sorted({known[round(n * (len(known) - 1) / (number - 1))] for n in range(number)})


def assert_ends(
    server: TestServer, target: Target, directory: Path, verb: str, number: int, *, closes: bool = False
) -> None:
    run = VERBS[verb]
    renew(server, target, verb)
    with forwarder(server) as (far, passed):
        reached = Target({**far.parameters, "connect_timeout": "2"}, target.database)
        run(reached, directory / "first")
    wrong = []
    for limit in trials(passed.boundaries, number):
        renew(server, target, verb)
        with forwarder(server, limit=limit, closes=closes) as (far, _):
            reached = Target({**far.parameters, "connect_timeout": "2"}, target.database)
            began = time.monotonic()
            try:
                # What only reads has a deadline.
                with postgres.deadline(PATIENCE - 15) if verb not in ("migrate", "rebuild") else nullcontext():
                    run(reached, directory / str(limit))
            except DbopsError as error:
                if error.exit_code != 3:
                    wrong.append((limit, type(error).__name__, str(error), error.render()))
            else:
                # The last messages may make no difference, and what travels differs a little between two runs.
                if limit < passed.total / 2:
                    wrong.append((limit, "went well", "", ""))
            spent = time.monotonic() - began
        if spent > PATIENCE:
            wrong.append((limit, "took", str(spent), ""))
    assert wrong == []


def renew(server: TestServer, target: Target, verb: str) -> None:
    """Make the database as it was before a verb that changes it, free of what an earlier trial left."""
    if verb == "migrate":
        servers.drop_quietly(server, target.database)
        server.execute(f'CREATE DATABASE "{target.database}" TEMPLATE template0')


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("quick")
def test_verb_ends_with_exit_code_3_wherever_the_network_stops(
    server: TestServer, built: Target, tmp_path: Path, verb: str
) -> None:
    assert_ends(server, built, tmp_path, verb, TRIALS)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.slow
def test_verb_ends_with_exit_code_3_wherever_the_server_goes_away(
    server: TestServer, built: Target, tmp_path: Path, verb: str
) -> None:
    assert_ends(server, built, tmp_path, verb, 2 * TRIALS, closes=True)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("quick")
def test_verb_ends_with_exit_code_3_at_each_message(
    server: TestServer, built: Target, tmp_path: Path, verb: str
) -> None:
    assert_ends(server, built, tmp_path, verb, 100_000)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_migration_that_loses_its_network_says_what_is_known_and_what_to_run(
    server: TestServer, empty: Target, tmp_path: Path
) -> None:
    write(tmp_path, "CREATE TABLE public.a (i integer);", "SELECT pg_catalog.pg_sleep(3); CREATE TABLE public.b ();")
    with forwarder(server) as (far, passed):
        failure: list[DbopsError] = []

        def migrate() -> None:
            try:
                existing.migrate(far.target(empty.database, connect_timeout="2"), discover(tmp_path))
            except DbopsError as error:
                failure.append(error)

        running = threading.Thread(target=migrate)
        running.start()
        until_active(server, empty.database, "pg_sleep")
        passed.limit = 0
        running.join(PATIENCE)
        assert not running.is_alive()
    (error,) = failure
    assert error.exit_code == 3
    assert "0002_do_step2" in error.what
    assert "stalled" in error.render() or "lost" in error.render()
    assert "Nothing was applied" in error.advice or "not known" in error.advice
    assert "db.wait" in error.advice
    assert servers.rows(empty, "SELECT to_regclass('public.a') IS NULL") == [(True,)]


@pytest.mark.slow
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.usefixtures("quick")
def test_message_that_was_lost_on_a_network_that_works_again_is_noticed(
    server: TestServer, empty: Target, closed: bool
) -> None:
    """A second session asks about the first: in the maintenance database where the own one takes no connections."""
    with forwarder(server) as (far, passed), postgres.connect(far.target(empty.database)) as connection:
        if closed:
            server.execute(f'ALTER DATABASE "{empty.database}" ALLOW_CONNECTIONS false')
        passed.limit = 0
        works_again = threading.Timer(0.5, setattr, (passed, "limit", None))
        works_again.start()
        with pytest.raises(psycopg.OperationalError, match="the connection has stalled"), postgres.deadline(30):
            connection.execute("SELECT 1")
        works_again.join()


def until_active(server: TestServer, database: str, query: str) -> None:
    deadline = time.monotonic() + 60
    looking = (
        f"SELECT 1 FROM pg_stat_activity WHERE datname = '{database}' AND state = 'active' AND query LIKE '%{query}%'"
    )
    while not server.execute(looking):
        assert time.monotonic() < deadline, "the statement does not run"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_statement_that_takes_long_is_not_taken_for_a_stalled_connection(server: TestServer, empty: Target) -> None:
    with forwarder(server) as (far, _):
        with postgres.connect(far.target(empty.database)) as connection:
            assert connection.execute("SELECT 1 FROM pg_catalog.pg_sleep(4)").fetchone() == (1,)
        # Neither where no other session is let in.
        with operators.role(server, "LOGIN CONNECTION LIMIT 1") as role:
            limited = operators.as_role(far.target(empty.database), role)
            with postgres.connect(limited) as connection:
                assert connection.execute("SELECT 1 FROM pg_catalog.pg_sleep(4)").fetchone() == (1,)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_statement_that_takes_long_behind_a_pooler_is_not_taken_for_a_stalled_connection(
    server: TestServer, empty: Target
) -> None:
    """The server knows the session by another number than the client."""
    with (
        pooler_of(server) as pooler,
        postgres.reader(pooler.target(empty.database)) as connection,
        postgres.reading(connection),
    ):
        assert connection.execute("SELECT 1 FROM pg_catalog.pg_sleep(4)").fetchone() == (1,)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_session_that_waits_for_a_lock_is_not_taken_for_a_stalled_connection(empty: Target) -> None:
    with postgres.connect(empty) as holder, postgres.connect(empty) as waiter:
        holder.execute("SELECT pg_catalog.pg_advisory_lock(1)")
        threading.Timer(
            4, lambda: servers.run(empty, f"SELECT pg_terminate_backend({holder.info.backend_pid})")
        ).start()
        waiter.execute("SELECT pg_catalog.pg_advisory_lock(1)")


def test_verb_that_reads_has_a_deadline(built: Target) -> None:
    with servers.connect(built) as holder, holder.transaction():
        holder.execute("LOCK TABLE dbops.schema_migrations IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        done = operators.invoke("db.status", "--timeout", "0.5", target=built)
    assert done.returncode == 3, done.stderr
    assert "no result within 0.5 s" in done.stderr
    assert "--timeout" in done.stderr
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_verb_that_builds_what_it_reads_has_no_deadline(built: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    deadline = postgres.deadline
    monkeypatch.setattr(postgres, "deadline", lambda _: deadline(0.001))
    assert operators.invoke("db.drift", target=built).returncode == 3
    assert operators.invoke("db.drift", "--build", target=built).returncode == 0


def test_deadline_ends_what_runs_and_is_over_afterwards(empty: Target) -> None:
    with postgres.connect(empty) as connection:
        with pytest.raises(psycopg.OperationalError, match=r"no result within 0\.3 s"), postgres.deadline(0.3):
            connection.execute("SELECT pg_catalog.pg_sleep(60)")
        assert connection.closed
    with postgres.connect(empty) as connection:
        assert connection.execute("SELECT 1 FROM pg_catalog.pg_sleep(0.4)").fetchone() == (1,)


def test_deadline_inside_another_one_does_not_prolong_it(empty: Target) -> None:
    with (
        postgres.connect(empty) as connection,
        pytest.raises(psycopg.OperationalError, match=r"no result within 0\.3 s"),
        postgres.deadline(0.3),
        postgres.deadline(60),
    ):
        connection.execute("SELECT pg_catalog.pg_sleep(2)")


def test_deadline_holds_while_a_connection_is_made(server: TestServer, empty: Target) -> None:
    with forwarder(server, limit=0) as (far, _):
        began = time.monotonic()
        with pytest.raises(ServerError), postgres.deadline(1), postgres.reader(far.target(empty.database)):
            pass
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"keepalives_idle": "10", "tcp_user_timeout": "20000"}),
        ({"keepalives_idle": "77"}, {"keepalives_idle": "77", "tcp_user_timeout": "20000"}),
        ({"tcp_user_timeout": "0"}, {"tcp_user_timeout": "0"}),
    ],
)
def test_dead_servers_are_noticed_unless_the_url_says_otherwise(
    server: TestServer, empty: Target, given: dict[str, str], expected: dict[str, str]
) -> None:
    with forwarder(server) as (far, _), postgres.connect(far.target(empty.database, **given)) as connection:
        parameters = connection.info.get_parameters()
    assert {name: parameters.get(name, "0") for name in expected} == expected
