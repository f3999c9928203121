"""Files travel in pipelines: fewer round trips, and every error, notice and lock wait still has its position."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psycopg
import pytest

from dbops import postgres
from dbops.errors import Interrupted, MigrationError
from dbops.events import Event, Message, Progress, StatementFinished
from dbops.migrations import files, options
from dbops.migrations.files import discover
from dbops.migrations.options import MigrationOptions
from dbops.migrations.run import apply, migrate
from dbops.settings import Target
from tests.support import servers
from tests.support.migration_files import write, written
from tests.support.network import slow_network
from tests.support.servers import TestServer

TABLE = "CREATE TABLE public.t (n integer);"


def test_error_in_the_middle_of_many_files_keeps_its_position_and_leaves_nothing(empty: Target, tmp_path: Path) -> None:
    texts = [f"CREATE TABLE public.t{n} ();\nCOMMENT ON TABLE public.t{n} IS 'n';" for n in range(1, 301)]
    texts[149] = "CREATE TABLE public.u ();\n\nCREATE TABLE public.v (n numbre);\nCREATE TABLE public.w ();"
    with pytest.raises(MigrationError, match='0150_do_step150 failed: type "numbre" does not exist') as failure:
        migrate(empty, written(tmp_path, *texts))
    location = failure.value.location
    assert location is not None
    assert (location.line, location.column) == (3, 26)
    assert failure.value.sqlstate == "42704"
    with servers.connect(empty) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchall() == [(0,)]


def test_notices_of_many_files_keep_their_file_and_line(empty: Target, tmp_path: Path) -> None:
    events: list[Event] = []
    text = "CREATE TABLE public.t{n} ();\nDO $$ BEGIN RAISE NOTICE 'notice {n}'; END $$;\n"
    text += "DROP TABLE IF EXISTS public.u{n};"
    migrate(empty, written(tmp_path, *[text.format(n=n) for n in range(1, 41)]), report=events.append)
    reported = [(e.text, Path(e.where).name) for e in events if isinstance(e, Message) and e.text.startswith("NOTICE")]
    expected = []
    for n in range(1, 41):
        name = f"{n:04}_do_step{n}.sql"
        expected += [(f"NOTICE: notice {n}", f"{name}:2")]
        expected += [(f'NOTICE: table "u{n}" does not exist, skipping', f"{name}:3")]
    assert reported == expected


def test_each_statement_is_reported_with_its_time(empty: Target, tmp_path: Path) -> None:
    events: list[Event] = []
    migrate(empty, written(tmp_path, "SELECT pg_sleep(0.35);\nSELECT 1;", "SELECT 2;"), report=events.append)
    # A statement may have begun some milliseconds before the result of the one in front of it is seen here.
    slow, fast, other = (e.seconds or 0 for e in events if isinstance(e, StatementFinished))
    assert slow >= 0.3
    assert 0 < fast < slow
    assert 0 < other < slow


def test_lock_wait_in_the_middle_of_a_pipeline_names_file_line_and_holder(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, TABLE))
    events: list[Event] = []
    later = [f"CREATE TABLE public.t{n} ();" for n in range(2, 30)]
    later[10] = "SELECT 1;\nALTER TABLE public.t ADD COLUMN m integer;"
    with servers.connect(empty) as holder:
        holder.execute("BEGIN; SELECT FROM public.t")
        with pytest.raises(MigrationError) as failure:
            migrate(
                empty,
                discover(write(tmp_path, *later, first=2)),
                MigrationOptions(lock_timeout="400ms", lock_budget="1ms"),
                report=events.append,
            )
        assert f"process {holder.info.backend_pid}" in failure.value.render()
    assert failure.value.location is not None
    assert failure.value.location.line == 2
    waits = [e.where for e in events if isinstance(e, Message) and "waiting for a lock" in e.text]
    assert [Path(where).name for where in waits] == ["0012_do_step12.sql:2"]


@pytest.mark.parametrize("copy", ["COPY public.t TO STDOUT;", "COPY public.t FROM STDIN;"])
def test_copy_that_reaches_the_pipeline_is_an_error_with_its_position(
    empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy: str
) -> None:
    """A second line of defence: files are refused before."""
    monkeypatch.setattr(files, "_CLIENT", set[tuple[str, str]]())
    with pytest.raises(MigrationError, match="COPY from or to the client is not supported") as failure:
        migrate(empty, written(tmp_path, TABLE, f"SELECT 1;\n{copy}"))
    assert failure.value.location is not None
    assert failure.value.location.line == 2
    assert "Nothing was applied." in failure.value.advice
    with postgres.connect(empty) as connection:
        assert connection.execute("SELECT to_regclass('public.t') IS NULL").fetchall() == [(True,)]
        connection.execute("BEGIN")
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            postgres.pipeline(connection, [["CREATE TABLE public.t ()", copy]])


def test_progress_follows_the_server(empty: Target, tmp_path: Path) -> None:
    """A file is announced when the server turns to it, however many are sent ahead."""
    times: dict[str, float] = {}

    def note(event: Event) -> None:
        if isinstance(event, Progress):
            times[event.item] = time.monotonic()

    migrate(empty, written(tmp_path, "SELECT 1;", "SELECT pg_sleep(0.8);", "SELECT 3;"), report=note)
    assert times["0002_do_step2"] - times["0001_do_step1"] < 0.7
    assert times["0003_do_step3"] - times["0002_do_step2"] > 0.7


@pytest.mark.parametrize(
    "text",
    [
        "PREPARE p AS SELECT $1::integer;\nEXECUTE p(1);",
        "CREATE FUNCTION public.f(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1';\nSELECT public.f(1);",
        "CREATE TABLE public.d (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO public.d VALUES (1);",
    ],
)
def test_what_cannot_travel_in_a_pipeline_runs_as_before(empty: Target, tmp_path: Path, text: str) -> None:
    result = migrate(empty, written(tmp_path, TABLE, text, "CREATE TABLE public.u ();"))
    assert len(result.applied) == 3


def test_files_beside_deferrable_constraints_take_a_few_round_trips_each(
    server: TestServer, empty: Target, tmp_path: Path
) -> None:
    """Their statements travel together; the constraints are checked after each file."""
    rows = [f"INSERT INTO public.d VALUES ({n});" + "SELECT 1;" * 20 for n in range(10)]
    migrations = written(tmp_path, "CREATE TABLE public.d (n integer UNIQUE DEFERRABLE);", *rows)
    with slow_network(server, 0.005) as (far, traffic):
        migrate(far.target(empty.database), migrations)
    assert traffic.round_trips < 10 * len(migrations)


def test_execute_that_fails_when_it_is_planned_again_points_at_itself(empty: Target, tmp_path: Path) -> None:
    text = "PREPARE p AS SELECT 1, 2, 3, 4, 5 AS long, n FROM public.t;\nALTER TABLE public.t DROP COLUMN n;\n"
    text += "EXECUTE p;\nSELECT 1;"
    with pytest.raises(MigrationError, match='column "n" does not exist') as failure:
        migrate(empty, written(tmp_path, TABLE, text))
    assert failure.value.location is not None
    assert (failure.value.location.line, failure.value.location.column) == (3, 1)


@pytest.mark.slow
def test_large_statements_travel_within_bounds(empty: Target, tmp_path: Path) -> None:
    big = "INSERT INTO public.big VALUES ('" + "x" * 3_000_000 + "');\n"
    migrate(empty, written(tmp_path, "CREATE TABLE public.big (t text);", big * 4, "SELECT repeat('y', 5000000);"))
    with servers.connect(empty) as connection:
        assert connection.execute("SELECT count(*), min(length(t)) FROM public.big").fetchall() == [(4, 3_000_000)]


def test_message_language_of_the_server_changes_no_hint(empty: Target, tmp_path: Path) -> None:
    """Hints go by SQLSTATEs: here a cancel and a timeout have other words than the English ones."""
    servers.run(empty, "CREATE FUNCTION public.cancel() RETURNS bool RETURN pg_cancel_backend(pg_backend_pid())")
    text = "SELECT public.cancel(), pg_sleep(60);"
    with pytest.raises(MigrationError) as canceled:
        migrate(empty, written(tmp_path, text), MigrationOptions(statement_timeout="1min"))
    assert "Another session canceled it" in canceled.value.hint
    with pytest.raises(MigrationError) as late:
        migrate(empty, written(tmp_path, "SELECT pg_sleep(60);"), MigrationOptions(statement_timeout="300ms"))
    assert "--statement-timeout" in late.value.hint


@pytest.mark.slow
def test_session_that_ends_for_idling_is_reported_with_the_state(
    empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`idle_session_timeout` of the role does not end the session between two attempts."""
    with servers.connect(empty) as connection:
        connection.execute(f'ALTER DATABASE "{empty.database}" SET idle_session_timeout = 100')
    migrate(empty, written(tmp_path, TABLE))
    with servers.connect(empty) as holder:
        holder.execute("SET idle_session_timeout = 0; BEGIN; SELECT FROM public.t")
        later = discover(write(tmp_path, "ALTER TABLE public.t ADD m integer;", first=2))
        with pytest.raises(MigrationError, match="could not acquire a lock") as failure:
            migrate(empty, later, MigrationOptions(lock_timeout="300ms", lock_budget="1s"))
    assert failure.value.state == "Nothing was applied."
    assert options.LOCK_TIMEOUT == "1s"


@pytest.mark.usefixtures("interruptible")
def test_interruption_of_a_pipeline_leaves_a_sound_connection(
    empty: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    migrations = written(tmp_path, TABLE, "SELECT pg_sleep(60);", "CREATE TABLE public.u ();")

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.item == "0002_do_step2":
            threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()

    with postgres.connect(empty) as connection:
        with pytest.raises(Interrupted) as interrupted:
            apply(connection, empty, migrations, report=interrupt)
        assert interrupted.value.state == "Nothing was applied."
        assert not connection.closed
        assert connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        ).fetchall() == [(0,)]
    assert caplog.messages == []
