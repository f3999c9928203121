"""The checks on a database in use: later stories' objects, chunks, locks, ingestion at work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from dbops import testing, verification
from dbops.catalog import read_expected, schema_text
from dbops.database.status import status
from dbops.migrations.files import discover
from dbops.migrations.run import migrate
from dbops.postgres import Connection
from dbops.settings import ROOT, SCHEMA, Target
from dbops.verification import Verification
from tests.support import servers
from tests.support.servers import TestServer, run
from tests.support.verifying import verify

CHECKS = ROOT / "db" / "verify"


def text_of(target: Target) -> str:
    with servers.connect(target) as connection:
        return schema_text(connection)


def compared(target: Target, **options: Any) -> Verification:
    """Run the checks, and compare the schema with the expected one."""
    return verify(target, CHECKS, expected=read_expected(SCHEMA), **options)


def complaints(result: Verification) -> dict[str, str]:
    return {check.name: str(check.actual) for check in result.failed}


@pytest.mark.parametrize("search_path", ["", "pg_catalog", "public", "dbops, public", "hostile, pg_catalog, public"])
def test_each_check_file_says_the_same_under_any_search_path(built: Target, search_path: str) -> None:
    run(
        built,
        "CREATE SCHEMA hostile; CREATE TABLE hostile.pg_class (oid oid); CREATE TYPE hostile.option_type AS ENUM ()",
    )
    with servers.connect(built) as connection:
        connection.execute("SELECT set_config('search_path', %s, false)", [search_path])
        for path in sorted(CHECKS.glob("*/*.sql")):
            failed = [row for row in connection.execute(path.read_bytes()).fetchall() if row[1] is not True]
            assert failed == [], path.name


@contextmanager
def locked(target: Target, *tables: str) -> Iterator[None]:
    """Hold an ACCESS EXCLUSIVE lock on tables in another session."""
    with servers.connect(target) as connection, connection.transaction(force_rollback=True):
        connection.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE".encode())
        yield


def wait_until(connection: Connection, question: str) -> None:
    """Ask until the answer is yes."""
    for _ in range(300):
        if connection.execute(question.encode()).fetchone() == (True,):
            return
        time.sleep(0.05)
    pytest.fail(f"not within 15 seconds: {question}")


def test_structure_says_what_it_could_not_see_behind_a_lock_and_judges_the_rest(built: Target) -> None:
    with locked(built, "public.recommendations"):
        result = verify(built, CHECKS)
    assert set(complaints(result)) == {
        "constraint public.recommendations.recommendations_confidence_check",
        "index public.recommendations_pkey",
        "index public.recommendations_ticker_id_snapshot_time_idx",
    }
    assert all("could not see: another session has locked the table" in text for text in complaints(result).values())


def test_every_table_locked_leaves_types_columns_and_everything_else_visible(built: Target) -> None:
    with locked(built, "tickers", "ohlcv", "options_chains", "daily_snapshots", "dbops.schema_migrations"):
        result = verify(built, CHECKS)
    assert {check.file for check in result.failed} == {
        "structure/constraints.sql",
        "structure/indexes.sql",
        "structure/ledger.sql",
    }


def test_comparison_says_which_table_it_could_not_see(built: Target) -> None:
    with locked(built, "public.recommendations"):
        (check,) = compared(built, only=("schema",)).checks
    assert (check.file, check.name, check.passed) == ("db/schema.txt", "schema", False)
    assert "public.recommendations is locked by process" in str(check.actual)


@pytest.fixture
def twin(server: TestServer, template: str) -> Iterator[Target]:
    """Return another baseline, in which all has the same oids: these are unique within a database only."""
    twin = server.target(servers.fresh_name("twin"))
    testing.clone(server.session(), template, twin.database)
    yield twin
    servers.drop_quietly(server, twin.database)


def test_lock_on_a_table_of_the_same_oid_in_another_database_hides_nothing(built: Target, twin: Target) -> None:
    with locked(twin, "recommendations", "tickers", "ohlcv", "dbops.schema_migrations"):
        assert complaints(compared(built)) == {}


def test_verify_does_not_wait_behind_a_session_that_waits_for_a_lock(built: Target) -> None:
    with servers.connect(built) as reader, reader.transaction():
        reader.execute("SELECT FROM public.recommendations")
        waiter = threading.Thread(target=run, args=(built, "BEGIN; LOCK TABLE public.recommendations"))
        waiter.start()
        with servers.connect(built) as watcher:
            wait_until(watcher, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted")
        result = verify(built, CHECKS)
    waiter.join()
    assert "index public.recommendations_pkey" in complaints(result)


def test_baseline_says_which_table_it_could_not_count(built: Target) -> None:
    with locked(built, "public.tickers"):
        result = verify(built, CHECKS, baseline=True)
    (check,) = (check for check in result.failed if check.file == "baseline/empty.sql")
    assert check.expected == "to see everything without waiting for a lock"
    assert "public.tickers is locked by process" in str(check.actual)


def staging(connection: Connection) -> None:
    connection.execute(
        "CREATE TEMPORARY TABLE staging (LIKE public.ohlcv INCLUDING ALL);"
        "CREATE TEMPORARY VIEW seen AS SELECT 1 AS one;"
        "CREATE TEMPORARY SEQUENCE numbers;"
        "CREATE FUNCTION pg_temp.twice(integer) RETURNS integer LANGUAGE sql AS 'SELECT 2 * $1';"
        "CREATE TYPE pg_temp.mood AS ENUM ('good')"
    )


@pytest.mark.slow
def test_structure_holds_while_ingestion_is_at_work(built: Target) -> None:
    with servers.connect(built) as connection, connection.transaction():
        staging(connection)
        connection.execute("INSERT INTO tickers (symbol) SELECT 'T' || n FROM generate_series(1, 100) AS n")
        connection.execute(
            "INSERT INTO ohlcv (ticker_id, date)"
            " SELECT t.id, d FROM tickers AS t, generate_series('2024-01-01'::date, '2024-12-31', '1 day') AS d"
        )
        assert compared(built).failed == ()
    assert compared(built).failed == ()


def test_temporary_objects_of_other_sessions_are_ignored(built: Target) -> None:
    with servers.connect(built) as connection:
        staging(connection)
        assert compared(built).failed == ()


def seconds_in_server(target: Target) -> float:
    """Return the least of five runs, all of which pass."""
    runs = [compared(target) for _ in range(5)]
    assert [result.failed for result in runs] == [()] * 5
    return min(sum(check.seconds for check in result.checks) for result in runs)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_structure_takes_under_300_ms_in_the_server_with_5000_chunks(built: Target) -> None:
    """On a machine so busy that it takes long even without chunks, it takes no more than a few times as long."""
    without_chunks = seconds_in_server(built)
    run(
        built, "INSERT INTO tickers (symbol) VALUES ('AAPL'); SELECT set_chunk_time_interval('ohlcv', interval '1 day')"
    )
    for first in range(0, 5000, 100):
        run(
            built,
            "INSERT INTO ohlcv (ticker_id, date) SELECT id, date '2000-01-01' + n"
            f" FROM tickers, generate_series({first}, {first + 99}) AS n",
        )
    run(built, "SELECT set_chunk_time_interval('ohlcv', interval '30 days')")
    assert seconds_in_server(built) < max(0.3, 8 * without_chunks)


def assert_unchanged(target: Target, text: str) -> None:
    """Assert that nothing fails and that the canonical text is what it was."""
    assert complaints(compared(target)) == {}
    assert text_of(target) == text


@pytest.mark.slow
def test_index_that_another_session_rebuilds_is_not_extra(built: Target) -> None:
    before = text_of(built)
    with servers.connect(built) as writer, servers.connect(built) as watcher:
        writer.execute("BEGIN; LOCK TABLE public.tickers IN ROW EXCLUSIVE MODE")
        rebuilder = threading.Thread(target=run, args=(built, "REINDEX INDEX CONCURRENTLY public.tickers_pkey"))
        rebuilder.start()
        wait_until(watcher, "SELECT count(*) > 0 FROM pg_class WHERE relname = 'tickers_pkey_ccnew'")
        wait_until(watcher, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted")
        assert_unchanged(built, before)
        writer.execute("ROLLBACK")
        rebuilder.join()
    assert_unchanged(built, before)
    run(built, "CREATE INDEX tickers_pkey_ccnew ON public.tickers (name)")
    run(built, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.tickers_pkey_ccnew'::regclass")
    assert set(complaints(compared(built))) == {"table public.tickers"}
    assert "tickers_pkey_ccnew" in text_of(built)


def test_invalid_index_shows_although_another_database_locks_an_index_of_the_same_oid(
    built: Target, twin: Target
) -> None:
    """As it does while REINDEX CONCURRENTLY is at work there."""
    run(built, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.tickers_symbol_key'::regclass")
    with servers.connect(twin) as connection, connection.transaction():
        connection.execute("COMMENT ON INDEX public.tickers_symbol_key IS 'takes a SHARE UPDATE EXCLUSIVE lock'")
        assert "index tickers_symbol_key: CREATE UNIQUE INDEX" in text_of(built)


def test_cast_of_another_session_on_its_temporary_type_is_ignored(built: Target) -> None:
    before = text_of(built)
    with servers.connect(built) as other:
        other.execute("CREATE TYPE pg_temp.mood AS ENUM ('good')")
        other.execute("CREATE CAST (pg_temp.mood AS integer) WITH INOUT")
        assert_unchanged(built, before)


@pytest.mark.slow
def test_objects_that_come_and_go_while_they_are_read_cause_no_error(built: Target) -> None:
    stop = threading.Event()

    def come_and_go() -> None:
        with servers.connect(built) as connection:
            while not stop.is_set():
                connection.execute(
                    "CREATE TABLE public.comer (a integer CHECK (a > 0), b date);"
                    "CREATE INDEX ON public.comer (lower(a::text));"
                    "CREATE VIEW public.goer AS SELECT a FROM public.comer"
                )
                connection.execute("DROP TABLE public.comer CASCADE")
                stop.wait(0.05)

    before = text_of(built)
    changer = threading.Thread(target=come_and_go)
    changer.start()
    try:
        for _ in range(10):
            found = complaints(verify(built, CHECKS))
            assert all("comer" in name or "goer" in name for name in found), found
            text = text_of(built)
            assert "table public.tickers\n" in text
    finally:
        stop.set()
        changer.join()
    assert_unchanged(built, before)


def test_object_that_is_dropped_while_it_is_verified_is_left_out(
    built: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "LOCK_TIMEOUT", 30.0)
    run(built, "CREATE TABLE public.goner (a integer CHECK (a > 0))")
    here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    with servers.connect(built) as dropping, servers.connect(built) as looking, ThreadPoolExecutor(1) as pool:
        dropping.execute("BEGIN; DROP TABLE public.goner")
        verified = pool.submit(compared, built)
        wait_until(looking, f"SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND database = {here}")
        dropping.execute("COMMIT")
        assert complaints(verified.result()) == {}


SETTINGS = (
    "DateStyle = 'German, DMY'",
    "IntervalStyle = 'iso_8601'",
    "extra_float_digits = -15",
    "quote_all_identifiers = on",
    "search_path = hostile, public",
    "lc_monetary = 'C.UTF-8'",
    "bytea_output = 'escape'",
)


def test_settings_of_the_database_change_neither_ledger_nor_verdict(server: TestServer, empty: Target) -> None:
    tablespace, files = servers.fresh_name("space"), discover(ROOT / "db" / "migrations")
    with servers.connect(server.target("postgres")) as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        connection.execute(f"CREATE TABLESPACE {tablespace} LOCATION ''".encode())
        try:
            for setting in (*SETTINGS, f"default_tablespace = '{tablespace}'"):
                connection.execute(f'ALTER DATABASE "{empty.database}" SET {setting}'.encode())
            migrate(empty, files)
            assert complaints(compared(empty, baseline=True)) == {}
            assert text_of(empty) == read_expected(SCHEMA).text
            assert status(empty, files).pending == ()
        finally:
            connection.execute(f"DROP TABLESPACE {tablespace}".encode())


@pytest.mark.parametrize(
    ("create", "adopt", "name"),
    [
        (
            "FUNCTION public.f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            "FUNCTION public.f()",
            "function public.f()",
        ),
        ("SCHEMA elsewhere", "SCHEMA elsewhere", "schema elsewhere"),
        ("TABLE public.hidden (a integer)", "TABLE public.hidden", "table public.hidden"),
        ("TYPE public.mood AS ENUM ('good')", "TYPE public.mood", "type public.mood"),
    ],
    ids=["function", "schema", "table", "type"],
)
def test_object_that_an_extension_adopted_later_is_still_the_databases_own(
    built: Target, create: str, adopt: str, name: str
) -> None:
    run(built, f"CREATE {create}")
    run(built, f"ALTER EXTENSION timescaledb ADD {adopt}")
    assert set(complaints(compared(built))) == {name}
    assert f"{name}\n" in text_of(built)
