"""Waivers: one finding, one line, one reason."""

from __future__ import annotations

import pytest

from dbops.lint.check import LintResult
from dbops.lint.findings import Finding, settle
from dbops.report.github import GitHub

LINE = "ALTER TABLE public.a DROP COLUMN b;"
ALLOW = "-- lint: allow ban-drop-column because no client reads it"


def left(text: str, *findings: tuple[int, str]) -> list[tuple[int, str]]:
    """Return the lines and rules of what is left of some findings in a text."""
    found = [Finding("a.sql", line, 1, rule, "Why.") for line, rule in findings]
    return [(finding.line, finding.rule) for finding in settle("a.sql", text, found)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{LINE} {ALLOW}\n", 1),
        (f"{ALLOW}\n{LINE}\n", 2),
        (f"SELECT 1;\n\n{ALLOW}\n\n{LINE}\n", 5),
        (f"{ALLOW}\n-- Another comment.\n{LINE}\n", 3),
        (f"ALTER TABLE public.a\nADD COLUMN c text,\n{ALLOW}\nDROP COLUMN b;\n", 4),
        (f"  --  LINT:  allow ban-drop-column because no client reads it  \n{LINE}\n", 2),
    ],
)
def test_waiver_in_the_line_or_above_waives_one_rule(text: str, line: int) -> None:
    assert left(text, (line, "ban-drop-column")) == []
    assert left(text, (line, "ban-drop-column"), (line, "KM07")) == [(line, "KM07")]


def test_two_waivers_above_a_line_waive_two_rules() -> None:
    text = f"{ALLOW}\n-- lint: allow KM07 because it is a test\n{LINE}\n"
    assert left(text, (3, "ban-drop-column"), (3, "KM07")) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{ALLOW}\nSELECT 1;\n{LINE}\n", 3),
        (f"{LINE}\n{ALLOW}\n", 1),
        (f"SELECT 1; {ALLOW}\n{LINE}\n", 2),
    ],
)
def test_waiver_of_another_line_waives_nothing_and_is_an_error(text: str, line: int) -> None:
    found = left(text, (line, "ban-drop-column"))
    assert (line, "ban-drop-column") in found
    assert [rule for _, rule in found].count("waiver") == 1


@pytest.mark.parametrize(
    "comment",
    [
        "-- lint: allow ban-drop-column",
        "-- lint: allow ban-drop-column because",
        "-- lint: allow ban-drop-column because   ",
        "-- lint: allow ban-drop-column no client reads it",
        "-- lint: allow because no client reads it",
        "-- lint: alow ban-drop-column because no client reads it",
        "-- lint: ignore ban-drop-column because no client reads it",
        "-- noqa",
        "-- noqa: KM07",
        "-- squawk-ignore ban-drop-column",
        "-- squawk-ignore-file",
        "-- sqlfluff:exclude_rules:KM10",
        "/* squawk-ignore ban-drop-column */",
        "/*squawk-ignore-file*/",
        "/* noqa */",
    ],
)
def test_other_waiver_waives_nothing_and_is_an_error(comment: str) -> None:
    assert left(f"{comment}\n{LINE}\n", (2, "ban-drop-column")) == [(1, "waiver"), (2, "ban-drop-column")]


@pytest.mark.parametrize(
    "text",
    [
        f"COMMENT ON TABLE public.a IS '\n{ALLOW}\n';\n",
        f"/*\n{ALLOW}\n*/\nSELECT 1;\n",
        "-- The linter: it may be allowed.\nSELECT 1;\n",
        "-- Why: what noqa means.\nSELECT 1;\n",
        "COMMENT ON COLUMN public.a.\"-- noqa\" IS 'x';\n",
    ],
)
def test_text_that_looks_like_a_waiver_is_ignored(text: str) -> None:
    assert left(text) == []


def test_waiver_that_waives_nothing_is_an_error() -> None:
    assert left(f"{ALLOW}\n{LINE}\n") == [(1, "waiver")]
    assert left(f"{ALLOW}\n{ALLOW}\n{LINE}\n", (3, "ban-drop-column")) == [(2, "waiver")]
    assert left(f"{ALLOW}\n") == [(1, "waiver")]


def test_text_that_cannot_be_parsed_is_waived_only_in_a_file_of_its_own() -> None:
    waiver = "-- lint: allow syntax-error because no parser knows it"
    assert left(f"{waiver}\nSOMETHING NEW;\n", (2, "syntax-error")) == []
    found = left(f"{waiver}\nSOMETHING NEW;\nDROP TABLE public.a;\n", (2, "syntax-error"))
    assert found == [(1, "waiver"), (2, "syntax-error")]


def test_annotation_is_one_line_that_github_understands(capsys: pytest.CaptureFixture[str]) -> None:
    finding = Finding("db/a,b.sql", 3, 7, "KM07", "100% wrong:\nsee there.", "Write it.")
    GitHub().lint_result(LintResult(1, (finding,), "", (), True))
    assert capsys.readouterr().err == (
        "::error title=KM07,file=db/a%2Cb.sql,line=3,col=7::100%25 wrong:%0Asee there. Write it.\n"
    )
    assert str(finding).startswith("db/a,b.sql:3:7: KM07 100% wrong:")
