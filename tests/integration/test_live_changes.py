"""The sequences of docs/live-changes.md, run while others read, write, and keep transactions open."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dbops.migrations.files import discover
from dbops.migrations.options import MigrationOptions
from dbops.migrations.rehearsal import rehearse
from dbops.migrations.run import migrate
from dbops.postgres import Connection
from dbops.settings import ROOT, Target
from tests.support import live_changes, servers

pytestmark = pytest.mark.slow

SECTIONS = live_changes.sections()
FILL = """
INSERT INTO tickers (symbol) SELECT 'T' || n FROM generate_series(1, 20) AS n;
INSERT INTO ohlcv (ticker_id, date, close, volume)
SELECT id, d, 10, 100 FROM tickers, generate_series('2025-01-01'::date, '2025-12-31', '2 days') AS d;
INSERT INTO options_chains (time, ticker_id, expiration_date, strike_price, option_type, volume)
SELECT '2026-01-02', id, '2026-01-16', strike, 'C', strike FROM tickers, generate_series(1, 50) AS strike;
"""
WRITES = (
    "INSERT INTO ohlcv (ticker_id, date, close, volume)"
    " SELECT id, '2025-06-01'::date + (random() * 100)::integer, 11, 1 FROM tickers WHERE symbol = 'T1'"
    " ON CONFLICT (ticker_id, date) DO UPDATE SET close = excluded.close",
    "INSERT INTO tickers (symbol, name) VALUES ('T2', 'Two') ON CONFLICT (symbol) DO UPDATE SET name = excluded.name",
    "UPDATE options_chains SET bid = random() WHERE strike_price = 7",
)
READS = (
    "SELECT count(*), max(close) FROM ohlcv WHERE date > '2025-11-01'",
    "SELECT count(*) FROM tickers JOIN options_chains ON id = ticker_id",
)
# How long another session's transaction is open when a file begins; a migration that queued behind it would block
# every other session as long.
HELD = 2.4
LOCK_TIMEOUT = 0.4
# What the statements themselves take at most, on a machine that is busy with other tests.
OWN_TIME = 1.5
# What each sequence is for, as a query that gives true.
ACHIEVED = {
    "A column that is NOT NULL": """
        SELECT count(*) > 20 AND every(attnotnull) FROM pg_attribute
        WHERE attname IN ('source', 'turnover') AND attrelid IN (
            SELECT 'ohlcv'::regclass UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = 'ohlcv'::regclass
        )""",
    "A foreign key": """
        SELECT convalidated AND (SELECT indisvalid FROM pg_index WHERE indexrelid = 'tickers_exchange_id_idx'::regclass)
        FROM pg_constraint WHERE conname = 'tickers_exchange_id_fkey' AND conrelid = 'tickers'::regclass""",
    "An index on a hypertable": """
        SELECT count(*) > 10 AND every(indisvalid) FROM pg_index
        WHERE indexrelid::regclass::text LIKE '%ohlcv_date_volume_idx'""",
    "Another type": """
        SELECT sum(contracts) = 20 * 50 * 51 / 2 AND pg_typeof(min(contracts)) = 'bigint'::regtype
            AND NOT EXISTS (
                SELECT FROM pg_attribute
                WHERE attrelid = 'options_chains'::regclass AND attname = 'volume' AND NOT attisdropped
            )
        FROM options_chains""",
}


class Client(threading.Thread):
    """A client that repeats some statements and notes how long the slowest took, in seconds."""

    def __init__(self, target: Target, statements: tuple[str, ...], done: threading.Event) -> None:
        super().__init__(daemon=True)
        self.target = target
        self.statements = statements
        self.done = done
        self.slowest = (0.0, "")
        self.count = 0
        self.problem = ""

    def run(self) -> None:
        """Repeat the statements until the end; a statement that fails ends it too."""
        try:
            with servers.connect(self.target) as connection:
                while not self.done.wait(0.05):
                    for statement in self.statements:
                        began = time.monotonic()
                        connection.execute(statement.encode())
                        self.slowest = max(self.slowest, (time.monotonic() - began, statement))
                        self.count += 1
        except Exception as error:
            self.problem = f"{type(error).__name__}: {error}"


@contextmanager
def clients(target: Target) -> Iterator[tuple[Client, ...]]:
    """Read and write in the background."""
    done = threading.Event()
    started = tuple(Client(target, statements, done) for statements in (WRITES, READS))
    for client in started:
        client.start()
    try:
        yield started
    finally:
        done.set()
        for client in started:
            client.join(30)


@contextmanager
def open_transaction(target: Target) -> Iterator[None]:
    """Keep a transaction open for a while that has read every table, as a report does."""
    with servers.connect(target) as connection:
        connection.execute("BEGIN")
        for statement in READS:
            connection.execute(statement.encode())

        def hold() -> None:
            time.sleep(HELD)
            connection.execute("COMMIT")

        holder = threading.Thread(target=hold, daemon=True)
        holder.start()
        try:
            yield
        finally:
            holder.join(HELD + 30)


def deploy(target: Target, directory: Path) -> None:
    """Apply the directory's last file behind a transaction that is open for longer than the lock timeout."""
    files = discover(directory)
    with open_transaction(target):
        result = migrate(
            target, files, MigrationOptions(lock_timeout=f"{LOCK_TIMEOUT}s" if files[-1].header.transactional else "")
        )
    assert [applied.version for applied in result.applied] == [files[-1].version]


