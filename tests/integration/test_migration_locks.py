"""Locks that cannot be acquired, two runs at once, servers that die, and operators who interrupt."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from dbops.database.status import status
from dbops.errors import DbopsError, Interrupted, MigrationError, PreflightError, UsageError
from dbops.events import Event, Message, Progress, StatementFinished
from dbops.migrations import session
from dbops.migrations.alone import MIGRATION_LOCK
from dbops.migrations.files import discover
from dbops.migrations.ledger import State
from dbops.migrations.options import MigrationOptions
from dbops.migrations.run import migrate, plan
from dbops.migrations.session import MigrationSession
from dbops.migrations.watch import LockWatch, _Running
from dbops.server.cluster import Cluster
from dbops.server.directory import Layout
from dbops.settings import Target
from tests.support import servers
from tests.support.migration_files import write, written
from tests.support.servers import TestServer

TABLE = "CREATE TABLE public.t (n integer);"
COLUMN = "ALTER TABLE public.t ADD COLUMN m integer;"


def applied(target: Target) -> list[int]:
    """Return the versions in the ledger."""
    with servers.connect(target) as connection:
        rows = connection.execute("SELECT version FROM dbops.schema_migrations ORDER BY 1").fetchall()
    return [int(str(row[0])) for row in rows]


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def named(target: Target, name: str) -> Target:
    """Return a target whose sessions carry a name."""
    return replace(target, parameters={**target.parameters, "application_name": name})


@pytest.mark.slow
def test_lock_that_cannot_be_acquired_names_the_holder_after_a_bounded_number_of_attempts(
    empty: Target, tmp_path: Path
) -> None:
    migrate(empty, written(tmp_path, TABLE))
    events: list[Event] = []
    with servers.connect(named(empty, "nightly report")) as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT * FROM public.t")
        pid = holder.info.backend_pid
        with pytest.raises(MigrationError, match=r"could not acquire a lock after \d+ attempts") as failure:
            migrate(
                empty,
                written(tmp_path, COLUMN, first=2),
                MigrationOptions(lock_timeout="200ms", lock_budget="3s"),
                report=events.append,
            )
    said = failure.value.render()
    assert "nightly report" in said
    assert f"process {pid}" in said
    assert "SELECT * FROM public.t" in said
    assert "0002_do_step2.sql:1:1" in said
    assert "Nothing was applied." in said
    retries = [event for event in events if isinstance(event, Message) and event.level == "WARNING"]
    assert failure.value.what.split(" attempts")[0].endswith(f" {len(retries) + 1}")
    named_in = [event.text for event in events if isinstance(event, Message) and "nightly report" in event.text]
    assert len(named_in) == 1
    assert "still waiting" in retries[-1].text
    assert applied(empty) == [1]


def test_lock_that_is_released_in_time_is_acquired_in_a_later_attempt(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, TABLE))
    holder = servers.connect(empty)
    holder.execute("BEGIN")
    holder.execute("SELECT * FROM public.t")

    def watch(event: Event) -> None:
        if isinstance(event, Message) and event.level == "WARNING":
            holder.close()

    result = migrate(empty, written(tmp_path, COLUMN, first=2), MigrationOptions(lock_timeout="100ms"), report=watch)
    assert result.retries == 1
    assert applied(empty) == [1, 2]


def test_first_attempts_are_short_and_grow_up_to_the_timeout(tmp_path: Path) -> None:
    plain, header = written(tmp_path, TABLE, f"-- lock-timeout: 3s\n{COLUMN}")
    grown = [MigrationOptions().attempt_seconds(plain, attempt) for attempt in range(1, 7)]
    assert grown == [0.1, 0.2, 0.4, 0.8, 1, 1]
    assert MigrationOptions().attempt_seconds(header, 1) == 3
    assert MigrationOptions(lock_timeout="50ms").attempt_seconds(header, 1) == 0.05


@pytest.mark.slow
def test_reader_behind_a_migration_waits_a_moment_at_first(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, TABLE))
    waits: list[float] = []
    seen: list[str] = []

    def read() -> None:
        with servers.connect(empty) as reader:
            while len(seen) < 2:
                began = time.monotonic()
                reader.execute("SELECT FROM public.t")
                waits.append(time.monotonic() - began)

    def watch(event: Event) -> None:
        if isinstance(event, Message) and event.level == "WARNING":
            seen.append(event.text)
            if len(seen) == 2:
                holder.close()

    with servers.connect(empty) as holder:
        holder.execute("BEGIN; SELECT FROM public.t")
        thread = threading.Thread(target=read)
        thread.start()
        migrate(empty, written(tmp_path, COLUMN, first=2), report=watch)
        thread.join(30)
    assert 0.05 < max(waits) < 0.9, "the first attempts wait for 0.1 s and 0.2 s"


@pytest.mark.slow
def test_attempt_as_a_whole_waits_no_longer_than_its_timeout(empty: Target, tmp_path: Path) -> None:
    """Each of the locks would be had in time."""
    tables = [f"t{n}" for n in range(4)]
    migrate(empty, written(tmp_path, " ".join(f"CREATE TABLE public.{table} ();" for table in tables)))
    said: list[str] = []
    freed = threading.Event()

    def watch(event: Event) -> None:
        if isinstance(event, Message):
            said.append(event.text)
            if "waiting for a lock" in event.text:
                freed.set()

    def release() -> None:
        freed.wait(30)
        for holder in holders:
            time.sleep(1)
            holder.close()

    holders = [servers.connect(empty) for _ in tables]
    for holder, table in zip(holders, tables, strict=True):
        holder.execute(f"BEGIN; SELECT FROM public.{table}".encode())
    thread = threading.Thread(target=release)
    thread.start()
    text = " ".join(f"ALTER TABLE public.{table} ADD COLUMN n integer;" for table in tables)
    result = migrate(empty, written(tmp_path, text, first=2), MigrationOptions(lock_timeout="2s"), report=watch)
    thread.join(30)
    assert result.retries >= 1
    assert any("this attempt had waited for locks for 2." in text for text in said)


@pytest.mark.slow
@pytest.mark.parametrize("header", ["", "-- migrate: no-transaction\n"], ids=["in a transaction", "outside of one"])
def test_block_that_switches_the_lock_timeout_off_does_not_wait_for_ever(
    empty: Target, tmp_path: Path, header: str
) -> None:
    migrate(empty, written(tmp_path, TABLE))
    hidden = f"{header}DO $$ BEGIN PERFORM set_config(reverse('tuoemit_kcol'), '0', true); {COLUMN} END $$;"
    with servers.connect(named(empty, "nightly report")) as holder:
        holder.execute("BEGIN; SELECT FROM public.t")
        with pytest.raises(MigrationError, match="could not acquire a lock after") as failure:
            migrate(empty, written(tmp_path, hidden, first=2), MigrationOptions(lock_timeout="300ms", lock_budget="1s"))
    assert "nightly report" in failure.value.render()
    assert "had waited for locks" in failure.value.what


def test_file_that_sets_lock_timeout_is_refused_before_anything_runs(empty: Target, tmp_path: Path) -> None:
    files = written(tmp_path, TABLE, f"SET lock_timeout = 0; {COLUMN}")
    for run_or_plan in (migrate, plan):
        with pytest.raises(UsageError, match="LOCK_TIMEOUT") as refused:
            run_or_plan(empty, files)
        assert "-- lock-timeout: 2s" in refused.value.hint
    assert not status(empty, files).has_ledger
    # A database that nobody else is in may be built from files that were released before.
    assert len(migrate(empty, files, MigrationOptions(fresh=True)).applied) == 2


CONCURRENT = {
    "the same tuple": (
        "COMMENT ON SCHEMA public IS 'theirs'; GRANT USAGE ON SCHEMA public TO pg_monitor",
        "GRANT USAGE ON SCHEMA public TO pg_read_all_data;",
    ),
    "the same name": ("CREATE SCHEMA shared", "CREATE SCHEMA IF NOT EXISTS shared;"),
}


@pytest.mark.parametrize("kind", CONCURRENT)
@pytest.mark.slow
def test_change_of_the_same_object_by_another_session_is_tried_again(empty: Target, tmp_path: Path, kind: str) -> None:
    theirs, ours = CONCURRENT[kind]
    said: list[str] = []
    with servers.connect(empty) as other:
        other.execute(f"BEGIN; {theirs}".encode())

        def watch(event: Event) -> None:
            if isinstance(event, Message):
                said.append(event.text)
                if "waiting for a lock" in event.text:
                    other.execute("COMMIT")

        # The pause before the second attempt is as long.
        result = migrate(empty, written(tmp_path, ours), MigrationOptions(lock_timeout="5s"), report=watch)
    assert (result.retries, len(result.applied)) == (1, 1)
    assert [text for text in said if "by another session; attempt 2" in text]


def test_change_by_another_session_that_does_not_end_is_not_blamed_on_the_file(empty: Target, tmp_path: Path) -> None:
    conflict = "DO $$ BEGIN RAISE SQLSTATE '40001' USING MESSAGE = 'could not serialize'; END $$;"
    with pytest.raises(MigrationError, match="failed after 5 attempts: could not serialize") as failure:
        migrate(empty, written(tmp_path, conflict), MigrationOptions(lock_timeout="1ms"))
    assert "Fix the file" not in failure.value.advice
    assert "Another session was changing the same objects" in failure.value.advice


@pytest.mark.parametrize(
    ("sqlstate", "advice"),
    [
        ("42501", "the role lacks a privilege"),
        ("25006", "standby"),
        ("53100", "disk"),
        ("58030", "server's log"),
        ("XX001", "its log has more"),
        ("23505", "rows that are there"),
        ("42P01", "Fix the file"),
    ],
)
def test_advice_fits_the_error(empty: Target, tmp_path: Path, sqlstate: str, advice: str) -> None:
    with pytest.raises(MigrationError) as failure:
        migrate(empty, written(tmp_path, f"DO $$ BEGIN RAISE SQLSTATE '{sqlstate}'; END $$;"))
    assert advice in failure.value.advice
    assert ("Fix the file" in failure.value.advice) == (advice == "Fix the file")


@pytest.mark.slow
def test_wait_for_a_lock_is_reported_while_it_lasts(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, TABLE))
    holder = servers.connect(named(empty, "nightly report"))
    holder.execute("BEGIN")
    holder.execute("SELECT * FROM public.t")
    reported: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, Message) and "waiting for a lock" in event.text:
            reported.append(event.text)
            holder.close()

    migrate(empty, written(tmp_path, COLUMN, first=2), MigrationOptions(lock_timeout="1min"), report=watch)
    assert "nightly report" in reported[0]


def test_header_sets_the_lock_timeout_and_the_option_overrides_it(empty: Target, tmp_path: Path) -> None:
    look = (
        "CREATE TABLE public.{} AS"
        " SELECT current_setting('lock_timeout') AS l, current_setting('statement_timeout') AS s;"
    )
    header = "-- lock-timeout: 2s\n-- statement-timeout: 10min\n"
    migrate(empty, written(tmp_path, header + look.format("a")))
    migrate(
        empty,
        written(tmp_path, header + look.format("b"), first=2),
        MigrationOptions(lock_timeout="3s", statement_timeout="20min"),
    )
    with servers.connect(empty) as connection:
        found = connection.execute("SELECT * FROM public.a UNION ALL SELECT * FROM public.b").fetchall()
    assert found == [("2s", "10min"), ("3s", "20min")]


def test_statement_that_takes_too_long_is_ended_and_reported(empty: Target, tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="canceling statement due to statement timeout") as failure:
        migrate(
            empty, written(tmp_path, "SELECT 1;\nSELECT pg_sleep(60);"), MigrationOptions(statement_timeout="100ms")
        )
    assert failure.value.location is not None
    assert failure.value.location.line == 2
    assert "--statement-timeout" in failure.value.advice


def test_statement_that_another_session_cancels_gets_no_hint_about_the_timeout(empty: Target, tmp_path: Path) -> None:
    servers.run(empty, "CREATE FUNCTION public.cancel() RETURNS bool RETURN pg_cancel_backend(pg_backend_pid())")
    with pytest.raises(MigrationError, match="canceling statement due to user request") as failure:
        migrate(empty, written(tmp_path, "SELECT public.cancel(), pg_sleep(60);"))
    assert "Another session canceled it" in failure.value.advice
    assert "--statement-timeout" not in failure.value.advice
    assert failure.value.sqlstate == "57014"


def test_two_runs_at_once_apply_each_file_once(empty: Target, tmp_path: Path) -> None:
    migrations = written(
        tmp_path,
        "CREATE TABLE public.runs (n integer);",
        *[f"INSERT INTO public.runs VALUES ({n}); SELECT pg_sleep(0.02);" for n in range(2, 12)],
        "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY runs_n_idx ON public.runs (n);",
        "INSERT INTO public.runs VALUES (13);",
    )
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: migrate(empty, migrations), range(4)))
    assert sorted(len(result.applied) for result in results) == [0, 0, 0, 13]
    with servers.connect(empty) as connection:
        found = connection.execute("SELECT n FROM public.runs ORDER BY n").fetchall()
    assert found == [*((n,) for n in range(2, 12)), (13,)]


def test_run_that_finds_another_for_too_long_names_it(empty: Target, tmp_path: Path) -> None:
    write(tmp_path, "SELECT pg_sleep(60);")
    first = named(empty, "the first run")
    begun = threading.Event()

    def slow() -> None:
        with pytest.raises(MigrationError):
            migrate(first, discover(tmp_path), report=lambda _: begun.set())

    thread = threading.Thread(target=slow)
    thread.start()
    begun.wait(30)
    with pytest.raises(PreflightError, match=r"another migration of this database is running: .*the first run"):
        migrate(empty, discover(tmp_path), MigrationOptions(patience=0.5))
    with servers.connect(empty) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'the first run'"
            " AND datname = current_database()"
        )
    thread.join(30)
    assert not thread.is_alive()


def test_lost_connection_is_reported_with_the_state(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, TABLE))
    servers.run(empty, "CREATE FUNCTION public.leave() RETURNS bool RETURN pg_terminate_backend(pg_backend_pid())")
    text = f"{COLUMN}\nSELECT public.leave();\n"
    with pytest.raises(MigrationError, match="the connection was lost during migration 0002_do_step2") as failure:
        migrate(empty, written(tmp_path, text, first=2))
    assert failure.value.location is not None
    assert failure.value.location.line == 2
    assert failure.value.sqlstate == "57P01"
    assert failure.value.notes == ("server: terminating connection due to administrator command",)
    assert "Nothing was applied." in failure.value.advice
    assert [item.state for item in status(empty, discover(tmp_path)).items] == [State.APPLIED, State.PENDING]


def end_at_commit(
    monkeypatch: pytest.MonkeyPatch, ends: Callable[[MigrationSession], object], *, committed: bool
) -> None:
    """Have `ends` called in place of a commit, right before or right after the server commits."""
    original = MigrationSession.script

    def script(self: MigrationSession, *statements: str) -> object:
        if statements == ("COMMIT",):
            if committed:
                original(self, "COMMIT")
            ends(self)
        return original(self, *statements)

    monkeypatch.setattr(MigrationSession, "script", script)


@pytest.mark.parametrize("committed", [True, False])
def test_commit_whose_answer_is_lost_is_looked_up(
    empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    end = "SELECT pg_terminate_backend(pg_backend_pid())"
    end_at_commit(monkeypatch, lambda session: session.connection.execute(end), committed=committed)
    with pytest.raises(MigrationError, match="the connection was lost during the commit") as failure:
        migrate(empty, written(tmp_path, TABLE))
    if committed:
        assert "0001_do_step1 is committed" in failure.value.advice
        assert applied(empty) == [1]
    else:
        assert "Nothing was applied." in failure.value.advice
        assert not status(empty, discover(tmp_path)).has_ledger


@pytest.mark.parametrize(
    ("which", "committed", "says", "state"),
    [
        (1, False, "Nothing was applied.", State.PENDING),
        (1, True, "Nothing was applied.", State.UNFINISHED),
        (2, False, "0002_do_step2 was begun outside a transaction", State.UNFINISHED),
        (2, True, "0002_do_step2 is committed", State.APPLIED),
    ],
)
def test_lost_commit_of_a_row_of_a_file_outside_a_transaction_is_looked_up(
    empty: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    which: int,
    committed: bool,
    says: str,
    state: State,
) -> None:
    migrate(empty, written(tmp_path, TABLE))
    commits: list[MigrationSession] = []

    def end(session: MigrationSession) -> None:
        commits.append(session)
        if len(commits) == which:
            session.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    end_at_commit(monkeypatch, end, committed=committed)
    index = "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY t_n_idx ON public.t (n);"
    with pytest.raises(MigrationError, match="the connection was lost during the commit") as failure:
        migrate(empty, written(tmp_path, index, first=2))
    assert says in failure.value.advice
    assert [item.state for item in status(empty, discover(tmp_path)).items] == [State.APPLIED, state]


@pytest.mark.parametrize(
    ("committed", "state"), [(True, "0001_do_step1 is committed"), (False, "Nothing was applied.")]
)
def test_commit_that_is_interrupted_is_looked_up(
    empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed: bool, state: str
) -> None:
    def interrupt(session: MigrationSession) -> None:
        raise Interrupted

    end_at_commit(monkeypatch, interrupt, committed=committed)
    with pytest.raises(Interrupted) as interrupted:
        migrate(empty, written(tmp_path, TABLE))
    assert state in interrupted.value.state
    assert status(empty, discover(tmp_path)).has_ledger == committed


@pytest.mark.slow
def test_commit_that_the_server_is_still_at_is_waited_for(
    empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another session stands in for the one that commits: it gets the lock of that one, and writes the row later."""
    migrate(empty, written(tmp_path, TABLE))
    files = discover(write(tmp_path, COLUMN, first=2))
    row = f"2, '{files[1].name}', '{files[1].checksum}', 1, ''"
    here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    waits = f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = {here}"

    def commit_slowly() -> None:
        with servers.connect(empty) as committing:
            committing.execute(f"SELECT pg_advisory_lock({MIGRATION_LOCK})".encode())
            time.sleep(0.5)
            columns = "version, name, checksum, duration_ms, tool_version"
            committing.execute(f"INSERT INTO dbops.schema_migrations ({columns}) VALUES ({row})".encode())

    thread = threading.Thread(target=commit_slowly)

    def interrupt(_: MigrationSession) -> None:
        thread.start()
        with servers.connect(empty) as looking:
            until(lambda: looking.execute(waits.encode()).fetchall() != [])
        raise Interrupted

    end_at_commit(monkeypatch, interrupt, committed=False)
    with pytest.raises(Interrupted) as interrupted:
        migrate(empty, files)
    thread.join()
    assert "0002_do_step2 is committed" in interrupted.value.state


