"""What our lint rules say of TimescaleDB and PostgreSQL is what the server does."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from dbops.postgres import Connection
from dbops.settings import Target
from tests.support import lint_cases, servers
from tests.support.lint_cases import Case

FILL = """
INSERT INTO tickers (symbol) VALUES ('AAPL'), ('MSFT');
INSERT INTO ohlcv (ticker_id, date, high, low, close, volume)
SELECT id, d, 3, 1, 2, 100 FROM tickers, generate_series('2025-01-01'::date, '2025-04-30', '1 day') AS d;
"""
CHUNKS = "SELECT inhrelid FROM pg_inherits WHERE inhparent = 'ohlcv'::regclass"
FILES = f"SELECT array_agg(relfilenode ORDER BY oid) FROM pg_class WHERE oid IN ({CHUNKS})"
SCANS = f"SELECT coalesce(sum(seq_scan), 0) FROM pg_stat_xact_all_tables WHERE relid IN ({CHUNKS})"
# Who holds one of these keeps others from writing.
STRONG = f"""
SELECT count(*) > 0 FROM pg_locks
WHERE pid = pg_backend_pid() AND relation IN ({CHUNKS})
    AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""
BUILD = "CREATE INDEX i ON ohlcv (volume)"


@pytest.fixture
def connection(built: Target) -> Iterator[Connection]:
    with servers.connect(built) as opened:
        opened.execute(FILL)
        yield opened


def value(connection: Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    assert row
    return row[0]


def of(rule: str) -> list[Case]:
    return list(lint_cases.rules()[rule].cases)


@pytest.mark.parametrize("case", of("KM11"), ids=str)
def test_change_of_a_hypertable_that_is_found_reads_or_rewrites_chunks_and_blocks_writes(
    connection: Connection, case: Case
) -> None:
    if "VALIDATE" in case.sql and "ADD" not in case.sql:
        connection.execute("ALTER TABLE ohlcv ADD CONSTRAINT ohlcv_volume_check CHECK (volume >= 0) NOT VALID")
    connection.execute("SELECT pg_stat_force_next_flush()")
    with connection.transaction(force_rollback=True):
        files, scans = value(connection, FILES), value(connection, SCANS)
        connection.execute(case.sql.encode())
        touched = (value(connection, FILES), value(connection, SCANS)) != (files, scans)
        assert (touched and value(connection, STRONG) is True) is case.bad


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX CONCURRENTLY i ON ohlcv (volume)",
        "CREATE UNIQUE INDEX CONCURRENTLY i ON ohlcv (ticker_id, date, volume)",
        "CREATE UNIQUE INDEX i ON ohlcv (ticker_id, date, volume) WITH (timescaledb.transaction_per_chunk)",
        "REINDEX TABLE CONCURRENTLY ohlcv",
    ],
)
def test_form_that_a_hypertable_does_not_have_is_refused(connection: Connection, statement: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        connection.execute(statement.encode())
    # TimescaleDB 2.19 calls a refused REINDEX an internal error.
    assert refused.value.sqlstate in (("0A000", "XX000") if "REINDEX" in statement else ("0A000",))


@pytest.mark.parametrize("case", [case for case in of("KM12") if case.bad], ids=str)
def test_statement_that_needs_no_transaction_is_refused_in_one(connection: Connection, case: Case) -> None:
    connection.execute(
        "CREATE INDEX tickers_sector_idx ON tickers (symbol)" if "CREATE" not in case.sql else "SELECT 1"
    )
    with pytest.raises(psycopg.errors.ActiveSqlTransaction), connection.transaction():
        connection.execute(case.sql.encode())


def test_index_that_is_built_in_one_transaction_blocks_writes_to_all_chunks(connection: Connection) -> None:
    blocked = f"SELECT count(*) FROM pg_locks WHERE mode = 'ShareLock' AND relation IN ({CHUNKS})"
    with connection.transaction(force_rollback=True):
        connection.execute(BUILD.encode())
        assert value(connection, blocked) == len(connection.execute(CHUNKS.encode()).fetchall()) == 5
    connection.execute(f"{BUILD} WITH (timescaledb.transaction_per_chunk)".encode())
    assert value(connection, "SELECT count(*) FROM pg_indexes WHERE indexname LIKE '%chunk_i'") == 5
