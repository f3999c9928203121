"""What statements lock on tables in use, and whether they read or rewrite all rows: the tables in tests/data/locks.

Each statement stands in a line of its own, below a comment that says what a second session saw in pg_locks.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from dbops.migrations.locks import MODES
from dbops.postgres import Connection

DATA = Path(__file__).parents[1] / "data" / "locks"
BEFORE = (DATA / "before.sql").read_text(encoding="utf-8")
ROWS = """
INSERT INTO tickers (symbol) VALUES ('AAPL'), ('MSFT');
INSERT INTO ohlcv (ticker_id, date, high, low, close, volume)
SELECT id, d, 3, 1, 2, 100 FROM tickers, generate_series('2025-01-01'::date, '2025-04-30', '1 day') AS d;
INSERT INTO notes (id, body, mood, amount, big, price, code, level, day)
SELECT n, 'text ' || n, 'low', n, n, n, n, n, '2025-01-01' FROM generate_series(1, 50) AS n;
INSERT INTO orphan SELECT generate_series(1, 50);
INSERT INTO heir SELECT generate_series(1, 50);
INSERT INTO cache SELECT generate_series(1, 50);
INSERT INTO pairs SELECT n, n FROM generate_series(1, 50) AS n;
INSERT INTO events SELECT '2024-05-01', generate_series(1, 50);
INSERT INTO events_2025 SELECT '2025-05-01', generate_series(1, 50);
INSERT INTO events_2026 SELECT '2026-05-01', generate_series(1, 50);
INSERT INTO days SELECT '2020-05-01', generate_series(1, 50);
REFRESH MATERIALIZED VIEW note_counts;
"""
# What PostgreSQL and TimescaleDB refuse in a transaction.
ALONE = re.compile(
    r"VACUUM|REINDEX SCHEMA|(?!REFRESH|COMMENT).*CONCURRENTLY|.*transaction_per_chunk|CLUSTER( public\.ohlcv|;)"
)
# Tables that are in use, by oid; a chunk counts as its hypertable.
_TABLES = """
SELECT c.oid, coalesce(p.oid, c.oid)::regclass::text FROM pg_class AS c
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid AND c.relnamespace = '_timescaledb_internal'::regnamespace
LEFT JOIN pg_class AS p ON p.oid = i.inhparent
WHERE c.relkind IN ('r', 'p', 'm') AND (c.relnamespace = 'public'::regnamespace OR p.oid IS NOT NULL)
"""
_LOCKS = "SELECT relation, mode FROM pg_locks WHERE pid = %s AND relation IS NOT NULL"
_FILES = "SELECT relation, pg_relation_filenode(relation) FROM unnest(%s::oid[]) AS relation"
_SCANS = "SELECT relid, seq_scan FROM pg_stat_xact_all_tables WHERE relid = ANY (%s)"


@dataclass(frozen=True, slots=True)
class Case:
    """A statement (or two of one file), and what it was seen to do."""

    sql: str
    seen: str

    @property
    def text(self) -> str:
        """Return it as a migration."""
        directive = "-- migrate: no-transaction\n" if ALONE.match(self.sql) else ""
        return f"-- Why:   a test.\n-- Needs: 0007.\n-- Locks: none\n{directive}\n{self.sql}\n"

    def __str__(self) -> str:
        return self.sql[:70]


def cases(name: str) -> list[Case]:
    """Return the cases of one file: dangerous or harmless."""
    lines = (DATA / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return [
        Case(line, before.removeprefix("-- ") if before.startswith("--") else "")
        for before, line in zip(["", *lines], lines, strict=False)
        if line and not line.startswith("--")
    ]


def measured(connection: Connection, observer: Connection, sql: str) -> str:
    """Run a statement and take it back; return the strongest lock on each table in use, and what became of its rows.

    What cannot run in a transaction is observed while it waits for the first table that it locks.
    """
    tables: dict[int, str] = dict(_rows_of(connection, _TABLES))
    if ALONE.match(sql):
        return _awaited(connection, observer, sql, tables)
    with connection.transaction(force_rollback=True):
        before = _state(connection, tables)
        connection.execute(sql.encode())
        seen = _rows_of(observer, _LOCKS, connection.info.backend_pid)
        after = _state(connection, tables)
    files = {oid for oid, number in after[0].items() if number not in (None, before[0].get(oid))}
    scans = {oid for oid, number in after[1].items() if number > before[1].get(oid, 0)}
    strongest: dict[str, int] = {}
    for oid, mode in seen:
        if oid in tables:
            strongest[tables[oid]] = max(_number(mode), strongest.get(tables[oid], 0))
    parts = [
        f"{MODES[mode]} on {table}{_rows(table, tables, files, scans)}"
        for table, mode in sorted(strongest.items(), key=lambda item: (-item[1], item[0]))
        if mode > 0 or table in {tables[oid] for oid in scans}
    ]
    return "; ".join(parts) or "none"


def _rows(table: str, tables: dict[int, str], files: set[int], scans: set[int]) -> str:
    if any(tables[oid] == table for oid in files):
        return ", rewrites"
    return ", reads" if any(tables[oid] == table for oid in scans) else ""


def _state(connection: Connection, tables: dict[int, str]) -> tuple[dict[int, int], dict[int, int]]:
    return dict(_rows_of(connection, _FILES, list(tables))), dict(_rows_of(connection, _SCANS, list(tables)))


def _rows_of(connection: Connection, query: str, *parameters: object) -> list[Any]:
    return connection.execute(query.encode(), parameters or None).fetchall()


def _number(mode: str) -> int:
    return [f"{name.title().replace(' ', '')}Lock" for name in MODES].index(mode)


def _awaited(connection: Connection, observer: Connection, sql: str, tables: dict[int, str]) -> str:
    """Return the first lock on a table that is awaited while another session holds SHARE UPDATE EXCLUSIVE on all."""
    pid = connection.info.backend_pid

    def run() -> None:
        with suppress(psycopg.errors.QueryCanceled):
            connection.execute(sql.encode())

    with observer.transaction():
        named = ", ".join(sorted({f"public.{table}" for table in tables.values()} - {"public.note_counts"}))
        observer.execute(f"LOCK TABLE {named} IN SHARE UPDATE EXCLUSIVE MODE".encode())
        thread = threading.Thread(target=run)
        thread.start()
        try:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                waiting = _rows_of(observer, f"{_LOCKS} AND NOT granted", pid)
                if waiting and waiting[0][0] in tables:
                    return f"{MODES[_number(waiting[0][1])]} on {tables[waiting[0][0]]}"
                time.sleep(0.01)
            raise AssertionError(f"waits for no table: {sql}")
        finally:
            observer.execute("SELECT pg_cancel_backend(%s)", [pid])
            thread.join()
