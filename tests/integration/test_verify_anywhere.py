"""`db.verify` where it must work: with few rights, beside others' work, on a standby, behind a pooler."""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from dbops import postgres, testing
from dbops.catalog import schema_text
from dbops.database import schema
from dbops.migrations.files import discover
from dbops.migrations.run import migrate
from dbops.server.cluster import Account, Cluster
from dbops.server.directory import Layout
from dbops.settings import ROOT, Target
from dbops.verification import Check, Verification
from tests.support import operators, servers
from tests.support.network import slow_network
from tests.support.pooler import pooler_of
from tests.support.servers import TestServer
from tests.support.verifying import verify

CHECKS = ROOT / "db" / "verify"
FILES = discover(ROOT / "db" / "migrations")
REFUSED = re.compile(r"not run: |not counted: the table depends on")
SOURCE = (("host", "host"), ("port", "port"), ("username", "user"))


def said(checks: tuple[Check, ...]) -> str:
    return "\n".join(f"{check.file}: {check.name}: {check.actual}" for check in checks)


def text_of(target: Target) -> str:
    with servers.connect(target) as connection:
        return schema_text(connection)


def assert_passes(result: Verification) -> None:
    assert result.passed, said(result.failed)


@pytest.fixture
def reader(server: TestServer, built: Target) -> Iterator[Target]:
    """Return the built target as a role that has nothing but what PUBLIC has."""
    role = servers.fresh_name("reader")
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    yield server.target(built.database, user=role, password="x")
    server.execute(f"DROP OWNED BY {role}", built.database)
    server.execute(f"DROP ROLE {role}")


def test_role_with_connect_alone_is_told_what_it_cannot_see_and_verifies_the_rest(
    server: TestServer, built: Target, reader: Target
) -> None:
    role = reader.parameters["user"]
    server.execute(f'REVOKE ALL ON DATABASE "{built.database}" FROM PUBLIC')
    server.execute(f'GRANT CONNECT ON DATABASE "{built.database}" TO {role}')
    server.execute("DELETE FROM dbops.schema_migrations", built.database)
    grant = f"GRANT pg_read_all_data TO {role}"
    found = schema.verify(reader, FILES)
    (ledger,) = found.failed
    assert ledger.file == "structure/ledger.sql"
    assert str(ledger.actual).endswith(f"as a superuser, run {grant}")
    assert found.advice == (f"a right is missing: as a superuser, run {grant}",)
    server.execute(grant)
    (ledger,) = schema.verify(reader, FILES).failed
    assert ledger.actual == "0 applied, 0 unfinished, 0 missing"


def test_advice_is_by_cause(built: Target, tmp_path: Path) -> None:
    shutil.copytree(CHECKS, tmp_path / "verify")
    (tmp_path / "verify" / "structure" / "broken.sql").write_text("SELECT\n  oops")
    broken = tmp_path / "verify" / "structure" / "broken.sql"
    assert schema.verify(built, FILES, checks=tmp_path / "verify").advice == (
        f"a check file is broken: correct {broken}:2:3",
    )
    with servers.connect(built) as holder, holder.transaction():
        holder.execute("LOCK TABLE public.tickers")
        locked = schema.verify(built, FILES)
    assert locked.advice == ("another session has locked a table: run it again when its transaction is over",)
    servers.run(built, "INSERT INTO public.tickers (symbol) VALUES ('A')")
    rows = schema.verify(built, FILES, baseline=True)
    assert rows.advice == ("there are rows: `--empty` is for a database that was just rebuilt",)
    servers.run(built, "ALTER TABLE public.tickers ADD COLUMN isin text")
    (changed,) = schema.verify(built, FILES).advice
    assert changed.startswith("the database was changed by hand: `invoke db.drift` shows what; keep a change with")


def test_role_without_select_is_shown_what_it_may_not_count(server: TestServer, built: Target, reader: Target) -> None:
    refused = schema.verify(reader, FILES, baseline=True).failed
    tables = {check.name for check in refused if check.file == "baseline/empty.sql"}
    assert "rows public.tickers" in tables
    assert len(tables) == 6
    assert "this role may not read the table; as a superuser, run GRANT pg_read_all_data TO" in said(refused)
    server.execute(f"GRANT pg_read_all_data TO {reader.parameters['user']}")
    assert_passes(schema.verify(reader, FILES, baseline=True))


def test_rows_hidden_by_row_level_security_are_not_counted_as_missing(
    server: TestServer, built: Target, reader: Target
) -> None:
    with servers.connect(built) as connection:
        connection.execute("INSERT INTO tickers (symbol) VALUES ('A')")
        connection.execute("ALTER TABLE tickers ENABLE ROW LEVEL SECURITY")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader.parameters['user']}")
    (hidden,) = (c for c in verify(reader, CHECKS, baseline=True, only=("empty",)).checks if not c.passed)
    assert hidden.name == "rows public.tickers"
    assert "row-level security" in str(hidden.actual)