def backfill(connection: Connection, batch: str) -> None:
    """Repeat a batch until it finds no row several times: a row that is being written is left for a later one."""
    counts = [1]
    while any(counts[-5:]):
        counts.append(connection.execute(batch.encode()).rowcount)
        time.sleep(0.01)
    assert len([count for count in counts if count]) > 2


@pytest.mark.parametrize("title", SECTIONS)
def test_sequence_blocks_no_session_for_long_and_completes(built: Target, tmp_path: Path, title: str) -> None:
    for file in (ROOT / "db" / "migrations").glob("000[1-6]_*.sql"):
        shutil.copy(file, tmp_path)
    with servers.connect(built) as connection:
        connection.execute(FILL)
        with clients(built) as running:
            for step in SECTIONS[title]:
                if step.name:
                    (tmp_path / step.name).write_text(step.sql)
                    deploy(built, tmp_path)
                else:
                    backfill(connection, step.sql)
        assert connection.execute(ACHIEVED[title].encode()).fetchone() == (True,)
    assert [client.problem for client in running] == ["", ""]
    assert min(client.count for client in running) > 50
    for client in running:
        assert client.slowest[0] < LOCK_TIMEOUT + OWN_TIME, client.slowest


def test_sequence_can_be_deployed_at_once_with_a_commit_for_each_file(built: Target, tmp_path: Path) -> None:
    for file in (ROOT / "db" / "migrations").glob("000[1-6]_*.sql"):
        shutil.copy(file, tmp_path)
    for step in SECTIONS["A foreign key"]:
        (tmp_path / step.name).write_text(step.sql)
    with servers.connect(built) as connection:
        connection.execute(FILL)
        with clients(built) as running:
            result = migrate(built, discover(tmp_path), MigrationOptions(commit="file"))
        assert connection.execute(ACHIEVED["A foreign key"].encode()).fetchone() == (True,)
    assert [applied.version for applied in result.applied] == [7, 8, 9, 10]
    assert [client.problem for client in running] == ["", ""]
    assert max(client.slowest[0] for client in running) < LOCK_TIMEOUT + OWN_TIME


def test_bound_is_shorter_than_the_transaction_that_is_in_the_way() -> None:
    assert LOCK_TIMEOUT + OWN_TIME < HELD


@pytest.mark.parametrize("title", SECTIONS)
def test_headers_say_what_the_files_lock(empty: Target, tmp_path: Path, title: str) -> None:
    for file in (ROOT / "db" / "migrations").glob("000[1-6]_*.sql"):
        shutil.copy(file, tmp_path)
    for step in SECTIONS[title]:
        if step.name:
            (tmp_path / step.name).write_text(step.sql)
    files = discover(tmp_path)
    measured = rehearse(empty, files, files[6:])
    assert [(item.name, item.declared, item.problem) for item in measured if item.problem] == []
