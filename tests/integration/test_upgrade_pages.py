"""docs/backup.md and docs/upgrade.md, run with rows in the database, and what they promise of the copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dbops.database import status
from dbops.migrations.files import discover
from dbops.server.cluster import Account, Cluster
from dbops.server.directory import Layout
from dbops.server.find import Installation, find_installations
from dbops.settings import MIGRATIONS, ROOT, Target
from tests.support import operators, servers
from tests.support.docs_pages import Block, blocks, run
from tests.support.operators import as_role, dsn, role
from tests.support.servers import TestServer

pytestmark = pytest.mark.slow

FILES = discover(MIGRATIONS)
TABLES = ("tickers", "ohlcv")


def block(page: str, words: str) -> Block:
    """Return the one block of a page that contains certain words."""
    [found] = [block for block in blocks(ROOT / "docs" / page) if block.language == "sh" and words in block.text]
    return found


def fill(target: Target) -> None:
    """Put rows into a plain table and into two chunks of the hypertable that refers to it."""
    servers.run(
        target,
        "INSERT INTO public.tickers (symbol) SELECT 'T' || n FROM generate_series(1, 50) AS n",
        """INSERT INTO public.ohlcv (ticker_id, date, open, high, low, close, volume)
           SELECT id, day, 1, 2, 1, 2, 100 FROM public.tickers,
                  generate_series('2024-01-01'::date, '2024-02-20', '1 week') AS day""",
    )


def content(target: Target) -> list[list[tuple[object, ...]]]:
    """Return the rows of the tables that `fill` fills."""
    return [servers.rows(target, f"SELECT t::text FROM public.{table} AS t ORDER BY 1") for table in TABLES]


@pytest.fixture
def restored(server: TestServer, built: Target) -> Iterator[Target]:
    """Return the name of a copy that does not exist yet."""
    copy = servers.renamed(built, f"{built.database}_restored")
    yield copy
    servers.drop_quietly(server, copy.database)


def test_backup_is_restored_beside_with_its_rows_ledger_and_label(
    server: TestServer, built: Target, restored: Target, checkout: Path
) -> None:
    [[version]] = servers.rows(built, "SHOW server_version")
    if int(str(version).split(".")[0]) > servers.local_installation().major:
        pytest.skip("pg_dump of this machine is older than the server")
    fill(built)
    environ = {"DATABASE_URL": dsn(built), "RESTORED_URL": restored.url(), "RESTORED": restored.database}
    for words in ("pg_dump", "pg_restore", "db.drift"):
        run(block("backup.md", words), checkout, environ)
    assert content(restored) == content(built)
    assert operators.scheduler_runs(server, restored.database)
    [[restoring]] = servers.rows(restored, "SHOW timescaledb.restoring")
    assert restoring == "off"
    had, has = status.status(built, FILES), status.status(restored, FILES)
    assert (has.items, has.label) == (had.items, had.label)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        servers.run(restored, ORPHAN)
    before = content(built)
    servers.run(built, "DELETE FROM public.ohlcv")
    run(block("backup.md", "db.undo"), checkout, environ)
    assert content(built) == before


def test_copy_becomes_a_database_of_another_environment(built: Target, checkout: Path) -> None:
    environ = {"RESTORED_URL": built.url(), "RESTORED": built.database}
    run(block("backup.md", "COMMENT ON SCHEMA"), checkout, environ)
    label = status.status(built, FILES).label
    assert label
    assert (label.environment, label.native) == ("test", True)


ORPHAN = "INSERT INTO public.ohlcv (ticker_id, date) VALUES (gen_random_uuid(), now())"


def test_rows_alone_are_copied_by_a_plain_owner(server: TestServer, checkout: Path) -> None:
    with role(server) as owner:
        names = [as_role(server.target(servers.fresh_name()), owner) for _ in range(2)]
        built, restored = names
        try:
            assert operators.invoke("db.rebuild", target=built).returncode == 0
            fill(built)
            environ = {"DATABASE_URL": dsn(built), "RESTORED_URL": restored.url()}
            run(block("backup.md", "for table in"), checkout, environ)
            assert content(restored) == content(built)
        finally:
            for target in names:
                servers.drop_quietly(server, target.database)


NEW = [found for found in find_installations("") if found.timescaledb == servers.local_installation().timescaledb]


@pytest.mark.parametrize("new", NEW, ids=lambda new: f"to {new.major}")
def test_pg_upgrade_gives_the_same_database(new: Installation, checkout: Path) -> None:
    account, old = Account.current(), servers.local_installation()
    with servers.throwaway_server() as server, servers.reachable_directory() as directory:
        assert server.directory
        target = server.target("kapman_dev")
        assert operators.invoke("db.rebuild", target=target).returncode == 0
        fill(target)
        before = content(target)
        run(block("upgrade.md", "before.txt\n"), checkout, {"DATABASE_URL": dsn(target)})
        layout = Layout(directory)
        account.own(directory)
        environ = {
            "OLD_BIN": old.binaries,
            "NEW_BIN": new.binaries,
            "OLD_DATA": Layout(server.directory).data,
            "NEW_DATA": layout.data,
        }
        words = [f"{name}={value}" for name, value in environ.items()]
        script = f"cd {directory}\n{block('upgrade.md', 'pg_upgrade').text}"
        done = account.run("env", *words, "bash", "-euo", "pipefail", "-c", script)
        assert done.returncode == 0, done.stdout
        configuration = servers.LIMITS + servers.PRELOAD
        cluster = Cluster(layout, new, durable=False, configuration=configuration)
        with servers.outlived_by(servers.LAST_WILL, directory):
            try:
                parameters = {"host": str(layout.socket), "port": str(cluster.start().port), "user": "postgres"}
                upgraded = Target(parameters, "kapman_dev")
                label = status.status(upgraded, FILES).label
                assert label
                assert not label.native
                run(block("upgrade.md", "vacuumdb"), checkout, {"DATABASE_URL": dsn(upgraded)})
                assert content(upgraded) == before
                label = status.status(upgraded, FILES).label
                assert label
                assert label.native
            finally:
                cluster.stop("immediate")
