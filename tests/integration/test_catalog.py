"""The schema's canonical text: what changes it, and what must not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from psycopg import sql

from dbops import postgres
from dbops.catalog import fingerprint, schema_asked, schema_text, text
from dbops.catalog.drift import differences
from dbops.database import rebuild
from dbops.errors import ServerError
from dbops.settings import ROOT, Target
from tests.support import servers
from tests.support.servers import TestServer, run


def text_of(target: Target) -> str:
    with servers.connect(target) as connection:
        return schema_text(connection)


@dataclass(frozen=True, slots=True)
class Shared:
    """A connection to a built database that tests only change inside a transaction, and its text."""

    connection: postgres.Connection
    text: str


@pytest.fixture(scope="module")
def shared(server: TestServer, template: str) -> Iterator[Shared]:
    name = servers.fresh_name()
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    with servers.connect(server.target(name)) as connection:
        yield Shared(connection, schema_text(connection))
    servers.drop_quietly(server, name)


JOB = (
    "INSERT INTO _timescaledb_config.bgw_job (application_name, schedule_interval, max_runtime, max_retries, "
    "retry_period, proc_schema, proc_name, config) "
    "VALUES ('User-Defined Action [1000]', '1 h', '0', -1, '5 min', 'public', 'j', '{\"a\": 1, \"hypertable_id\": 7}')"
)
COMPRESSION = (
    "UPDATE _timescaledb_catalog.hypertable SET compressed_hypertable_id = id WHERE table_name = 'ohlcv'; "
    "INSERT INTO _timescaledb_catalog.compression_settings "
    "VALUES ('ohlcv', NULL, '{ticker_id}', '{date}', '{t}', '{f}')"
)


def test_job_and_compression_show(shared: Shared) -> None:
    """Where the licence lets them be made, by its own means; else as rows of the catalog."""
    free = shared.connection.execute("SHOW timescaledb.license").fetchone() == ("timescale",)
    with shared.connection.transaction(force_rollback=True):
        shared.connection.execute("CREATE PROCEDURE j(id int, c jsonb) LANGUAGE sql AS ''")
        if free:
            shared.connection.execute("SELECT add_job('j', '1 h', config => '{\"a\": 1}')")
            shared.connection.execute(
                "ALTER TABLE ohlcv SET (timescaledb.compress, timescaledb.compress_segmentby = 'ticker_id')"
            )
        else:
            shared.connection.execute(JOB)
            shared.connection.execute(COMPRESSION)
        after = schema_text(shared.connection)
    added = {line for item in differences(shared.text, after) for line in item.lines if line.startswith("+")}
    assert "+job public.j" in added
    assert '+    every 01:00:00, at most 00:00:00, retries -1 after 00:05:00 config {"a": 1}' in added
    assert "+    compression of ticker_id: segment by 1" in added


@pytest.mark.parametrize(
    "change",
    [
        "scheduled = NOT scheduled",
        "schedule_interval = '2 h'",
        "max_runtime = '1 min'",
        "max_retries = 5",
        "retry_period = '1 min'",
        "config = '{\"a\": 2}'",
        "owner = 'pg_monitor'",
    ],
)
def test_each_attribute_of_a_job_shows(shared: Shared, change: str) -> None:
    with shared.connection.transaction(force_rollback=True):
        shared.connection.execute("CREATE PROCEDURE j(id int, c jsonb) LANGUAGE sql AS ''")
        shared.connection.execute(JOB)
        before = schema_text(shared.connection)
        shared.connection.execute(f"UPDATE _timescaledb_config.bgw_job SET {change} WHERE id >= 1000".encode())
        assert [item.name for item in differences(before, schema_text(shared.connection))] == ["job public.j"]


def test_chunk_that_timescaledb_keeps_as_dropped_is_no_difference(shared: Shared) -> None:
    """It keeps some so, of hypertables with continuous aggregates; one that is only missing is a difference."""
    missing = (
        "INSERT INTO _timescaledb_catalog.chunk SELECT (jsonb_populate_record(c, "
        '\'{{"id": 99999, "table_name": "gone", "dropped": {}}}\')).* FROM _timescaledb_catalog.chunk AS c LIMIT 1'
    )
    with shared.connection.transaction(force_rollback=True):
        shared.connection.execute("INSERT INTO tickers (symbol) VALUES ('A')")
        shared.connection.execute("INSERT INTO ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM tickers")
        columns = shared.connection.execute("SELECT to_jsonb(c) ? 'dropped' FROM _timescaledb_catalog.chunk AS c")
        if columns.fetchone() != (True,):
            pytest.skip("this version of TimescaleDB keeps no dropped chunk")
        with shared.connection.transaction(force_rollback=True):
            shared.connection.execute(missing.format("true").encode())
            assert schema_text(shared.connection) == shared.text
        shared.connection.execute(missing.format("false").encode())
        (item,) = differences(shared.text, schema_text(shared.connection))
        assert item.lines == ("+    chunks in the catalog alone: 1",)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO tickers (symbol) VALUES ('A')",
        "WITH t AS (INSERT INTO tickers (symbol) VALUES ('A') RETURNING id) "
        "INSERT INTO ohlcv (ticker_id, date) "
        "SELECT id, d FROM t, generate_series('2024-01-01', '2025-01-01', '7 days'::interval) AS d",
        "ANALYZE",
        "ALTER TABLE tickers ADD COLUMN a int; ALTER TABLE tickers DROP COLUMN a",
        "ALTER TABLE tickers ALTER name SET STATISTICS 5; ALTER TABLE tickers ALTER name SET STATISTICS -1",
        'COMMENT ON SCHEMA dbops IS \'{"environment": "prod"}\'',
        "UPDATE dbops.schema_migrations SET applied_at = now() + interval '1 year', applied_by = 'another'",
        "CREATE TEMPORARY TABLE t (a int)",
        "GRANT SELECT ON tickers TO CURRENT_USER",
        "DROP INDEX ohlcv_date_idx; CREATE INDEX ohlcv_date_idx ON ohlcv (date DESC)",
    ],
)
def test_change_that_is_not_part_of_the_schema_leaves_the_text_as_it_is(shared: Shared, statement: str) -> None:
    with shared.connection.transaction(force_rollback=True):
        shared.connection.execute(statement)
        assert schema_text(shared.connection) == shared.text


def test_text_is_the_same_under_any_setting_of_the_session(built: Target) -> None:
    run(
        built,
        "CREATE VIEW v AS SELECT timestamptz '2024-06-01 12:00+02' AS t, interval '1 day 2 h' AS i, 0.1::float8 AS f, "
        "'\\xff'::bytea AS b, 12.5::numeric::money AS m FROM tickers",
    )
    with servers.connect(built) as connection:
        before = schema_text(connection)
        for setting in (
            "search_path = public, pg_catalog",
            "TimeZone = 'Asia/Kathmandu'",
            "DateStyle = 'German, DMY'",
            "IntervalStyle = 'iso_8601'",
            "bytea_output = 'escape'",
            "extra_float_digits = -10",
            "quote_all_identifiers = on",
            "client_encoding = 'LATIN1'",
        ):
            connection.execute(f"SET {setting}")
            assert schema_text(connection) == before, setting


def test_reading_the_text_leaves_session_and_transaction_as_they_were(built: Target) -> None:
    with servers.connect(built) as connection:
        connection.execute("SET TimeZone = 'Asia/Kathmandu'")
        alone = schema_text(connection)
        assert connection.execute("SHOW TimeZone").fetchone() == ("Asia/Kathmandu",)
        with connection.transaction():
            connection.execute("CREATE TABLE t ()")
            assert "table public.t\n" in schema_text(connection)
            assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)
            connection.execute("DROP TABLE t")
        assert schema_text(connection) == alone


def test_locked_table_is_named_with_the_process_that_holds_it(built: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LOCK_TIMEOUT", 0.05)
    with servers.connect(built) as holder, holder.transaction():
        holder.execute("LOCK TABLE public.tickers")
        pid = holder.info.backend_pid
        with pytest.raises(ServerError, match="another session has locked a table") as caught:
            text_of(built)
    (note,) = caught.value.notes
    assert note.startswith(f"public.tickers is locked by process {pid} (role ")


def test_database_without_timescaledb_has_a_text_too(empty: Target) -> None:
    run(empty, "CREATE TABLE t (a int)")
    assert text_of(empty).startswith("extension plpgsql\n    in schema pg_catalog\n\nschema public\n")


def test_text_that_could_not_be_read_meanwhile_is_read_again(empty: Target) -> None:
    """As where TimescaleDB, or another object, is dropped in between."""
    with postgres.connect(empty) as connection:
        read = schema_asked(connection, timescaledb=True)
        assert read() == schema_text(connection)


def test_object_that_is_dropped_while_it_is_read_is_left_out(empty: Target) -> None:
    before = text_of(empty)
    run(empty, "CREATE TABLE public.goner (a integer CHECK (a > 0))")
    here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    waits = f"SELECT 1 FROM pg_locks WHERE NOT granted AND database = {here}"
    with servers.connect(empty) as dropping, servers.connect(empty) as looking, ThreadPoolExecutor(1) as pool:
        dropping.execute("BEGIN; DROP TABLE public.goner")
        reading = pool.submit(text_of, empty)
        while not looking.execute(waits.encode()).fetchall():
            assert not reading.done()
            time.sleep(0.01)
        dropping.execute("COMMIT")
        assert reading.result() == before


LOCALES = (
    "LOCALE 'C'",
    "LOCALE 'C.UTF-8'",
    "LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'de-DE'",
    "LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR'",
    "LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US-u-kf-upper-kn-true'",
)
ZONES = ("UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati", "Europe/Berlin")


@pytest.mark.slow
def test_five_rebuilds_under_other_locales_zones_names_and_owners_have_one_fingerprint(
    server: TestServer,
) -> None:
    options = rebuild.RebuildOptions(ROOT / "db" / "migrations", ROOT / "db" / "verify")
    found = set()
    for number, (locale, zone) in enumerate(zip(LOCALES, ZONES, strict=True)):
        role, name = servers.fresh_name("owner"), f"{servers.fresh_name('Größe')} {number}"
        server.execute(f'CREATE ROLE "{role}"')
        try:
            server.execute(f'CREATE DATABASE "{name}" OWNER "{role}" TEMPLATE template0 ENCODING \'UTF8\' {locale}')
            server.execute(f"ALTER DATABASE \"{name}\" SET TimeZone = '{zone}'")
            before = properties(server, name)
            found.add(rebuild.rebuild(server.target(name), options).fingerprint)
            assert properties(server, name) == before
            text = text_of(server.target(name))
            assert fingerprint(text) in found
            assert role not in text
        finally:
            servers.drop_quietly(server, name)
            server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    assert len(found) == 1


def properties(server: TestServer, name: str) -> list[tuple[object, ...]]:
    """Return what was to differ from build to build, so that the test does not compare like with like."""
    return server.execute(
        "SELECT datlocprovider, datcollate, datdba, setconfig, "
        "coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale') FROM pg_database AS d "
        f"JOIN pg_db_role_setting AS s ON s.setdatabase = d.oid AND s.setrole = 0 WHERE datname = '{name}'"
    )
