"""What our lint rules say of TimescaleDB and PostgreSQL is what the server does."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from dbops.lint import restored
from dbops.lint.rules import VOLATILE
from dbops.migrations.files import discover
from dbops.migrations.tokens import read
from dbops.postgres import Connection
from dbops.settings import MIGRATIONS, Target
from tests.support import lint_cases, measured_locks, servers
from tests.support.lint_cases import Case
from tests.support.servers import TestServer

FILL = """
INSERT INTO tickers (symbol) VALUES ('AAPL'), ('MSFT');
INSERT INTO ohlcv (ticker_id, date, high, low, close, volume)
SELECT id, d, 3, 1, 2, 100 FROM tickers, generate_series('2025-01-01'::date, '2025-04-30', '1 day') AS d;
"""
CHUNKS = "SELECT inhrelid FROM pg_inherits WHERE inhparent = 'ohlcv'::regclass"
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


@pytest.fixture(scope="module")
def measuring(server: TestServer) -> Iterator[tuple[Connection, Connection]]:
    """Return a session on a database whose tables have rows, and one that observes it."""
    with (
        servers.database(server, *(file.text for file in discover(MIGRATIONS))) as target,
        servers.connect(target) as session,
        servers.connect(target) as observer,
    ):
        session.execute(measured_locks.BEFORE.encode())
        session.execute(measured_locks.ROWS.encode())
        yield session, observer


@pytest.mark.parametrize("name", ["dangerous", "harmless"])
def test_locks_are_those_that_the_tables_say(measuring: tuple[Connection, Connection], name: str) -> None:
    if measuring[0].info.server_version // 10000 != 15:
        pytest.skip("the tables hold what PostgreSQL 15 does")
    cases = [case for case in measured_locks.cases(name) if not case.seen.startswith("refused")]
    seen = {case.sql: measured_locks.measured(*measuring, case.sql) for case in cases}
    # Again where it is not as it says: what the server did by itself meanwhile may have been seen too.
    different = [case.sql for case in cases if seen[case.sql] != case.seen]
    seen |= {text: measured_locks.measured(*measuring, text) for text in different}
    assert seen == {case.sql: case.seen for case in cases}


def test_no_harmless_statement_reads_rows_while_others_are_blocked() -> None:
    # EXCLUSIVE on a materialized view lets it be read while REFRESH CONCURRENTLY reads it.
    strong = ("ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE on")
    for case in measured_locks.cases("harmless"):
        parts = case.seen.split("; ")
        assert not [part for part in parts if part.startswith(strong) and part.endswith(("reads", "rewrites"))], (
            case.sql
        )


def test_every_volatile_function_of_postgresql_is_known_as_such(connection: Connection) -> None:
    query = """
    SELECT DISTINCT proname FROM pg_proc JOIN pg_type AS t ON t.oid = prorettype AND t.typtype <> 'p'
    WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v' AND NOT proretset
    """
    names = [name for (name,) in connection.execute(query).fetchall()]
    unknown = [name for name in names if not VOLATILE.fullmatch(str(name))]
    assert unknown == []


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX CONCURRENTLY i ON ohlcv (volume)",
        "CREATE UNIQUE INDEX CONCURRENTLY i ON ohlcv (ticker_id, date, volume)",
        "CREATE UNIQUE INDEX i ON ohlcv (ticker_id, date, volume) WITH (timescaledb.transaction_per_chunk)",
        "REINDEX TABLE CONCURRENTLY ohlcv",
        "ALTER TABLE ohlcv ADD CONSTRAINT i UNIQUE USING INDEX ohlcv_unique",
        "CREATE INDEX CONCURRENTLY i ON parted (a)",
    ],
)
def test_form_that_a_table_does_not_have_is_refused(connection: Connection, statement: str) -> None:
    connection.execute("CREATE UNIQUE INDEX ohlcv_unique ON ohlcv (ticker_id, date)")
    connection.execute("CREATE TABLE parted (a integer) PARTITION BY LIST (a)")
    with pytest.raises(psycopg.Error) as refused:
        connection.execute(statement.encode())
    # TimescaleDB 2.19 calls a refused REINDEX an internal error.
    assert refused.value.sqlstate in (("0A000", "XX000") if "REINDEX" in statement else ("0A000",))


@pytest.mark.parametrize("case", [case for case in lint_cases.cases() if case.rule == "KM12" and case.bad], ids=str)
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


# Conditions, and whether PostgreSQL writes them in the same words once it has read its own.
CONDITIONS = {
    "v IN ('a', 'b')": False,
    "v NOT IN ('a', 'b')": False,
    "NOT (v IN ('a', 'b'))": False,
    "v IN ('a', 'b') AND n > 0": False,
    "n > 0 AND v IN ('a', 'b')": False,
    "v IN ('a', 'b'::text)": False,
    "coalesce(v, '') IN ('a', 'b')": False,
    "v::varchar(3) IN ('a', 'b')": False,
    "(v) IN ('a', 'b')": False,
    "v COLLATE \"C\" IN ('a', 'b')": False,
    "v = ANY (ARRAY['a', 'b']::varchar[])": False,
    "v = ANY (ARRAY['a', 'b']::character varying[])": False,
    "v::text IN ('a', 'b')": True,
    "(v)::text IN ('a', 'b')": True,
    "v IN ('a'::text, 'b'::text)": False,
    "v IN ('a')": True,
    "v IN ('a', x)": True,
    "v = ANY (ARRAY['a', 'b'])": True,
    "v = ANY ('{a,b}')": True,
    "v <> ALL (ARRAY['a', 'b']::text[])": True,
    "lower(v) IN ('a', 'b')": True,
    "upper(v) = ANY ('{A,B}')": True,
    "x IN ('a', 'b')": True,
    "c IN ('a', 'b')": True,
    "i IN (1, 2)": True,
    "n IN (1, 2)": True,
    "d IN ('2020-01-01', '2021-01-01')": True,
    "v BETWEEN 'a' AND 'b'": True,
    "v LIKE ANY (ARRAY['a%', 'b%'])": True,
    "CASE v WHEN 'a' THEN true ELSE false END": True,
    "i BETWEEN 1 AND 2 AND n > 0": False,
    "(i BETWEEN 1 AND 2) AND n > 0": False,
    "i BETWEEN 1 AND 2 AND n BETWEEN 1 AND 2": False,
    "i BETWEEN 1 AND 2 AND n > 0 OR d > '2020-01-01'": False,
    "n > 5 OR i BETWEEN 1 AND 2 AND n > 0": False,
    "n = 1 AND (i BETWEEN 1 AND 2 AND n > 0)": False,
    "i NOT BETWEEN 1 AND 2 OR n > 0": False,
    "i BETWEEN SYMMETRIC 1 AND 2 OR n > 0": False,
    "CASE WHEN i BETWEEN 1 AND 2 AND n > 0 THEN true ELSE false END": False,
    "i BETWEEN 1 AND 2": True,
    "n > 0 AND i BETWEEN 1 AND 2": True,
    "n > 0 AND i BETWEEN 1 AND 2 AND d > '2020-01-01'": True,
    "i BETWEEN 1 AND 2 OR n > 0": True,
    "i NOT BETWEEN 1 AND 2": True,
    "i NOT BETWEEN 1 AND 2 AND n > 0": True,
    "n > 0 OR i NOT BETWEEN 1 AND 2": True,
    "i BETWEEN SYMMETRIC 1 AND 2 AND n > 0": True,
    "(n > 0 AND i > 0) AND d > '2020-01-01'": True,
    "n > 0 AND (i > 0 AND d > '2020-01-01')": True,
}
COLUMNS = "v varchar(9), x text, c char(3), i integer, n numeric, d date"
DEFINITION = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{}'"


def test_conditions_that_lint_finds_are_those_that_a_restore_changes(connection: Connection) -> None:
    for condition, survives in CONDITIONS.items():
        with connection.transaction(force_rollback=True):
            connection.execute(f"CREATE TABLE one ({COLUMNS}, CONSTRAINT written CHECK ({condition}))".encode())
            written = value(connection, DEFINITION.format("written"))
            connection.execute(f"CREATE TABLE two ({COLUMNS}, CONSTRAINT restored {written})".encode())
            assert (written == value(connection, DEFINITION.format("restored"))) == survives, condition
        for sql in (
            f"CREATE TABLE t (v varchar(9), CONSTRAINT k CHECK ({condition}), b integer);",
            f"CREATE INDEX i ON t (i) WHERE {condition};",
            f"CREATE VIEW w AS SELECT i, v FROM t WHERE {condition} ORDER BY i;",
            f"CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION f();",
            f"CREATE POLICY p ON t USING ({condition}) WITH CHECK (i > 0);",
        ):
            assert (not list(restored.unstable(read(sql, 0), {"v"}))) == survives, sql
