"""One operator at a time, and never through a pooler."""

from __future__ import annotations

import contextlib
import os
import threading
import time

import pytest

from dbops.database import rebuild
from dbops.errors import DbopsError, PreflightError
from dbops.events import Event
from dbops.postgres import operator_session
from dbops.settings import Target
from tests.support import operators
from tests.support.operators import options
from tests.support.pooler import pooler_of
from tests.support.servers import TestServer, renamed


def test_second_operator_waits_and_then_names_the_holder(target: Target) -> None:
    said: list[Event] = []
    with operator_session(target) as holding:
        pid = holding.info.backend_pid
        with pytest.raises(PreflightError) as refused, operator_session(target, timeout=0.5, report=said.append):
            pass
    assert "another operator is at work" in refused.value.what
    assert f":{os.getpid()}," in refused.value.notes[0]
    assert f"process {pid} (" in refused.value.notes[0]
    assert "is locked by process" in str(said[0])


@pytest.mark.parametrize("verb", ["db.rebuild", "db.undo", "db.drop", "db.drop --kept", "db.create", "db.upgrade"])
def test_verb_waits_for_another_operator_as_long_as_the_operator_says(built: Target, verb: str) -> None:
    with operator_session(built):
        done = operators.invoke(*verb.split(), "--timeout", "0.2", target=built)
    assert (done.returncode, "waiting up to 0.2 s" in done.stderr) == (3, True), done.stderr


def test_operator_who_has_waited_waits_as_long_for_any_other_lock(target: Target) -> None:
    with contextlib.ExitStack() as holding:
        holding.enter_context(operator_session(target))
        release = threading.Timer(0.3, holding.close)
        release.start()
        with operator_session(target, timeout=20) as waited:
            assert waited.execute("SHOW lock_timeout").fetchone() == ("20s",)
        release.join()


def test_other_database_is_not_held_up(target: Target) -> None:
    with operator_session(target), operator_session(renamed(target, f"{target.database}_other"), timeout=0.1):
        pass


def test_lock_is_free_again_after_its_session(target: Target) -> None:
    with operator_session(target):
        pass
    with operator_session(target, timeout=0.1):
        pass


def test_operation_that_loses_its_session_and_so_its_lock_stops_and_leaves_all_as_it_was(
    server: TestServer, precious: Target
) -> None:
    def end_operator(event: object) -> None:
        if f"closed {precious.database}" in str(event):
            holders = f"application_name LIKE 'kapman-dbops %:{os.getpid()}'"
            server.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {holders}")

    with pytest.raises(DbopsError, match="terminating connection") as lost:
        rebuild.drop(precious, options(yes=True), report=end_operator)
    assert lost.value.state == f"{precious.database} was not dropped and works as before."
    assert operators.works(server, precious)
    assert operators.scratch_databases(server) == []


@pytest.mark.slow
def test_two_rebuilds_at_once_both_succeed_one_after_the_other(server: TestServer, target: Target) -> None:
    other = renamed(target, f"{target.database}_other")
    said: list[list[object]] = [[], [], []]
    spans: list[tuple[float, float]] = []

    def work(number: int, chosen: Target) -> None:
        began = time.monotonic()
        rebuild.rebuild(chosen, options(timeout=60), report=said[number].append)
        spans.append((began, time.monotonic()))

    threads = [threading.Thread(target=work, args=pair) for pair in ((0, target), (1, target), (2, other))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        rebuild.drop(other, options(), forget=True)
    waited = [any("waiting up to" in str(event) for event in events) for events in said]
    assert sorted(waited[:2]) == [False, True]
    assert not waited[2]
    assert len(spans) == 3
    assert operators.scratch_databases(server) == []


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_destructive_operations_refuse_a_pooler(server: TestServer, built: Target, mode: str) -> None:
    with pooler_of(server, mode) as pooler:
        planned = rebuild.plan(pooler.target(built.database), options())
        assert [finding.name for finding in planned.refusals] == ["direct connection"]
        for operation in (rebuild.rebuild, rebuild.drop, rebuild.create):
            with pytest.raises(PreflightError, match="goes through a pooler") as refused:
                operation(pooler.target(built.database), options())
            assert "directly" in refused.value.hint
    assert operators.exists(server, built.database)