def test_commit_whose_outcome_cannot_be_read_is_reported_as_unknown(
    empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MigrationSession.script

    def script(self: MigrationSession, *statements: str) -> object:
        if statements == ("COMMIT",):
            original(self, "SELECT pg_terminate_backend(pg_backend_pid())")
        return original(self, *statements)

    monkeypatch.setattr(MigrationSession, "script", script)
    monkeypatch.setattr(session, "SETTLE_SECONDS", 0)
    with pytest.raises(MigrationError) as failure:
        migrate(empty, written(tmp_path, TABLE))
    assert "It is not known whether the last transaction was committed" in failure.value.advice


def interrupt_at(text: str) -> Callable[[Event], None]:
    """Return a report that interrupts this process a moment after a statement begins."""

    def watch(event: Event) -> None:
        if isinstance(event, StatementFinished) and text in event.sql:
            threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()

    return watch


@pytest.mark.usefixtures("interruptible")
def test_interruption_rolls_back_and_says_so(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLE, "SELECT 'now';\nSELECT pg_sleep(60);")
    with pytest.raises(Interrupted) as interrupted:
        migrate(empty, migrations, report=interrupt_at("'now'"))
    assert interrupted.value.state == "Nothing was applied."
    with servers.connect(empty) as connection:
        busy = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(60)%'"
        )
        until(lambda: connection.execute(busy + " AND pid <> pg_backend_pid()").fetchall() == [(0,)])
    assert len(migrate(empty, migrations, MigrationOptions(to=1)).applied) == 1


