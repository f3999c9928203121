"""A database that was restored, or upgraded with pg_upgrade, is as the one that it was made from, to every verb."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops import catalog, migrations, postgres
from dbops.database import existing, schema
from dbops.settings import MIGRATIONS, SCHEMA, Target
from tests.support import restores, servers
from tests.support.servers import TestServer

ROWS = (
    "INSERT INTO public.tickers (symbol) VALUES ('AAPL'), ('BRK.B')",
    "INSERT INTO public.ohlcv (ticker_id, date, close) SELECT id, day, 1 FROM public.tickers, "
    "generate_series(date '2024-01-01', date '2024-12-31', interval '1 day') AS day",
    "INSERT INTO public.daily_snapshots (time, ticker_id, wyckoff_phase) SELECT now(), id, 'A' FROM public.tickers",
)


def build(server: TestServer, database: str) -> Target:
    """Make a database of all migrations, with rows and chunks."""
    server.execute(f'CREATE DATABASE "{database}" TEMPLATE template0')
    target = server.target(database)
    migrations.migrate(target, migrations.discover(MIGRATIONS))
    servers.run(target, *ROWS)
    return target


def assert_as_built(target: Target) -> None:
    """Fail unless every verb says of the database what it says of a fresh build."""
    files = migrations.discover(MIGRATIONS)
    assert [(check.name, check.actual) for check in schema.verify(target, files).failed] == []
    assert schema.drift(target, files).objects == ()
    assert not schema.drift(target, files, schema=None).found
    assert existing.migrate(target, files, verify=True).applied == ()
    with postgres.reader(target) as connection:
        text = catalog.schema_text(connection)
    assert catalog.fingerprint(text) == catalog.fingerprint(catalog.read_expected(SCHEMA).text)
    assert servers.rows(target, "SELECT count(*) FROM public.ohlcv") == [(732,)]


@pytest.mark.slow
def test_restored_dump_is_as_the_database_that_was_dumped(own_server: TestServer, tmp_path: Path) -> None:
    target = build(own_server, servers.fresh_name())
    try:
        with restores.restored(own_server, target, tmp_path / "kapman.dump") as copy:
            assert_as_built(copy)
    finally:
        servers.drop_quietly(own_server, target.database)


@pytest.mark.slow
def test_database_that_pg_upgrade_took_over_is_as_before() -> None:
    with servers.throwaway_server() as old:
        before = build(old, "kapman_dev")
        assert_as_built(before)
        with restores.upgraded(old) as new:
            assert_as_built(new.target("kapman_dev"))
