"""One operator at a time, and never through a pooler."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dbops import lifecycle, rebuild
from dbops.errors import PreflightError
from dbops.lock import operator_lock
from dbops.settings import Target
from tests import operators
from tests.operators import options
from tests.support import free_port, renamed


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
    waited = [any("is at work on it" in str(event) for event in events) for events in said]
    assert sorted(waited[:2]) == [False, True]
    assert not waited[2]
    assert len(spans) == 3
    assert operators.scratch_databases(server) == []


@pytest.fixture(params=["transaction", "session"])
def pooled(server, built, tmp_path, request):
    """Return a target that goes through PgBouncer."""
    tool = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    port = free_port()
    directory = Path("/tmp") / f"bouncer-{os.getpid()}-{port}"
    directory.mkdir()
    (directory / "users").write_text('"postgres" ""\n')
    (directory / "ini").write_text(
        f"[databases]\n* = host={server.parameters['host']} port={server.parameters.get('port', 5432)}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
        f"auth_file = {directory}/users\npool_mode = {request.param}\nlogfile = {directory}/log\n"
    )
    account = {}
    if os.geteuid() == 0:
        entry = pwd.getpwnam("postgres")
        account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        for path in (directory, *directory.iterdir()):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    process = subprocess.Popen([tool, "-q", directory / "ini"], cwd="/", **account)
    through = replace(built, parameters={"host": "127.0.0.1", "port": str(port), "user": "postgres"})
    try:
        for _ in range(100):
            if _answers(through):
                break
            time.sleep(0.1)
        yield through
    finally:
        process.terminate()
        process.wait(timeout=10)
        shutil.rmtree(directory)


def _answers(target: Target) -> bool:
    from psycopg.pq import PGconn, Ping

    return PGconn.ping(operators.dsn(target).encode()) == Ping.OK


def test_destructive_operations_refuse_a_pooler(server, built, pooled, state):
    for operation in (rebuild.rebuild, rebuild.drop, rebuild.create):
        with pytest.raises(PreflightError, match="goes through a pooler") as refused:
            operation(pooled, options(state))
        assert "directly" in refused.value.hint
    assert operators.exists(server, built.database)
