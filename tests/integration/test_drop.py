"""Dropping a database: it wins, or it leaves everything as it was."""

from __future__ import annotations

from threading import Timer
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from dbops.database import rebuild
from dbops.database.consent import Agreement
from dbops.database.operator import Operator, operating
from dbops.database.rebuild import DropResult
from dbops.errors import ConsentError, Interrupted, PreflightError
from dbops.events import Event, Header
from dbops.settings import Target
from tests.support import operators
from tests.support.operators import Clients, as_role, dsn, exists, options, scheduler_runs
from tests.support.servers import TestServer


def drop(target: Target, *, timeout: float = 30.0) -> DropResult:
    return rebuild.drop(target, options(confirm=target.database, timeout=timeout), forget=True)


def drop_unasked(target: Target, timeout: float) -> None:
    """Drop a database that preflight would have refused to drop: what is in the way may come later."""
    with operating(target, timeout=timeout) as operator:
        found = operator.clean_up_and_inspect()
        operator.close(found)
        operator.drop(target.database)


def test_drop_beats_clients_that_reconnect_in_a_loop(server: TestServer, built: Target) -> None:
    with Clients(built):
        result = drop(built)
    assert result.existed
    assert not exists(server, built.database)
    assert len(result.ended) >= 8


@pytest.mark.slow
def test_drop_ends_idle_busy_and_locking_sessions_and_names_them(server: TestServer, built: Target) -> None:
    applications = ("idle", "in-transaction", "locking")
    idle, in_transaction, locking = clients = [psycopg.connect(dsn(built), application_name=a) for a in applications]
    idle.commit()
    in_transaction.execute("INSERT INTO tickers (symbol) VALUES ('KAP')")
    locking.execute("LOCK TABLE ohlcv IN ACCESS EXCLUSIVE MODE")
    result = drop(built)
    for client in clients:
        client.close()
    assert {session.application for session in result.ended} >= set(applications)
    assert not exists(server, built.database)


def test_owner_who_may_not_create_databases_is_told_that_a_drop_loses_the_properties(
    server: TestServer, target: Target
) -> None:
    with operators.role(server, "LOGIN") as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        with pytest.raises(PreflightError, match="would lose its properties with the drop") as refused:
            rebuild.drop(as_role(target, owner), options())
        assert refused.value.hint.startswith("Add --forget to lose them")
        assert rebuild.drop(as_role(target, owner), options(), forget=True).existed


def test_option_forget_leaves_nothing_that_keeps_the_properties(server: TestServer, empty: Target) -> None:
    done = operators.invoke("db.drop", "--forget", target=empty)
    assert (done.returncode, "and its properties with it" in done.stdout) == (0, True), done.stderr
    assert not exists(server, empty.database)
    assert operators.scratch_databases(server) == []


def test_drop_of_a_missing_database_changes_nothing(target: Target) -> None:
    assert not drop(target).existed


@pytest.mark.slow
def test_drop_that_is_given_up_leaves_a_working_database(
    own_server: TestServer, precious_on_own_server: Target
) -> None:
    server, served = own_server, precious_on_own_server
    with psycopg.connect(dsn(served), autocommit=True) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO precious VALUES (1)")
        connection.execute("PREPARE TRANSACTION 'in the way'")
    try:
        with pytest.raises(PreflightError) as refused:
            drop_unasked(served, 1.0)
    finally:
        server.execute("ROLLBACK PREPARED 'in the way'", served.database)
    assert "prepared transaction" in refused.value.what
    assert refused.value.state.endswith("works as before.")
    assert scheduler_runs(server, served.database, patience=0)


@pytest.mark.slow
def test_owner_gives_up_on_a_superusers_session_and_names_it(server: TestServer, target: Target) -> None:
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        server.execute("CREATE EXTENSION timescaledb", target.database)
        assert scheduler_runs(server, target.database)
        with psycopg.connect(dsn(target), application_name="the boss", autocommit=True) as boss:
            pid = boss.info.backend_pid
            with pytest.raises(PreflightError) as refused:
                drop_unasked(as_role(target, owner), 1.0)
            assert boss.execute("SELECT 1").fetchone() == (1,)
        assert "the boss" in refused.value.notes[0]
        assert f"process {pid} (" in refused.value.notes[0]
        assert scheduler_runs(server, target.database, patience=0)
        with psycopg.connect(dsn(as_role(target, owner))):
            pass


