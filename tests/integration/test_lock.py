"""One operator at a time, and never through a pooler."""

from __future__ import annotations

import os
import threading
import time

import pytest

from dbops import lifecycle, rebuild
from dbops.errors import PreflightError
from dbops.lock import operator_lock
from dbops.settings import Target
from tests.support import operators
from tests.support.operators import options
from tests.support.pooler import pooler_of
from tests.support.servers import renamed


def test_second_operator_waits_and_then_names_the_holder(target):
    said = []
    with (
        operator_lock(target) as lock,
        pytest.raises(PreflightError) as refused,
        operator_lock(target, timeout=0.5, report=said.append),
    ):
        pass
    assert "another operator is at work" in refused.value.what
    assert f":{os.getpid()} " in refused.value.notes[0]
    assert f"process {lock.pid}" in refused.value.notes[0]
    assert "is at work on it" in said[0].text


def test_other_database_is_not_held_up(target):
    with operator_lock(target), operator_lock(renamed(target, f"{target.database}_other"), timeout=0.1):
        pass


def test_lock_is_free_again_after_its_session(target):
    with operator_lock(target):
        pass
    with operator_lock(target, timeout=0.1):
        pass


def test_lost_lock_is_noticed_before_anything_is_destroyed(server, built, state):
    with operator_lock(built) as lock:
        server.execute(f"SELECT pg_terminate_backend({lock.pid}, 5000)")
        with pytest.raises(PreflightError, match="is lost"):
            lifecycle.drop(lock, state)
        with pytest.raises(PreflightError, match="is lost"):
            lifecycle.create(lock, state)
    assert operators.exists(server, built.database)


def test_lock_taken_by_another_session_is_noticed(server, target):
    with operator_lock(target) as lock:
        lock.connection.execute("SELECT pg_advisory_unlock_all()")
        with pytest.raises(PreflightError, match="is lost"):
            lock.assert_held()


def test_two_rebuilds_at_once_both_succeed_one_after_the_other(server, target, state):
    other = renamed(target, f"{target.database}_other")
    said: list[list[object]] = [[], [], []]
    spans: list[tuple[float, float]] = []

    def work(number: int, chosen: Target) -> None:
        began = time.monotonic()
        rebuild.rebuild(chosen, options(state, timeout=60), report=said[number].append)
        spans.append((began, time.monotonic()))

    threads = [threading.Thread(target=work, args=pair) for pair in ((0, target), (1, target), (2, other))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        rebuild.drop(other, options(state))
    waited = [any("waiting up to" in str(event) for event in events) for events in said]
    assert sorted(waited[:2]) == [False, True]
    assert not waited[2]
    assert len(spans) == 3
    assert operators.scratch_databases(server) == []


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_destructive_operations_refuse_a_pooler(server, built, state, mode):
    with pooler_of(server, mode) as pooler:
        planned = rebuild.plan(pooler.target(built.database), options(state))
        assert [finding.name for finding in planned.preflight.refusals] == ["direct connection"]
        for operation in (rebuild.rebuild, rebuild.drop, rebuild.create):
            with pytest.raises(PreflightError, match="goes through a pooler") as refused:
                operation(pooler.target(built.database), options(state))
            assert "directly" in refused.value.hint
    assert operators.exists(server, built.database)
