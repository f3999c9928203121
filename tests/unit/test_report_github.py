"""What GitHub Actions is told: errors at their line, tables in the summary of a step."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from dbops import report
from dbops.catalog.drift import Drift, ObjectDrift
from dbops.database.schema import Checks, Fingerprint
from dbops.errors import Location, UsageError
from dbops.events import Message, StatementFinished, StepFinished
from dbops.migrations.run import MigrationPlan, PlannedMigration
from dbops.report import GitHub
from dbops.server import LogLines
from dbops.verification import Check, CheckFile, Verification

LOCATION = Location("db/migrations/0003_a,b.sql", 14, 11, "    open numeric,")
ERROR = UsageError("100% wrong,\nreally", where="here", hint="Do this.", location=LOCATION, notes=("SQLSTATE 42601",))


def test_error_is_a_workflow_command_with_its_location(capsys: pytest.CaptureFixture[str]) -> None:
    GitHub().error(ERROR)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "::error title=kapman-dbops,file=db/migrations/0003_a%2Cb.sql,line=14,col=11::"
        "100%25 wrong,%0Areally%0ASQLSTATE 42601%0Ahint: Do this.\n"
    )


def test_error_without_a_location_names_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    GitHub().error(UsageError("no", where="ENV", hint="Do this."))
    assert capsys.readouterr().err == "::error title=kapman-dbops::no%0Ahint: Do this.\n"


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_view_shows_an_error_in_its_own_form_and_as_a_workflow_command(
    output_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.view(output_format, "INFO", GitHub()).error(ERROR) == 2
    first, *_, last = capsys.readouterr().err.splitlines()
    assert "100% wrong" in first
    assert last.startswith("::error title=kapman-dbops,file=")
    assert report.view(output_format, "INFO").error(ERROR) == 2
    assert "::error" not in capsys.readouterr().err


CHECKS = (
    Check("structure/a.sql", "table public.a", True, "there", "there"),
    Check("structure/a.sql", "column public.a.`b`|c", False, "text", None),
)


def test_failed_checks_are_errors_and_rows_of_the_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    GitHub(str(tmp_path / "summary")).verification(Verification(CHECKS, 1.0))
    assert capsys.readouterr().err == (
        "::error title=column public.a.`b`|c,file=db/verify/structure/a.sql,line=1,col=1::expected text, actual NULL\n"
    )
    assert (tmp_path / "summary").read_text().splitlines() == [
        "### db.verify: 1 of 2 checks failed",
        "",
        "| file | check | expected | actual |",
        "| --- | --- | --- | --- |",
        "| structure/a.sql | column public.a.&#96;b&#96;&#124;c | text | NULL |",
        "",
    ]


def test_values_are_escaped_once_in_the_summary_and_not_in_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = Check("structure/a.sql", "index i", False, "a_idx", "b_idx")
    GitHub(str(tmp_path / "summary")).verification(Verification((check,), 1.0))
    assert capsys.readouterr().err.endswith("::expected a_idx, actual b_idx\n")
    assert "| index i | a&#95;idx | b&#95;idx |" in (tmp_path / "summary").read_text()


def test_summary_of_success_is_a_line_after_what_others_wrote(tmp_path: Path) -> None:
    (tmp_path / "summary").write_text("before\n")
    GitHub(str(tmp_path / "summary")).verification(Verification(CHECKS[:1], 1.0))
    assert (tmp_path / "summary").read_text() == "before\n### db.verify: 1 check passed\n\n"


def test_no_more_errors_than_github_shows(capsys: pytest.CaptureFixture[str]) -> None:
    GitHub().verification(Verification(CHECKS[1:] * 30, 1.0))
    assert len(capsys.readouterr().err.splitlines()) == 10


def test_missing_table_is_shown_before_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    columns = tuple(Check("columns.sql", f"column public.t.c{n}", False, "text", "missing") for n in range(20))
    table = Check("tables.sql", "table public.t", False, "a table", "missing")
    other = Check("types.sql", "type public.k", False, "a, b", "a")
    GitHub().verification(Verification((*columns, table, other), 1.0))
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("::error title=table public.t,")
    assert second.startswith("::error title=type public.k,")


def test_drift_is_a_table_of_objects_and_a_diff(tmp_path: Path) -> None:
    objects = (ObjectDrift("table public.t", "changed", ("-    a", "+    ``````````b")),)
    GitHub(str(tmp_path / "summary")).drift(Drift("d on s", "a fresh build", objects, "0", "1"))
    text = (tmp_path / "summary").read_text()
    assert "| changed | table public.t |" in text
    assert text.count("````````") == 2
    assert "\n-    a\n" in text


def test_plan_is_a_table_of_migrations(tmp_path: Path) -> None:
    planned = PlannedMigration(1, "0001_a", "p", 12345, 12, "ACCESS EXCLUSIVE on t", "5s", "0", 1)
    GitHub(str(tmp_path / "summary")).migration_plan(MigrationPlan("d", "s", 0, (planned,), 0, 1))
    text = (tmp_path / "summary").read_text()
    assert text.startswith("### db.migrate --plan: 1 to apply to d on s\n")
    assert "| 0001&#95;a | 12 | ACCESS EXCLUSIVE on t | 5s |" in text


def test_summary_that_cannot_be_written_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    GitHub(str(tmp_path)).verification(Verification(CHECKS[:1], 1.0))
    assert capsys.readouterr().err == "::warning::cannot write the step summary: Is a directory\n"


HOSTILE = "x\n::error::1\n \u00a0::add-mask::2\n##[error]3\nrow ##[group]4\r::error::5"
# How the runner recognises a command: TryParseV2 and TryParse of ActionCommand.cs.
RUNNER = re.compile(r"^\s*::|##\[")


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_text_of_others_is_never_a_command(output_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    view = report.view(output_format, "DEBUG", GitHub())
    location = Location(HOSTILE, 1, 1, HOSTILE)
    view.event(Message("WARNING", HOSTILE, HOSTILE))
    view.event(StepFinished("verify", HOSTILE, 1.0))
    view.event(StatementFinished(HOSTILE, None))
    view.interrupted(HOSTILE)
    view.show_error(UsageError(HOSTILE, where=HOSTILE, hint=HOSTILE, location=location, notes=(HOSTILE,)))
    view.show(LogLines((HOSTILE,)))
    view.show(Checks((CheckFile(Path(), HOSTILE, HOSTILE),), None))
    said = "".join(capsys.readouterr())
    assert [line for line in said.splitlines() if RUNNER.search(line)] == []
    assert said.count("error") >= 10


def test_file_gets_a_document_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        report.view("text", "INFO", GitHub()).show(Fingerprint("d", "0", HOSTILE))
    assert (tmp_path / "out").read_bytes().decode() == HOSTILE
