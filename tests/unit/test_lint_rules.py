"""Our own lint rules: each fires on what it is about, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.lint import check, schema, squawk
from dbops.lint.rules import RULES, Rule
from dbops.settings import ROOT
from dbops.verification import list_checks
from tests.support import lint_cases, measured_locks
from tests.support.lint_cases import Case

HEADER = "-- Why: a test.\n-- Needs: nothing.\n-- Locks: none.\n\n"


def codes(sql: str, path: Path = lint_cases.CASE) -> set[str]:
    return {finding.rule for _, finding in check.own_findings({path: sql})}


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
    ("KM03", "CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION public.f();"),
    ("KM03", "CREATE RULE r AS ON INSERT TO public.tickers DO INSTEAD NOTHING;"),
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
    ("KM06", "SAVEPOINT s;"),
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
    ("KM02", "SELECT public.drop_chunks('public.ohlcv', interval '1 year');"),
    ("KM09", "DO $$ BEGIN DELETE FROM public.tickers; END $$;"),
    ("KM09", "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET a = 1', current_database()); DELETE FROM t; END $$;"),
    ("KM09", "CALL public.tidy();"),
    ("KM15", "ALTER SYSTEM SET work_mem = '1MB';"),
    ("KM16", "SET LOCAL lock_timeout = '1s';"),
]


@pytest.mark.parametrize(("code", "sql"), FORBIDDEN)
def test_rule_fires(code: str, sql: str) -> None:
    assert code in codes(f"{HEADER}{sql}\n")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE EXTENSION IF NOT EXISTS timescaledb WITH SCHEMA public;",
        "CREATE TABLE public.t (id uuid DEFAULT gen_random_uuid()); COMMENT ON TABLE public.t IS 'x';",
        "CREATE TYPE public.t AS ENUM ('a');",
        "ALTER TABLE public.t ADD CONSTRAINT t_pkey PRIMARY KEY (id);",
        "ALTER TABLE public.t RENAME TO u;",
        "ALTER TABLE public.t ADD COLUMN a integer NOT NULL DEFAULT 0;",
        "CREATE VIEW public.v AS WITH a AS (SELECT 1 AS b) SELECT a.b FROM a;",
        "SELECT public.create_hypertable('public.t', 'date', chunk_time_interval => interval '30 days');",
        "SET LOCAL work_mem = '16MB';",
        "ALTER TABLE public.t DETACH PARTITION public.part;",
        'CREATE EXTENSION IF NOT EXISTS "timescaledb";',
        "GRANT SELECT ON public.tickers TO reader;",
    ],
)
def test_valid_statement_is_not_flagged(sql: str) -> None:
    assert codes(f"{HEADER}{sql}\n") == set()


@pytest.mark.parametrize("word", ["Why:", "Needs:", "Locks:"])
def test_header_must_say_everything(word: str) -> None:
    sql = f"{HEADER.replace(word, 'And:')}SELECT 1;\n-- {word} too late\n"
    assert "KM01" in codes(sql)
    assert "KM01" in codes("SELECT 1;\n")


def test_header_must_declare_locks_as_the_runner_reads_them() -> None:
    assert "KM01" in codes(HEADER.replace("none", "a short one on public.tickers") + "SELECT 1;\n")


@pytest.mark.parametrize("case", lint_cases.cases(), ids=str)
def test_rule_finds_what_is_bad_and_nothing_else(case: Case) -> None:
    found = codes(case.text)
    assert case.rule in found if case.bad else not found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_each_rule_has_three_bad_cases_and_three_good_ones(rule: Rule) -> None:
    of_rule = [case for case in lint_cases.cases() if case.rule == rule.code]
    assert len([case for case in of_rule if case.bad]) >= 3
    assert len([case for case in of_rule if not case.bad]) >= 3


def test_statements_that_were_seen_to_keep_others_waiting_are_found_and_harmless_ones_pass(tmp_path: Path) -> None:
    files = {}
    for number, case in enumerate([*measured_locks.cases("dangerous"), *measured_locks.cases("harmless")]):
        directory = tmp_path / str(number)
        directory.mkdir()
        for file in (ROOT / "db" / "migrations").glob("000[1-6]_*.sql"):
            (directory / file.name).symlink_to(file)
        (directory / "0007_make_before.sql").write_text(measured_locks.BEFORE)
        files[directory / "0008_do_case.sql"] = case
        (directory / "0008_do_case.sql").write_text(case.text)
    texts = {path: case.text for path, case in files.items()}
    rules = {
        case.sql: {finding.rule for _, finding in check.own_findings({path: case.text})} for path, case in files.items()
    }
    for path, finding in squawk.findings(texts):
        rules[files[path].sql].add(finding.rule)
    assert [case.sql for case in measured_locks.cases("dangerous") if not rules[case.sql]] == []
    assert {case.sql: rules[case.sql] for case in measured_locks.cases("harmless") if rules[case.sql]} == {}


def test_tables_of_measured_statements_are_long_enough() -> None:
    assert len(measured_locks.cases("dangerous")) >= 60
    assert len(measured_locks.cases("harmless")) >= 40


def test_page_shows_each_rule_with_its_examples() -> None:
    assert lint_cases.PAGE.read_text() == lint_cases.page()


def test_each_check_file_says_what_it_checks() -> None:
    assert [f.name for f in list_checks(ROOT / "db" / "verify", baseline=True) if not f.about] == []


def test_baseline_passes_without_a_waiver() -> None:
    files = sorted((ROOT / "db" / "migrations").glob("*.sql"))[: schema.BASELINE]
    assert [file.name for file in files if "lint:" in file.read_text() or "noqa" in file.read_text()] == []
    assert len(files) == schema.BASELINE
    assert check.lint_files(files) == ([], [])
