"""The writes that ingestion makes, through the driver and as plain SQL, on the baseline as it is."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum

import psycopg
import pytest
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.json import Jsonb

from dbops.postgres import Connection
from dbops.settings import Target
from tests.support import servers

UPSERT_TICKER = """
INSERT INTO tickers (symbol, name, sector) VALUES (%(symbol)s, %(name)s, %(sector)s)
ON CONFLICT (symbol) DO UPDATE SET name = excluded.name, sector = excluded.sector
RETURNING id
"""
UPSERT_BAR = """
INSERT INTO ohlcv (ticker_id, date, open, high, low, close, volume) VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (ticker_id, date) DO UPDATE SET
    open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume
"""
NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)


class Direction(Enum):
    LONG = "LONG"
    SHORT = "SHORT"
    NEUTRAL = "NEUTRAL"


@pytest.fixture
def connection(built: Target) -> Iterator[Connection]:
    with servers.connect(built) as opened:
        yield opened


def add_ticker(connection: Connection, symbol: str = "AAPL") -> uuid.UUID:
    row = connection.execute(UPSERT_TICKER, {"symbol": symbol, "name": "Apple", "sector": None}).fetchone()
    assert row
    return uuid.UUID(str(row[0]))


def add_recommendation(connection: Connection, ticker: uuid.UUID) -> uuid.UUID:
    connection.execute("INSERT INTO daily_snapshots (time, ticker_id) VALUES (%s, %s)", [NOON, ticker])
    row = connection.execute(
        "INSERT INTO recommendations (snapshot_time, ticker_id, recommendation_date, direction, action)"
        " VALUES (%s, %s, %s, 'LONG', 'BUY') RETURNING id",
        [NOON, ticker, NOON.date()],
    ).fetchone()
    assert row
    return uuid.UUID(str(row[0]))


def bars(ticker: uuid.UUID, days: int = 100) -> list[tuple[object, ...]]:
    first = dt.date(2025, 6, 1)
    return [
        (ticker, first + dt.timedelta(days=n), Decimal("1.5"), Decimal(2), Decimal(1), Decimal(n), 10**10 + n)
        for n in range(days)
    ]


def count(connection: Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row
    return int(str(row[0]))


def test_upserting_tickers_by_symbol_twice_gives_the_same_rows(connection: Connection) -> None:
    first = add_ticker(connection)
    before = connection.execute("SELECT * FROM tickers").fetchall()
    assert add_ticker(connection) == first
    assert connection.execute("SELECT * FROM tickers").fetchall() == before


def test_upserting_bars_twice_gives_the_same_rows(connection: Connection) -> None:
    ticker = add_ticker(connection)
    cursor = connection.cursor()
    cursor.executemany(UPSERT_BAR, bars(ticker))
    before = connection.execute("SELECT * FROM ohlcv ORDER BY date").fetchall()
    cursor.executemany(UPSERT_BAR, bars(ticker))
    assert connection.execute("SELECT * FROM ohlcv ORDER BY date").fetchall() == before
    assert len(before) == 100


def test_upsert_corrects_a_bar_and_keeps_when_it_was_first_written(connection: Connection) -> None:
    ticker = add_ticker(connection)
    bar = bars(ticker, 1)[0]
    connection.execute(UPSERT_BAR, bar)
    before = connection.execute("SELECT created_at FROM ohlcv").fetchone()
    connection.execute(UPSERT_BAR, (*bar[:5], Decimal("9.99"), 1))
    assert connection.execute("SELECT close, volume FROM ohlcv").fetchone() == (Decimal("9.99"), 1)
    assert connection.execute("SELECT created_at FROM ohlcv").fetchone() == before


def test_bulk_load_through_a_staging_table_can_be_repeated(connection: Connection) -> None:
    ticker = add_ticker(connection)
    for _ in range(2):
        with connection.transaction():
            connection.execute("CREATE TEMPORARY TABLE staging (LIKE public.ohlcv INCLUDING DEFAULTS) ON COMMIT DROP")
            with connection.cursor().copy(
                "COPY staging (ticker_id, date, open, high, low, close, volume) FROM STDIN"
            ) as copy:
                for bar in bars(ticker, 400):
                    copy.write_row(bar)
            connection.execute("INSERT INTO ohlcv SELECT * FROM staging ON CONFLICT (ticker_id, date) DO NOTHING")
        assert count(connection, "ohlcv") == 400


def test_same_day_twice_in_one_table_is_refused_without_on_conflict(connection: Connection) -> None:
    connection.execute(UPSERT_BAR, bars(add_ticker(connection), 1)[0])
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("INSERT INTO ohlcv SELECT * FROM ohlcv")


def test_bar_of_an_unknown_ticker_is_refused(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        connection.execute(UPSERT_BAR, bars(uuid.uuid4(), 1)[0])


def test_enums_take_plain_literals_and_strings_of_the_driver(connection: Connection) -> None:
    ticker = add_ticker(connection)
    add_recommendation(connection, ticker)
    connection.execute("UPDATE recommendations SET direction = %s, status = %s", ["SHORT", "closed"])
    connection.execute(
        "INSERT INTO options_chains (time, ticker_id, expiration_date, strike_price, option_type)"
        " VALUES ('2026-01-02 16:00+00', %s, '2026-01-16', 200, 'C'), (%s, %s, %s, %s, %s)",
        [ticker, NOON, ticker, dt.date(2026, 1, 16), Decimal("200.5"), "P"],
    )
    assert connection.execute("SELECT direction, action, status FROM recommendations").fetchone() == (
        "SHORT",
        "BUY",
        "closed",
    )
    assert connection.execute("SELECT option_type FROM options_chains ORDER BY strike_price").fetchall() == [
        ("C",),
        ("P",),
    ]


def test_enums_take_and_give_python_enums(connection: Connection) -> None:
    info = EnumInfo.fetch(connection, "recommendation_direction")
    assert info
    register_enum(info, connection, Direction)
    add_recommendation(connection, add_ticker(connection))
    connection.execute("UPDATE recommendations SET direction = %s", [Direction.NEUTRAL])
    assert connection.execute("SELECT direction FROM recommendations").fetchone() == (Direction.NEUTRAL,)


def test_unknown_label_is_refused(connection: Connection) -> None:
    add_recommendation(connection, add_ticker(connection))
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        connection.execute("UPDATE recommendations SET action = 'PANIC'")


def test_snapshot_takes_arrays_and_json(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO daily_snapshots (time, ticker_id, wyckoff_phase, events_detected, events_json) VALUES"
        " (%s, %s, 'C', %s, %s)",
        [NOON, add_ticker(connection), ["SPRING", "TEST"], Jsonb({"SPRING": {"volume": 1.5}})],
    )
    assert connection.execute("SELECT events_detected, events_json FROM daily_snapshots").fetchone() == (
        ["SPRING", "TEST"],
        {"SPRING": {"volume": 1.5}},
    )


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("wyckoff_phase", ["A", "B", "C", "D", "E", None], ["F", "a", ""]),
        ("phase_confidence", [0, 1, "0.5", None], ["-0.001", "1.001", "NaN"]),
        ("bc_score", [0, 28, None], [-1, 29]),
        ("spring_score", [0, 12, None], [-1, 13]),
    ],
)
def test_ranges_of_a_snapshot(connection: Connection, column: str, good: list[object], bad: list[object]) -> None:
    ticker = add_ticker(connection)
    connection.execute("INSERT INTO daily_snapshots (time, ticker_id) VALUES (%s, %s)", [NOON, ticker])
    update = f"UPDATE daily_snapshots SET {column} = %s".encode()
    for value in good:
        connection.execute(update, [value])
    for value in bad:
        with pytest.raises(psycopg.errors.CheckViolation, match=f"daily_snapshots_{column}_check"):
            connection.execute(update, [value])


@pytest.mark.parametrize("value", ["-0.001", "1.001"])
def test_confidence_of_recommendations_and_outcomes_is_from_0_to_1(connection: Connection, value: str) -> None:
    recommendation = add_recommendation(connection, add_ticker(connection))
    with pytest.raises(psycopg.errors.CheckViolation, match="recommendations_confidence_check"):
        connection.execute("UPDATE recommendations SET confidence = %s", [value])
    with pytest.raises(psycopg.errors.CheckViolation, match="recommendation_outcomes_predicted_confidence_check"):
        connection.execute(
            "INSERT INTO recommendation_outcomes (recommendation_id, evaluation_date, predicted_confidence)"
            " VALUES (%s, %s, %s)",
            [recommendation, NOON.date(), value],
        )


def test_deleting_a_ticker_takes_everything_of_it_and_nothing_else(connection: Connection) -> None:
    gone, kept = add_ticker(connection, "GONE"), add_ticker(connection, "KEPT")
    for ticker in (gone, kept):
        connection.cursor().executemany(UPSERT_BAR, bars(ticker))
        recommendation = add_recommendation(connection, ticker)
        connection.execute(
            "INSERT INTO recommendation_outcomes (recommendation_id, evaluation_date) VALUES (%s, %s)",
            [recommendation, NOON.date()],
        )
        connection.execute(
            "INSERT INTO options_chains (time, ticker_id, expiration_date, strike_price, option_type)"
            " VALUES (%s, %s, '2026-01-16', 200, 'C')",
            [NOON, ticker],
        )
    connection.execute("DELETE FROM tickers WHERE id = %s", [gone])
    tables = ("tickers", "options_chains", "daily_snapshots", "recommendations", "recommendation_outcomes")
    assert [count(connection, table) for table in tables] == [1, 1, 1, 1, 1]
    assert count(connection, "ohlcv") == 100


def test_snapshot_that_a_recommendation_was_made_from_cannot_be_deleted(connection: Connection) -> None:
    add_recommendation(connection, add_ticker(connection))
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        connection.execute("DELETE FROM daily_snapshots")


FILL = """
INSERT INTO tickers (symbol) SELECT 'T' || n FROM generate_series(1, 2000) AS n;
INSERT INTO ohlcv (ticker_id, date)
SELECT id, d FROM tickers, generate_series('2025-01-01'::date, '2025-03-31', '7 days') AS d;
INSERT INTO daily_snapshots (time, ticker_id) SELECT now(), id FROM tickers;
INSERT INTO options_chains (time, ticker_id, expiration_date, strike_price, option_type)
SELECT clock_timestamp(), id, '2026-01-16', strike, 'C' FROM tickers, generate_series(1, 5) AS strike;
INSERT INTO recommendations (snapshot_time, ticker_id, recommendation_date, direction, action)
SELECT time, ticker_id, '2026-01-02', 'LONG', 'BUY' FROM daily_snapshots;
INSERT INTO recommendation_outcomes (recommendation_id, evaluation_date)
SELECT id, '2026-02-02' FROM recommendations;
ANALYZE
"""


def scanned_by_delete(connection: Connection) -> set[str]:
    """Delete one ticker and return the tables and chunks that were read from end to end for it."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    with connection.transaction(force_rollback=True):
        assert connection.execute("DELETE FROM tickers WHERE symbol = 'T1000'").rowcount == 1
        found = connection.execute("SELECT relname::text FROM pg_stat_xact_user_tables WHERE seq_scan > 0").fetchall()
    return {str(name) for (name,) in found}


@pytest.mark.slow
def test_deleting_a_ticker_scans_no_table(connection: Connection) -> None:
    connection.execute(FILL)
    assert scanned_by_delete(connection) == set()
    connection.execute("DROP INDEX options_chains_ticker_id_idx")
    assert scanned_by_delete(connection) == {"options_chains"}
