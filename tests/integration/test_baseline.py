"""The baseline that the migrations build: what every later story may count on."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from dbops.migrations.files import discover
from dbops.migrations.run import migrate
from dbops.settings import ROOT, Target
from tests.support import operators, servers
from tests.support.servers import TestServer, rows
from tests.support.verifying import verify

MIGRATIONS = ROOT / "db" / "migrations"
CHECKS = ROOT / "db" / "verify"
TABLES = {
    "daily_snapshots",
    "ohlcv",
    "options_chains",
    "recommendation_outcomes",
    "recommendations",
    "tickers",
}


def test_schema_applies_from_scratch(empty: Target) -> None:
    files = discover(MIGRATIONS)
    assert [file.version for file in files] == [1, 2, 3, 4, 5, 6]
    migrate(empty, files)
    assert verify(empty, CHECKS, baseline=True).failed == ()


def test_all_migrations_apply_in_one_transaction(empty: Target) -> None:
    with servers.connect(empty) as connection, connection.transaction():
        for file in discover(MIGRATIONS):
            connection.execute(file.path.read_bytes())
    failed = {check.name.split(".")[0] for check in verify(empty, CHECKS, baseline=True).failed}
    assert {name for name in failed if "dbops" not in name} == set(), "only the ledger may be missing"


@pytest.mark.parametrize("search_path", ["", "pg_catalog", "elsewhere, public"])
def test_migrations_do_not_depend_on_the_search_path(empty: Target, search_path: str) -> None:
    with servers.connect(empty) as connection:
        connection.execute("CREATE SCHEMA elsewhere")
        connection.execute("SELECT set_config('search_path', %s, false)", [search_path])
        for file in discover(MIGRATIONS):
            connection.execute(file.path.read_bytes())
    assert rows(empty, "SELECT FROM pg_class WHERE relnamespace = 'elsewhere'::regnamespace") == []
    assert {name for (name,) in rows(empty, "SELECT relname FROM pg_class WHERE relkind = 'r'")} >= TABLES


def test_tables_exist(built: Target) -> None:
    found = rows(built, "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'")
    assert {name for (name,) in found} == TABLES


@pytest.mark.parametrize("table", sorted(TABLES))
def test_tables_are_empty(built: Target, table: str) -> None:
    assert rows(built, f"SELECT count(*) FROM public.{table}") == [(0,)]


def test_ohlcv_is_hypertable(built: Target) -> None:
    assert rows(built, "SELECT hypertable_schema, hypertable_name FROM timescaledb_information.hypertables") == [
        ("public", "ohlcv")
    ]
    dimensions = rows(
        built, "SELECT hypertable_name, column_name, time_interval FROM timescaledb_information.dimensions"
    )
    assert dimensions == [("ohlcv", "date", timedelta(days=30))]


def test_chunk_interval_is_written_out_and_not_the_servers_default(built: Target) -> None:
    with servers.connect(built) as connection, connection.transaction(force_rollback=True):
        connection.execute("INSERT INTO public.tickers (symbol) VALUES ('AAPL')")
        connection.execute(
            "INSERT INTO public.ohlcv (ticker_id, date)"
            " SELECT t.id, d FROM public.tickers AS t, generate_series('2024-01-01'::date, '2025-12-31', '1 day') AS d"
        )
        lengths = connection.execute("SELECT range_end - range_start FROM timescaledb_information.chunks").fetchall()
    assert {length for (length,) in lengths} == {timedelta(days=30)}


def test_no_extra_tables(built: Target) -> None:
    found = rows(
        built,
        """
        SELECT n.nspname || '.' || c.relname
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.oid >= 16384 AND n.nspname !~ '^pg_'
            AND NOT EXISTS (
                SELECT FROM pg_depend AS d
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
            )
        """,
    )
    assert {name for (name,) in found} == {f"public.{table}" for table in TABLES} | {"dbops.schema_migrations"}


def test_every_table_and_type_has_a_comment(built: Target) -> None:
    missing = rows(
        built,
        """
        SELECT c.relname FROM pg_class AS c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND obj_description(c.oid, 'pg_class') IS NULL
        UNION ALL
        SELECT t.typname FROM pg_type AS t
        WHERE t.typnamespace = 'public'::regnamespace AND t.typtype = 'e' AND obj_description(t.oid, 'pg_type') IS NULL
        """,
    )
    assert missing == []


def test_columns_without_a_comment_say_what_they_are_in_their_name(built: Target) -> None:
    plain = rows(
        built,
        """
        SELECT DISTINCT a.attname::text
        FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
            AND col_description(c.oid, a.attnum) IS NULL
        """,
    )
    assert {name for (name,) in plain} <= {
        "action", "created_at", "days_held", "direction", "exit_price_actual", "expiration_date",
        "high_price_during_window", "hit_profit_target", "hit_stop_loss", "id", "low_price_during_window", "notes",
        "option_expiration", "option_strategy", "option_type", "outcome_status", "recommendation_id", "status",
        "ticker_id",
    }  # fmt: skip


def test_constraints_follow_postgresqls_naming_scheme(built: Target) -> None:
    found = rows(
        built,
        """
        SELECT c.conname::text, r.relname::text, c.contype::text, ARRAY(
            SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.number ORDER BY k.place
        )
        FROM pg_constraint AS c JOIN pg_class AS r ON r.oid = c.conrelid
        WHERE c.connamespace = 'public'::regnamespace AND c.contype <> 'n'
        """,
    )
    suffix = {"p": "pkey", "u": "key", "f": "fkey", "c": "check"}
    for name, table, kind, columns in found:
        middle = [] if kind == "p" else list(columns)  # type: ignore[call-overload]
        assert name == "_".join([str(table), *middle, suffix[str(kind)]])
    assert len(found) == 19


def test_migrations_name_every_schema() -> None:
    for path in sorted(MIGRATIONS.glob("*.sql")):
        text = re.sub(r"--.*|'[^']*'", "", path.read_text(encoding="utf-8"))
        for name in re.findall(r"(?:TABLE|ON TABLE|ON COLUMN|REFERENCES|TYPE) ([a-z_.]+)", text):
            assert name.startswith("public."), (path.name, name)


def test_checks_of_the_catalogs_need_no_right_but_connect(server: TestServer, built: Target) -> None:
    with operators.role(server, "LOGIN") as role:
        result = verify(operators.as_role(built, role), CHECKS)
    assert [check.file for check in result.failed] == ["structure/ledger.sql"]
    assert len(result.checks) > 150