def test_locked_table_is_named_with_its_holder_and_nothing_hangs(built: Target) -> None:
    with servers.connect(built) as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE recommendations IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        result = verify(built, CHECKS, baseline=True)
        assert time.monotonic() - began < 30
        pid = holder.info.backend_pid
        holder.execute("ROLLBACK")
    blind = {check.file: check for check in result.failed}
    row = blind["baseline/empty.sql"]
    assert f"public.recommendations is locked by process {pid} (" in str(row.actual)
    assert "could not see everything, and did not wait" in str(row.actual)
    passed = {check.file for check in result.checks if check.passed}
    assert "structure/columns.sql" in passed
    assert_passes(verify(built, CHECKS, baseline=True))


def test_table_that_is_locked_in_another_database_is_not_named(
    server: TestServer, built: Target, template: str
) -> None:
    """Copies of one database have the same numbers for the same tables."""
    copy = server.target(servers.fresh_name())
    testing.clone(server.session(), template, copy.database)
    try:
        with servers.connect(copy) as holder, postgres.connect(built) as connection, holder.transaction():
            holder.execute("LOCK TABLE public.tickers")
            assert postgres.tables_locked_against_reading(connection) == ()
    finally:
        servers.drop_quietly(server, copy.database)


def test_table_that_another_session_waits_to_lock_is_named_too(built: Target) -> None:
    def wait(connection: postgres.Connection) -> None:
        with contextlib.suppress(psycopg.errors.QueryCanceled):
            connection.execute("LOCK TABLE recommendations IN ACCESS EXCLUSIVE MODE")

    with servers.connect(built) as reader, servers.connect(built) as waiter:
        reader.execute("BEGIN")
        reader.execute("SELECT FROM recommendations")
        waiter.execute("BEGIN")
        thread = threading.Thread(target=wait, args=(waiter,))
        thread.start()
        while not reader.execute("SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted").fetchall():
            time.sleep(0.01)
        (check,) = verify(built, CHECKS, baseline=True, only=("empty",)).checks
        waiter.cancel_safe()
        thread.join()
        words = f"public.recommendations is about to be locked by process {waiter.info.backend_pid} ("
        assert words in str(check.actual)


def load(target: Target, stop: threading.Event, loaded: list[int]) -> None:
    """Insert bars as ingestion does, a commit per ticker, until told to stop."""
    with servers.connect(target) as connection:
        number = 0
        while not stop.is_set():
            number += 1
            connection.execute(
                "WITH t AS (INSERT INTO tickers (symbol) VALUES (%s) RETURNING id) INSERT INTO ohlcv (ticker_id, date) "
                "SELECT t.id, d FROM t, generate_series('2024-01-01', '2026-01-01', interval '1 day') AS d",
                [f"T{number}"],
            )
            loaded.append(number)


@pytest.mark.slow
def test_structure_verifies_during_a_bulk_load(built: Target) -> None:
    stop, loaded = threading.Event(), list[int]()
    loader = threading.Thread(target=load, args=(built, stop, loaded))
    loader.start()
    try:
        while len(loaded) < 2:
            assert loader.is_alive()
            time.sleep(0.01)
        for _ in range(3):
            assert_passes(verify(built, CHECKS))
        before = len(loaded)
        while len(loaded) == before:
            assert loader.is_alive()
            time.sleep(0.01)
    finally:
        stop.set()
        loader.join()


@contextmanager
def standby_of(primary: TestServer) -> Iterator[TestServer]:
    """Clone a throwaway server with pg_basebackup and run the clone as a hot standby."""
    assert primary.directory
    with (primary.directory / "pg_hba.conf").open("a") as rules:
        rules.write("local replication all trust\n")
    primary.execute("SELECT pg_reload_conf()")
    account, installation = Account.current(), servers.local_installation()
    with servers.reachable_directory() as directory:
        account.own(directory)
        source = [f"--{key}={primary.parameters[value]}" for key, value in SOURCE]
        copy = ("--write-recovery-conf", "--checkpoint=fast", f"--pgdata={directory / 'data'}")
        answer = account.run(installation.binaries / "pg_basebackup", *copy, *source)
        assert answer.returncode == 0, answer.stdout
        cluster = Cluster(Layout(directory), installation, False, servers.LIMITS + servers.PRELOAD)
        try:
            port = cluster.start().port
            yield TestServer({"host": str(cluster.layout.socket), "port": str(port), "user": "postgres"}, directory)
        finally:
            cluster.stop("immediate")