@pytest.mark.usefixtures("interruptible")
@pytest.mark.slow
def test_interruption_outside_a_transaction_says_what_is_open(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLE)
    holder = servers.connect(empty)
    migrate(empty, migrations)
    write(tmp_path, "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY t_n_idx ON public.t (n);", first=2)
    holder.execute("BEGIN")
    holder.execute("LOCK TABLE public.t IN ROW EXCLUSIVE MODE")

    def watch(event: Event) -> None:
        if isinstance(event, Message) and "waiting for a lock" in event.text:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted) as interrupted:
        migrate(empty, discover(tmp_path), report=watch)
    assert "0002_do_step2 was begun outside a transaction" in interrupted.value.state
    holder.close()
    migrate(empty, discover(tmp_path))
    assert applied(empty) == [1, 2]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Return a server of this test's own, to be killed."""
    with servers.reachable_directory() as directory:
        own = Cluster(
            Layout(directory),
            servers.local_installation(),
            durable=False,
            configuration=servers.LIMITS + servers.PRELOAD,
        )
        try:
            servers.copy_data_directory(own.layout)
            yield own
        finally:
            own.stop("immediate")


def start(cluster: Cluster) -> TestServer:
    """Start a server; one that was killed may need a moment until its orphans are gone."""
    ports: list[int] = []

    def started() -> bool:
        with suppress(DbopsError):
            ports.append(cluster.start().port)
        return bool(ports)

    until(started)
    return TestServer({"host": str(cluster.layout.socket), "port": str(ports[0]), "user": "postgres"})


