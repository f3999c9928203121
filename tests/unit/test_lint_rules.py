"""Our own lint rules: each fires on what it is about, and on nothing else."""

from __future__ import annotations

import pytest
from sqlfluff.core import FluffConfig, Linter
from sqlfluff.core.plugin.host import get_plugin_manager

from dbops.lint import get_rules, schema
from dbops.lint.__main__ import findings
from dbops.settings import ROOT
from dbops.verification import list_checks
from tests.support import lint_cases
from tests.support.lint_cases import Case

HEADER = "-- Why: a test.\n-- Needs: nothing.\n-- Locks: none.\n\n"


get_plugin_manager()  # sqlfluff warns of rules that are imported before it has loaded its plugins
OWN = [rule.__name__.removeprefix("Rule_") for rule in get_rules()]


@pytest.fixture(scope="module")
def linter() -> Linter:
    """Return a linter of our own rules: the others take as long again."""
    return Linter(FluffConfig.from_path(str(ROOT / "db" / "migrations"), overrides={"rules": ",".join(OWN)}))


def codes(linter: Linter, sql: str) -> set[str]:
    found = linter.lint_string(sql, fname=str(lint_cases.CASE)).get_violations()
    return {violation.rule_code() for violation in found if violation.rule_code().startswith(("KM", "PRS"))}


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
        "CREATE TABLE public.t (id uuid DEFAULT gen_random_uuid()); COMMENT ON TABLE public.t IS 'x';",
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
def test_valid_statement_is_not_flagged(linter: Linter, sql: str) -> None:
    assert codes(linter, f"{HEADER}{sql}\n") == set()


@pytest.mark.parametrize("word", ["Why:", "Needs:", "Locks:"])
def test_header_must_say_everything(linter: Linter, word: str) -> None:
    sql = f"{HEADER.replace(word, 'And:')}SELECT 1;\n-- {word} too late\n"
    assert "KM01" in codes(linter, sql)
    assert "KM01" in codes(linter, "SELECT 1;\n")


@pytest.mark.parametrize("case", [case for case in lint_cases.cases() if case.rule in OWN], ids=str)
def test_rule_finds_what_is_bad_and_nothing_else(linter: Linter, case: Case) -> None:
    found = codes(linter, case.text)
    assert case.rule in found if case.bad else not found
    assert "PRS" not in found


@pytest.mark.parametrize("rule", lint_cases.rules().values(), ids=lambda rule: rule.name)
def test_each_rule_has_three_bad_cases_and_three_good_ones(rule: lint_cases.Rule) -> None:
    assert len([case for case in rule.cases if case.bad]) >= 3
    assert len([case for case in rule.cases if not case.bad]) >= 3


def test_each_rule_of_ours_has_cases() -> None:
    assert {name for name in lint_cases.rules() if name.startswith("KM")} == set(OWN)


def test_page_shows_each_rule_with_its_first_cases() -> None:
    assert lint_cases.PAGE.read_text() == lint_cases.page()


def test_each_check_file_says_what_it_checks() -> None:
    assert [f.name for f in list_checks(ROOT / "db" / "verify", baseline=True) if not f.about] == []


def test_baseline_passes_without_a_waiver() -> None:
    files = sorted((ROOT / "db" / "migrations").glob("*.sql"))[: schema.BASELINE]
    assert [file.name for file in files if "lint:" in file.read_text() or "noqa" in file.read_text()] == []
    assert len(files) == schema.BASELINE
    assert findings(files) == []