def test_superusers_session_that_is_about_to_end_does_not_keep_an_owner_from_dropping(
    server: TestServer, target: Target
) -> None:
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        boss = psycopg.connect(dsn(target), autocommit=True)
        about_to_end = Timer(0.5, boss.close)
        about_to_end.start()
        assert drop(as_role(target, owner)).existed
        about_to_end.join()


def test_row_that_is_written_after_the_inspection_is_not_dropped(server: TestServer, served: Target) -> None:
    def fill(event: Event) -> None:
        if isinstance(event, Header):
            operators.fill(served, 1)

    with pytest.raises(ConsentError, match="precious") as refused:
        rebuild.drop(served, options(), report=fill)
    assert refused.value.state == f"{served.database} was not dropped and works as before."
    assert operators.rows_left(served) == 1
    assert scheduler_runs(server, served.database)


@pytest.mark.parametrize("verb", ["drop", "rebuild"])
def test_row_that_is_committed_while_sessions_are_ended_is_not_dropped(
    server: TestServer, served: Target, small: dict[str, Any], verb: str
) -> None:
    # The session that ends first is the older one: the younger commits when that is reported.
    with psycopg.connect(dsn(served), autocommit=True), psycopg.connect(dsn(served)) as writer:
        writer.execute("CREATE TABLE precious AS SELECT 1 AS id")

        def commit(event: Event) -> None:
            if "ended process" in str(event) and writer.info.transaction_status != TransactionStatus.IDLE:
                writer.commit()

        run = rebuild.drop if verb == "drop" else rebuild.rebuild
        with pytest.raises(ConsentError, match="precious") as refused:
            run(served, options(**small), report=commit)
        writer.close()
    assert refused.value.state == f"{served.database} was not dropped and works as before."
    assert operators.rows_left(served) == 1


def test_partly_dropped_database_is_dropped_for_good(server: TestServer, empty: Target) -> None:
    server.execute(f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{empty.database}'")
    assert not rebuild.plan(empty, options()).inspection.impact.rows
    assert drop(empty).existed
    assert not exists(server, empty.database)


def test_drop_that_is_repeated_after_an_interrupted_one_leaves_one_successor(
    server: TestServer, empty: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Operator, name: str) -> None:
        server.execute(f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{name}'")
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(Operator, "drop", interrupted)
        with pytest.raises(Interrupted):
            rebuild.drop(empty, options(confirm=empty.database))
    (successor,) = operators.scratch_databases(server)
    assert rebuild.drop(empty, options()).successor == successor
    assert operators.scratch_databases(server) == [successor]
    assert rebuild.create(empty, options()).kept


@pytest.mark.parametrize(
    "changes",
    [
        ('DROP DATABASE "{0}" WITH (FORCE)', 'CREATE DATABASE "{0}" TEMPLATE template0'),
        ('ALTER DATABASE "{0}" CONNECTION LIMIT 7',),
        ("ALTER DATABASE \"{0}\" SET work_mem = '7MB'",),
    ],
    ids=["replaced", "limit", "setting"],
)
def test_database_that_changes_while_consent_is_given_is_not_dropped(
    server: TestServer, precious: Target, changes: tuple[str, ...]
) -> None:
    def typed(_: str) -> str:
        for change in changes:
            server.execute(change.format(precious.database))
        return precious.database

    with pytest.raises(PreflightError, match="by another session just now") as refused:
        rebuild.drop(precious, rebuild.RebuildOptions(agreement=Agreement(ask=typed)))
    assert refused.value.state == f"{precious.database} was not changed."
    assert exists(server, precious.database)
    assert not operators.scratch_databases(server)
