"""Lint looks at every file, as a whole, under this repository's configuration alone, or fails."""

from __future__ import annotations

import json
from os import mkfifo
from pathlib import Path

import pytest

from dbops.errors import UsageError
from dbops.lint import __main__ as lint
from dbops.lint import check, squawk
from dbops.migrations import files
from dbops.report import text
from dbops.settings import ROOT
from tests.support.lint_cases import HEADER
from tests.support.processes import run_invoke

BAD = f"{HEADER}\nSELECT 1 as one;\n"
RULE = "CP01"


def put(directory: Path, text: str, name: str = "0007_lint_case.sql") -> Path:
    """Write a text as the migration that follows the baseline, and return its path."""
    directory.mkdir(exist_ok=True, parents=True)
    for file in (ROOT / "db" / "migrations").glob("000[1-6]_*.sql"):
        (directory / file.name).write_bytes(file.read_bytes())
    path = directory / name
    path.write_text(text)
    return path


def rules(path: Path) -> list[str]:
    return [finding.rule for finding in check.lint_files([path])[0]]


def test_file_of_any_size_is_read_to_its_end(tmp_path: Path) -> None:
    # Comments, since a linter takes seconds for as many statements.
    filler = f"-- {'x' * 100}\n" * 500 + "COMMENT ON TABLE public.tickers IS 'x';\n" * 5
    assert len(filler) > 50_000
    path = put(tmp_path / "a", f"{HEADER}\n{filler}SELECT 1 as one;\nLOCK TABLE public.tickers;\n")
    assert rules(path) == [RULE, "KM17"]


@pytest.mark.parametrize("place", ["home", "above", "beside"])
@pytest.mark.parametrize(
    "name", [".sqlfluff", "setup.cfg", "tox.ini", "pyproject.toml", ".sqlfluffignore", ".squawk.toml"]
)
def test_configuration_of_others_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, name: str
) -> None:
    directories = {"home": tmp_path / "home", "above": tmp_path, "beside": tmp_path / "migrations"}
    path = put(tmp_path / "migrations", f"{BAD}LOCK TABLE public.tickers;\nDROP TABLE public.tickers;\n")
    (tmp_path / "home" / ".config" / "sqlfluff").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))
    monkeypatch.chdir(tmp_path / "migrations")
    text = {
        ".sqlfluffignore": "*.sql\n",
        ".squawk.toml": 'excluded_rules = ["ban-drop-table"]\n',
        "pyproject.toml": '[tool.sqlfluff.core]\nrules = "LT12"\nlarge_file_skip_byte_limit = 1\n',
    }.get(name, "[sqlfluff]\nrules = LT12\nlarge_file_skip_byte_limit = 1\nignore = linting,parsing\n")
    (directories[place] / name).write_text(text)
    (tmp_path / "home" / ".config" / "sqlfluff" / name).write_text(text)
    # What is not hidden is refused beside migrations.
    assert [rule for rule in rules(path) if rule != "migration"] == [RULE, "KM17", "ban-drop-table"]


def test_setting_in_a_comment_is_found(tmp_path: Path) -> None:
    path = put(tmp_path / "a", f"-- sqlfluff:rules:LT12\n{BAD}")
    assert "waiver" in rules(path)


@pytest.mark.parametrize("path", ["nowhere", "nowhere.sql", "empty"])
def test_path_without_sql_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str) -> None:
    (tmp_path / "empty").mkdir()
    assert lint.main([str(tmp_path / path)]) == 2
    assert "there is no SQL in" in capsys.readouterr().err


def test_file_that_is_not_utf8_is_found(tmp_path: Path) -> None:
    path = put(tmp_path / "a", "")
    path.write_bytes(HEADER.encode() + "-- Größe\nSELECT 1 AS one;\n".encode("latin-1"))
    assert "unreadable" in rules(path)


