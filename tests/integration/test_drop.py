"""The fenced drop: it wins, or it leaves everything as it was."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from dbops import lifecycle
from dbops.errors import ConsentError, PreflightError
from dbops.lock import operator_lock
from dbops.settings import Target
from tests.support import operators
from tests.support.operators import Clients, as_role, dsn, exists, scheduler_runs


def drop(target: Target, state: Path, **changes):
    with operator_lock(target) as lock:
        return lifecycle.drop(lock, state, **changes)


def test_drop_beats_clients_that_reconnect_in_a_loop(server, built, state):
    with Clients(built):
        result = drop(built, state)
    assert result.existed
    assert not exists(server, built.database)
    assert len(result.ended) >= 8


def test_drop_ends_idle_busy_and_locking_sessions_and_names_them(server, built, state):
    applications = ("idle", "in-transaction", "locking")
    idle, in_transaction, locking = clients = [psycopg.connect(dsn(built), application_name=a) for a in applications]
    idle.commit()
    in_transaction.execute("INSERT INTO tickers (symbol) VALUES ('KAP')")
    locking.execute("LOCK TABLE ohlcv IN ACCESS EXCLUSIVE MODE")
    result = drop(built, state)
    for client in clients:
        client.close()
    assert {session.application for session in result.ended} >= set(applications)
    assert not exists(server, built.database)


def test_drop_of_a_missing_database_changes_nothing(target, state):
    assert not drop(target, state).existed
    assert not state.exists()


def test_drop_that_is_given_up_leaves_a_working_database(own_server, precious_on_own_server, state):
    server, served = own_server, precious_on_own_server
    with psycopg.connect(dsn(served), autocommit=True) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO precious VALUES (1)")
        connection.execute("PREPARE TRANSACTION 'in the way'")
    try:
        with pytest.raises(PreflightError) as refused:
            drop(served, state, timeout=1.0)
    finally:
        server.execute("ROLLBACK PREPARED 'in the way'", served.database)
    assert "prepared transaction" in refused.value.what
    assert "works as before" in refused.value.notes[-1]
    assert scheduler_runs(server, served.database, patience=0)
    assert list(state.iterdir()) == []


def test_owner_gives_up_on_a_superusers_session_and_names_it(server, target, state):
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        server.execute("CREATE EXTENSION timescaledb", target.database)
        assert scheduler_runs(server, target.database)
        with psycopg.connect(dsn(target), application_name="the boss", autocommit=True) as boss:
            pid = boss.info.backend_pid
            with pytest.raises(PreflightError) as refused:
                drop(as_role(target, owner), state, timeout=1.0)
            assert boss.execute("SELECT 1").fetchone() == (1,)
        assert "the boss" in refused.value.notes[0]
        assert f"process {pid}:" in refused.value.notes[0]
        assert scheduler_runs(server, target.database, patience=0)
        with psycopg.connect(dsn(as_role(target, owner))):
            pass


def test_row_that_comes_in_after_the_look_is_not_dropped(server, served, state):
    operators.fill(served, 1)
    with pytest.raises(ConsentError, match="precious"):
        drop(served, state, only_if_empty=True)
    assert operators.rows_left(served) == 1
    assert scheduler_runs(server, served.database)
    assert list(state.iterdir()) == []


def test_half_dropped_database_is_dropped_for_good(server, empty, state):
    server.execute(f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{empty.database}'")
    assert not lifecycle.stakes(empty).at_stake
    assert drop(empty, state).existed
    assert not exists(server, empty.database)
