"""squawk's rules as this repository runs them: on tables in use, with ours in place of some for hypertables."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.errors import UsageError
from dbops.lint import squawk
from dbops.lint.findings import Finding, settle
from dbops.migrations.files import label
from dbops.settings import ROOT
from tests.support import lint_cases
from tests.support.lint_cases import HEADER, Case

CASES = [case for case in lint_cases.cases() if not case.rule.startswith("KM")]


def put(directory: Path, text: str) -> Path:
    """Write a text as the migration that follows the baseline in a directory of its own, and return its path."""
    directory.mkdir(exist_ok=True)
    for file in (ROOT / "db" / "migrations").glob("000[1-6]_*.sql"):
        (directory / file.name).symlink_to(file)
    path = directory / "0007_lint_case.sql"
    path.write_text(text)
    return path


def check(path: Path) -> list[Finding]:
    text = path.read_text()
    return settle(label(path), text, squawk.check({path: text}))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, set[str]]:
    """Return the rules that find something, for each case; squawk runs once for all."""
    root = tmp_path_factory.mktemp("cases")
    paths = {put(root / str(number), case.text): case for number, case in enumerate(CASES)}
    texts = {path: case.text for path, case in paths.items()}
    findings = list(squawk.check(texts))
    return {
        case: {f.rule for f in settle(label(path), case.text, [f for f in findings if f.path == label(path)])}
        for path, case in paths.items()
    }


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule_finds_what_is_bad_and_nothing_else(found: dict[Case, set[str]], case: Case) -> None:
    assert case.rule in found[case] if case.bad else not found[case]


def test_finding_has_its_line_and_column_in_characters(tmp_path: Path) -> None:
    text = (
        f"{HEADER}\n/* Größe 漢 */ ALTER TABLE public.tickers\nDROP COLUMN sector, ALTER COLUMN name DROP NOT NULL;\n"
    )
    path = put(tmp_path / "a", text)
    found = check(path)
    assert [(f.line, f.column, f.rule) for f in found] == [(6, 1, "ban-drop-column"), (6, 39, "ban-drop-not-null")]
    assert all(f.why.endswith(".") and f.path == label(path) for f in found)


def test_not_null_is_accepted_where_an_earlier_file_has_proven_it(tmp_path: Path) -> None:
    path = put(tmp_path / "a", "")
    last = path.with_name("0009_last_step.sql")
    last.write_text("ALTER TABLE public.tickers ALTER COLUMN sector SET NOT NULL;\n")
    path.write_text("ALTER TABLE tickers ADD CONSTRAINT s CHECK (sector IS NOT NULL) NOT VALID;\n")
    assert [f.rule for f in check(last)] == ["adding-not-nullable-field"]
    path.with_name("0008_next_step.sql").write_text("ALTER TABLE public.tickers VALIDATE CONSTRAINT s;\n")
    assert check(last) == []
    last.write_text("ALTER TABLE public.tickers ALTER COLUMN name SET NOT NULL;\n")
    assert [f.rule for f in check(last)] == ["adding-not-nullable-field"]


def test_file_in_a_transaction_may_build_an_index_of_its_own_table(tmp_path: Path) -> None:
    text = (
        "CREATE TABLE public.a (b text);\nCREATE INDEX c ON public.a (b);\nCREATE INDEX d ON public.tickers (name);\n"
    )
    assert [(f.line, f.rule) for f in check(put(tmp_path / "a", text))] == [(3, "require-concurrent-index-creation")]


def test_every_finding_says_what_to_do_instead(found: dict[Case, set[str]], tmp_path: Path) -> None:
    texts = {put(tmp_path / str(n), case.text): case.text for n, case in enumerate(CASES) if case.bad}
    findings = list(squawk.check(texts))
    assert {f.rule for f in findings if not f.instead} == set()
    assert {f.rule for f in findings} >= {case.rule for case in CASES}


def test_excluded_rules_each_have_a_reason() -> None:
    lines = [line.strip() for line in (ROOT / ".squawk.toml").read_text().splitlines()]
    listed = lines[lines.index("excluded_rules = [") + 1 : lines.index("]")]
    assert listed[0].startswith("#")
    assert len([line for line in listed if line.startswith('"')]) == 12


def test_missing_squawk_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dbops.lint.squawk.shutil.which", lambda *_args, **_kwargs: None)
    with pytest.raises(UsageError, match="squawk is not installed"):
        check(put(tmp_path / "a", "SELECT 1;\n"))


def test_failure_of_squawk_is_an_error(tmp_path: Path) -> None:
    path = put(tmp_path / "a", "SELECT 1;\n")
    text = path.read_text()
    path.unlink()
    with pytest.raises(UsageError, match="squawk failed"):
        list(squawk.check({path: text}))