@pytest.mark.slow
def test_server_that_is_killed_in_the_middle_leaves_work_that_the_next_run_finishes(
    cluster: Cluster, tmp_path: Path
) -> None:
    server = start(cluster)
    server.execute("CREATE DATABASE d")
    target = server.target("d")
    texts = [f"CREATE TABLE public.t{n} (n integer);" for n in range(1, 160)]
    migrations = written(tmp_path, *texts, "SELECT pg_sleep(60);")
    postmaster = int((cluster.layout.data / "postmaster.pid").read_text().split()[0])

    def watch(event: Event) -> None:
        if isinstance(event, Progress) and event.item == "0160_do_step160":
            threading.Timer(0.5, lambda: os.kill(postmaster, signal.SIGKILL)).start()

    with pytest.raises(MigrationError, match="the connection was lost during migration 0160_do_step160") as failure:
        migrate(target, migrations, MigrationOptions(fresh=True), report=watch)
    assert "0001_do_step1 to 0100_do_step100 are committed" in failure.value.advice
    start(cluster)
    assert applied(target) == list(range(1, 101))
    result = migrate(target, discover(write(tmp_path, "SELECT 1;", first=160)))
    assert len(result.applied) == 60
    assert applied(target) == list(range(1, 161))


def test_failure_of_the_watch_does_not_end_the_run(
    empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr(LockWatch, "_look", broken)
    migrate(empty, written(tmp_path, "SELECT pg_sleep(0.5);"), MigrationOptions(lock_timeout="400ms"))
    assert applied(empty) == [1]


def test_wait_that_ends_while_it_is_looked_at_does_not_end_the_watch(empty: Target) -> None:
    """The watched session may stop waiting between any two reads of its state."""

    running = _Running("file", "SELECT 1", 0.0, 0.25)

    class Fleeting(LockWatch):
        reads = 0

        def __getattribute__(self, name: str) -> object:
            if name == "_running":
                Fleeting.reads += 1
                return running if Fleeting.reads % 2 else None
            return super().__getattribute__(name)

    with Fleeting(empty, 0, None, lambda event: None) as watch:
        until(lambda: Fleeting.reads > 3, seconds=20)
        assert watch._thread.is_alive()