@pytest.mark.parametrize("name", ["0007_lint_case.SQL", "0007_lint_case.psql", "0007_lint_case", "later/"])
def test_what_lies_beside_the_files_and_the_runner_refuses_is_a_finding(tmp_path: Path, name: str) -> None:
    put(tmp_path, "", "0007_lint_case.SQL").unlink()
    (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).write_text(BAD)
    (finding,) = check.lint([tmp_path], tmp_path).findings
    assert (finding.rule, Path(finding.path).name) == ("migration", name.strip("/"))


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_what_is_named_as_a_file_and_is_none_is_a_finding(tmp_path: Path, kind: str) -> None:
    path = put(tmp_path, "")
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        mkfifo(path)
    (finding,) = check.lint([tmp_path], tmp_path).findings
    assert (finding.rule, Path(finding.path).name) == ("unreadable", path.name)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("0007_Lint_case.sql", HEADER, "must be named NNNN_verb_object.sql"),
        ("0007_lint_case.sql", f"{HEADER}-- lock-timeout: soon\nSELECT 1 AS one;\n", "invalid duration"),
        ("0007_lint_case.sql", f"{HEADER}-- migrate: no_transaction\nSELECT 1 AS one;\n", "unknown directive"),
        ("0007_lint_case.sql", f"{HEADER}SELECT 1 AS one;\n-- lock-timeout: 2s\nSELECT 2 AS two;\n", "has no effect"),
        ("0007_lint_case.sql", f"{HEADER}-- own-transaction\nSELECT 1 AS one;\n", "would have no effect"),
        ("0007_lint_case.sql", f"{HEADER}-- migrate: no-transaction\nSELECT 1 AS a;\nSELECT 2 AS b;\n", "2 statements"),
        ("0009_lint_case.sql", f"{HEADER}SELECT 1 AS one;\n", "leaves a gap"),
        ("0006_lint_case.sql", f"{HEADER}SELECT 1 AS one;\n", "has the same number"),
        ("0007_lint_case.sql", f"{HEADER}SELECT 1 AS one \\gset\n", "backslash command"),
        ("0007_lint_case.sql", f"{HEADER}SET standard_conforming_strings = off;\n", "where statements end"),
    ],
)
def test_what_the_runner_refuses_is_a_finding(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = put(tmp_path / "a", text, name)
    (finding,) = [finding for finding in check.lint_files([path])[0] if finding.rule == "migration"]
    assert said in finding.why


def test_new_file_lacks_its_locks_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, "").unlink()
    (finding,) = check.lint_files([files.new_file(tmp_path, "add_splits_table").path])[0]
    assert (finding.rule, finding.line) == ("KM01", 3)
    assert 'Invalid locks "MODE on schema.table for each' in finding.why


def test_sql_that_one_linter_cannot_parse_is_a_note_and_other_statements_are_looked_at(tmp_path: Path) -> None:
    text = f"{HEADER}\nALTER TABLE public.t DETACH PARTITION public.part;\nLOCK TABLE public.tickers;\n"
    findings, notes = check.lint_files([put(tmp_path / "a", text)])
    assert [finding.rule for finding in findings if not finding.rule.startswith("require")] == ["KM17"]
    assert [note.split(":")[0].split(" ")[0] for note in notes] == ["sqlfluff"]


def test_sql_that_no_linter_can_parse_is_a_finding(tmp_path: Path) -> None:
    findings, notes = check.lint_files([put(tmp_path / "a", f"{HEADER}\nALTER TABLE public.tickers ADD ADD;\n")])
    assert "syntax-error" in {finding.rule for finding in findings}
    assert notes == []


def test_missing_linters_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = put(tmp_path / "a", f"{BAD}LOCK TABLE public.tickers;\n")
    monkeypatch.setattr(squawk, "program", lambda: None)
    monkeypatch.setattr(check, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="sqlfluff and squawk cannot be run"):
        check.lint_files([path])
    findings, notes = check.lint_files([path], partly=True)
    assert [finding.rule for finding in findings] == ["KM17"]
    assert [note.split()[0] for note in notes] == ["sqlfluff", "squawk"]


def test_verb_shows_findings_and_what_is_not_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path / "a", f"{HEADER}\nLOCK TABLE public.tickers;\n")
    result = check.lint([tmp_path / "a"], ROOT / "db" / "migrations", partly=True)
    shown = text.drawn(lambda console: text.lint_result(result, console))
    assert "0007_lint_case.sql:5:1: KM17 This keeps others out until the migration ends." in shown
    assert "1 finding in 7 files" in shown


@pytest.mark.parametrize("installed", [True, False])
def test_verb_fails_where_a_linter_is_missing(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    if not installed:
        monkeypatch.setattr(squawk, "program", lambda: None)
    migrations = ROOT / "db" / "migrations"
    result = check.lint([migrations], migrations, partly=True)
    assert (result.passed, result.findings) == (installed, ())
    assert [note.split(" cannot")[0] for note in result.notes] == ([] if installed else ["squawk"])


def test_verb_is_one_object_for_machines() -> None:
    done = run_invoke("db.lint", "--format", "json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["findings"], found["complete"]) == (0, [], True)
    assert found["files"] == len(list((ROOT / "db" / "migrations").glob("*.sql")))
