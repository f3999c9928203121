"""The house's own lint rules: each fires on what it is about, and on nothing else."""

from __future__ import annotations

import pytest
from sqlfluff.core import FluffConfig, Linter

from dbops.settings import ROOT
from dbops.verification import list_checks

HEADER = "-- Why: a test.\n-- Needs: nothing.\n-- Locks: none.\n\n"


@pytest.fixture(scope="module")
def linter() -> Linter:
    return Linter(FluffConfig.from_path(str(ROOT / "db" / "migrations")))


def codes(linter: Linter, sql: str) -> set[str]:
    return {v.rule_code() for v in linter.lint_string(sql).get_violations() if v.rule_code().startswith(("KM", "PRS"))}


FORBIDDEN = [
    ("KM02", "INSERT INTO public.tickers (symbol) VALUES ('AAPL');"),
    ("KM02", "WITH gone AS (DELETE FROM public.tickers RETURNING id) SELECT gone.id FROM gone;"),
    ("KM02", "UPDATE public.tickers SET symbol = 'AAPL';"),
    ("KM02", "DELETE FROM public.tickers;"),
    ("KM02", "MERGE INTO public.a USING public.b ON a.id = b.id WHEN MATCHED THEN DELETE;"),
    ("KM02", "TRUNCATE public.tickers;"),
    ("KM02", "COPY public.tickers FROM STDIN;"),
    ("KM02", "SELECT id INTO public.copy FROM public.tickers;"),
    ("KM02", "CREATE TABLE public.copy AS SELECT id FROM public.tickers;"),
    ("KM03", "CREATE TRIGGER t AFTER INSERT ON public.tickers EXECUTE FUNCTION public.f();"),
    ("KM03", "CREATE POLICY p ON public.tickers;"),
    ("KM03", "SELECT public.add_job('public.f', interval '1 day');"),
    ("KM03", "SELECT add_retention_policy('public.ohlcv', interval '730 days');"),
    ("KM03", "CALL public.add_columnstore_policy('public.ohlcv', interval '7 days');"),
    ("PRS", "CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION public.f();"),
    ("PRS", "CREATE RULE r AS ON INSERT TO public.tickers DO INSTEAD NOTHING;"),
    ("KM04", "CREATE ROLE app LOGIN;"),
    ("KM04", "CREATE USER app;"),
    ("KM04", "ALTER ROLE app PASSWORD 'secret';"),
    ("KM04", "ALTER USER app PASSWORD 'secret';"),
    ("KM04", "DROP ROLE app;"),
    ("KM04", "DROP USER app;"),
    ("KM04", "SET ROLE app;"),
    ("KM04", "RESET ROLE;"),
    ("KM04", "SET SESSION AUTHORIZATION app;"),
    ("KM05", "CREATE EXTENSION pgcrypto;"),
    ("KM05", 'CREATE EXTENSION IF NOT EXISTS "uuid-ossp";'),
    ("KM06", "BEGIN;"),
    ("KM06", "START TRANSACTION;"),
    ("KM06", "COMMIT;"),
    ("KM06", "END;"),
    ("KM06", "ROLLBACK;"),
    ("PRS", "SAVEPOINT s;"),
    ("KM07", "CREATE TABLE t (id uuid);"),
    ("KM07", "ALTER TABLE tickers ADD COLUMN isin text;"),
    ("KM07", "CREATE INDEX t_idx ON tickers (symbol);"),
    ("KM07", "COMMENT ON TABLE tickers IS 'x';"),
    ("KM07", "CREATE TYPE t AS ENUM ('a');"),
    ("KM07", "CREATE VIEW v AS SELECT 1;"),
    ("KM07", "DROP TABLE tickers;"),
    ("KM07", "ALTER TABLE public.a ADD CONSTRAINT a_fkey FOREIGN KEY (b) REFERENCES tickers (id);"),
    ("KM08", "CREATE TABLE public.t (id uuid PRIMARY KEY);"),
    ("KM08", "CREATE TABLE public.t (id uuid REFERENCES public.tickers (id));"),
    ("KM08", "CREATE TABLE public.t (a integer, CHECK (a > 0));"),
    ("KM08", "ALTER TABLE public.t ADD UNIQUE (a);"),
    ("KM08", "ALTER TABLE public.t ADD COLUMN a integer CHECK (a > 0);"),
    ("KM09", "DO $$ BEGIN DELETE FROM public.tickers; END $$;"),
]


@pytest.mark.parametrize(("code", "sql"), FORBIDDEN)
def test_rule_fires(linter: Linter, code: str, sql: str) -> None:
    assert code in codes(linter, f"{HEADER}{sql}\n")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE EXTENSION IF NOT EXISTS timescaledb WITH SCHEMA public;",
        "CREATE TABLE public.t (id uuid NOT NULL DEFAULT gen_random_uuid());",
        "CREATE TYPE public.t AS ENUM ('a');",
        "ALTER TABLE public.t ADD CONSTRAINT t_pkey PRIMARY KEY (id);",
        "ALTER TABLE public.t RENAME TO u;",
        "ALTER TABLE public.t ADD COLUMN a integer NOT NULL DEFAULT 0;",
        "CREATE VIEW public.v AS WITH a AS (SELECT 1 AS b) SELECT a.b FROM a;",
        "SELECT public.create_hypertable('public.t', 'date', chunk_time_interval => interval '30 days');",
        "SET LOCAL lock_timeout = '1s';",
        "GRANT SELECT ON public.tickers TO reader;",
    ],
)
def test_lawful_statement_is_not_flagged(linter: Linter, sql: str) -> None:
    assert codes(linter, f"{HEADER}{sql}\n") == set()


@pytest.mark.parametrize("word", ["Why:", "Needs:", "Locks:"])
def test_header_must_say_everything(linter: Linter, word: str) -> None:
    sql = f"{HEADER.replace(word, 'And:')}SELECT 1;\n-- {word} too late\n"
    assert "KM01" in codes(linter, sql)
    assert "KM01" in codes(linter, "SELECT 1;\n")


def test_each_check_file_says_what_it_checks() -> None:
    assert [f.name for f in list_checks(ROOT / "db" / "verify", baseline=True) if not f.about] == []
