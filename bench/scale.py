"""The schema at scale: what the hypertable costs and gains against a plain table with the same rows and indexes."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count

import psycopg

from bench.measure import BenchError, Row, Run, measure, say
from bench.setting import Setting

TICKERS = 15_000
TRADING_DAYS = 730
FIRST_DAY = dt.date(2024, 1, 1)
DAYS_AT_ONCE = 20
PREPARE = f"""
INSERT INTO public.tickers (symbol) SELECT 'T' || n FROM generate_series(1, {TICKERS}) AS n;
CREATE SCHEMA plain;
CREATE TABLE plain.tickers (LIKE public.tickers INCLUDING ALL);
INSERT INTO plain.tickers SELECT * FROM public.tickers;
CREATE TABLE plain.ohlcv (LIKE public.ohlcv INCLUDING DEFAULTS);
"""
# Day after day, as ingestion writes; each ticker exists, so foreign keys need not be looked up while filling.
FILL = """
INSERT INTO public.ohlcv (ticker_id, date, open, high, low, close, volume)
SELECT t.id, d.day, 100 + n %% 50, 151 + n %% 50, 99 + n %% 50, 101.25 + n %% 50, 1000000 + n
FROM unnest(%s::date[]) WITH ORDINALITY AS d (day, n) CROSS JOIN public.tickers AS t
ORDER BY d.day
"""
FINISH = """
INSERT INTO plain.ohlcv SELECT * FROM public.ohlcv ORDER BY date;
ALTER TABLE plain.ohlcv ADD PRIMARY KEY (ticker_id, date);
ALTER TABLE plain.ohlcv ADD FOREIGN KEY (ticker_id) REFERENCES plain.tickers (id) ON DELETE CASCADE;
CREATE INDEX ON plain.ohlcv (date DESC);
"""
UPSERT = """
INSERT INTO {schema}.ohlcv (ticker_id, date, open, high, low, close, volume) SELECT * FROM new_bars
ON CONFLICT (ticker_id, date) DO UPDATE SET
    open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume
"""
NEW_BARS = """
CREATE TEMPORARY TABLE new_bars
(ticker_id uuid, date date, open numeric, high numeric, low numeric, close numeric, volume bigint) ON COMMIT DROP
"""

Connection = psycopg.Connection[tuple[object, ...]]


def schema(setting: Setting) -> Iterator[Row]:
    """Fill ohlcv and a plain table with two years of daily bars, and do what ingestion and analysis do."""
    days = _trading_days(40 if setting.quick else TRADING_DAYS)
    setting.invoke("db.rebuild", database="scale")()
    with setting.connect("scale") as connection:
        say(f"filling ohlcv with {len(days) * TICKERS:,} rows")
        _fill(connection, days)
        found = connection.execute("SELECT id FROM public.tickers ORDER BY symbol").fetchall()
        tickers = [str(row[0]) for row in found]

        def row(key: str, job: str, rounds: int, work: Callable[[str, int], object]) -> Row:
            # Another ticker or day each time.
            numbers = {"plain": count(), "public": count()}

            def timed(schema: str) -> Run:
                number = next(numbers[schema])
                began = time.perf_counter()
                work(schema, number)
                return Run(time.perf_counter() - began)

            contenders = {"plain table": partial(timed, "plain"), "ours": partial(timed, "public")}
            return measure(f"scale-{key}", job, contenders, rounds, base="plain table")

        def new_day(schema: str, n: int) -> None:
            _upsert(connection, schema, tickers, days[-1] + dt.timedelta(days=3 + n))

        def history(schema: str, n: int) -> None:
            query = (
                f"SELECT date, open, high, low, close, volume FROM {schema}.ohlcv WHERE ticker_id = %s ORDER BY date"
            )
            _read(connection, query, tickers[(n * 7919) % len(tickers)], len(days))

        def one_day(schema: str, n: int) -> None:
            query = f"SELECT ticker_id, close, volume FROM {schema}.ohlcv WHERE date = %s"
            _read(connection, query, days[(n * 37) % len(days)], len(tickers))

        def delete(schema: str, n: int) -> None:
            connection.execute(f"DELETE FROM {schema}.tickers WHERE id = %s".encode(), [tickers[-1 - n]])

        yield row("history", "one ticker, all days", 50, history)
        yield row("day", "all tickers, one day", 15, one_day)
        yield row("new-day", "a new day of 15,000 rows, upserted", 7, new_day)
        yield row("delete", "deleting a ticker", 15, delete)


def _trading_days(wanted: int) -> list[dt.date]:
    days = (FIRST_DAY + dt.timedelta(days=n) for n in range(wanted * 2))
    return [day for day in days if day.weekday() < 5][:wanted]


def _fill(connection: Connection, days: Sequence[dt.date]) -> None:
    connection.execute(PREPARE)
    connection.execute("SET session_replication_role = replica")
    for first in range(0, len(days), DAYS_AT_ONCE):
        connection.execute(FILL, [list(days[first : first + DAYS_AT_ONCE])])
    connection.execute("RESET session_replication_role")
    for statement in FINISH.split(";")[:-1]:
        connection.execute(statement.encode())
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")


def _upsert(connection: Connection, schema: str, tickers: Sequence[str], day: dt.date) -> None:
    """Write one day's bars: copied to a temporary table, then upserted in one statement."""
    with connection.transaction():
        connection.execute(NEW_BARS)
        with connection.cursor().copy("COPY new_bars FROM STDIN") as copy:
            for ticker in tickers:
                copy.write_row((ticker, day, "100.5", "101", "99", "100", 1_000_000))
        connection.execute(UPSERT.format(schema=schema).encode())


def _read(connection: Connection, query: str, parameter: object, expected: int) -> None:
    rows = connection.execute(query.encode(), [parameter]).fetchall()
    if len(rows) != expected:
        raise BenchError(f"{len(rows)} rows instead of {expected}: {query}")