@pytest.mark.slow
def test_hot_standby_verifies_and_has_the_same_text() -> None:
    with servers.throwaway_server() as primary:
        primary.execute("CREATE DATABASE built TEMPLATE template0")
        migrate(primary.target("built"), discover(ROOT / "db" / "migrations"))
        with standby_of(primary) as standby:
            assert standby.execute("SELECT pg_is_in_recovery()") == [(True,)]
            assert_passes(schema.verify(standby.target("built"), FILES, baseline=True))
            assert text_of(standby.target("built")) == text_of(primary.target("built"))


def test_pooler_in_transaction_mode_verifies_and_keeps_nothing(server: TestServer, built: Target) -> None:
    with pooler_of(server, size=1) as pooler:
        through = pooler.target(built.database)
        other_client = pooler.target(built.database, application_name=postgres.APPLICATION)
        with servers.connect(other_client) as other:
            own = other.execute("SELECT pg_backend_pid()").fetchone()
            before = other.execute("SELECT name, setting FROM pg_settings ORDER BY 1").fetchall()
            for _ in range(2):
                assert_passes(schema.verify(through, FILES, baseline=True))
            assert other.execute("SELECT pg_backend_pid()").fetchone() == own
            after = other.execute("SELECT name, setting FROM pg_settings ORDER BY 1").fetchall()
            assert after == before
            assert other.execute("SELECT current_setting('dbops.untrusted', true)").fetchone() in {("",), (None,)}
            assert other.execute("SELECT count(*) FROM pg_cursors WHERE name = 'kapman_check'").fetchone() == (0,)


def test_verification_takes_one_connection_and_at_most_eight_round_trips(server: TestServer, built: Target) -> None:
    with slow_network(server, 0.05) as (far, traffic):
        assert_passes(schema.verify(far.target(built.database), FILES, baseline=True))
    assert 2 < traffic.round_trips <= 8
    assert traffic.connections == 1


SPY = """
CREATE FUNCTION public.spy(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        RAISE EXCEPTION 'ran as superuser';
    END IF;
    RETURN true;
END $$;
"""


@pytest.mark.parametrize(
    ("change", "file"),
    [
        ("CREATE INDEX ON public.tickers (symbol) WHERE public.spy('x')", "baseline/empty.sql"),
        ("CREATE STATISTICS public.s ON public.spy(symbol), name FROM public.tickers", "baseline/empty.sql"),
        ("ALTER TABLE public.tickers ADD CHECK (public.spy('x'))", "baseline/empty.sql"),
        (
            "ALTER TABLE public.tickers RENAME TO t;"
            "CREATE VIEW public.tickers AS SELECT * FROM public.t WHERE public.spy('x')",
            "baseline/empty.sql",
        ),
        (
            "ALTER TABLE dbops.schema_migrations RENAME TO t;"
            "CREATE VIEW dbops.schema_migrations AS SELECT * FROM dbops.t WHERE public.spy('x')",
            "structure/ledger.sql",
        ),
        (
            "DROP EXTENSION timescaledb CASCADE; CREATE SCHEMA timescaledb_information;"
            "CREATE VIEW timescaledb_information.dimensions AS SELECT 1 WHERE public.spy('x')",
            "structure/hypertables.sql",
        ),
    ],
    ids=["index", "statistics", "constraint", "view", "ledger", "information"],
)
@pytest.mark.slow
def test_nothing_of_the_owners_runs_with_the_rights_of_the_superuser_who_verifies(
    server: TestServer, target: Target, change: str, file: str
) -> None:
    with operators.role(server) as owner:
        mine = operators.as_role(target, owner)
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        migrate(mine, discover(ROOT / "db" / "migrations"))
        servers.run(mine, SPY + change)
        failed = verify(target, CHECKS, baseline=True).failed
        assert "ran as superuser" not in said(failed)
        # A view in place of a table is not read at all.
        refusals = {c.file for c in failed if REFUSED.search(str(c.actual)) or c.name.startswith("rows ")}
        assert file in refusals
        assert text_of(target).startswith("extension plpgsql")
        assert not [check for check in verify(mine, CHECKS, baseline=True).failed if REFUSED.search(str(check.actual))]


@pytest.mark.slow
def test_many_chunks_are_verified_in_time_before_the_catalogs_are_analyzed(server: TestServer, built: Target) -> None:
    with servers.connect(built) as connection:
        connection.execute("INSERT INTO public.tickers (symbol) VALUES ('KAP')")
        for first in range(0, 1250, 250):
            connection.execute(
                "INSERT INTO public.ohlcv (ticker_id, date) SELECT t.id, date '1900-01-01' + 30 * n "
                f"FROM public.tickers AS t, generate_series({first}, {first + 249}) AS n"
            )
    assert_passes(verify(built, CHECKS, statement_timeout=3.0))
