"""What `db.verify` prints: failures first for people, JSON by its schema, JUnit that a parser reads."""

from __future__ import annotations

import io
import json
import unicodedata
from datetime import UTC, datetime

import jsonschema
import junitparser
import pytest
import xmlschema
from rich.console import Console

from dbops import report
from dbops.errors import Location
from dbops.report import junit, text
from dbops.settings import ROOT
from dbops.verification import Check, Verification

NASTY = 'a <b> & "c" \x1b[31m\x00 [bold] \ud800 é\n]]>'
STARTED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
RESULT = Verification(
    (
        Check("structure/a.sql", "table public.a", True, "there", "there", 0.25),
        Check("structure/a.sql", NASTY, False, NASTY, None, 0.25),
        Check(
            "structure/b.sql",
            "file structure/b.sql",
            False,
            "one query",
            'column "oops" does not exist',
            0.0,
            Location("db/verify/structure/b.sql", 2, 8, "SELECT oops"),
        ),
        Check("structure/c.sql", "index i", True, None, None, 0.5),
    ),
    1.5,
    advice=("a check file is broken: correct db/verify/structure/b.sql:2:8",),
    server="host:5432",
    began=STARTED,
)


def document(output_format: str, result: Verification = RESULT) -> str:
    return report.view(output_format, "INFO").document("verification", result)


def test_text_shows_failures_first_and_counts_what_passed() -> None:
    lines = document("text").splitlines()
    first_failure = next(n for n, line in enumerate(lines) if "FAIL" in line)
    first_count = next(n for n, line in enumerate(lines) if "1 passed" in line)
    assert first_failure < first_count
    text = "\n".join(lines)
    assert "--> db/verify/structure/b.sql:2:8\n  |\n2 | SELECT oops\n  |        ^" in text
    assert "table public.a" not in text
    assert "1 passed, 1 failed" in text
    assert lines[-2] == "  FAIL    2 of 4 checks failed in 1.50 s, 1000 ms of it in the server"
    assert lines[-1] == "  next    a check file is broken: correct db/verify/structure/b.sql:2:8"


def test_text_shows_expected_and_actual_as_they_are() -> None:
    text = document("text", Verification((Check("a.sql", "[red]c", False, "x [bold]", "y"),), 0.1))
    assert "  FAIL    a.sql\n" in text
    assert "    [red]c  x [bold]  y\n" in text


def test_text_has_one_below_the_other_what_does_not_fit_beside_each_other() -> None:
    text = document("text", Verification((Check("a.sql", "column t.c", False, "x" * 100, "y" * 100),), 0.1))
    assert f"    column t.c\n      expected  {'x' * 100}\n      actual    {'y' * 100}\n" in text


def test_text_has_one_row_for_an_extra_object_and_the_lines_of_a_changed_one() -> None:
    failed = (
        Check("db/schema.txt", "table public.t", False, "(nothing)", "column isin: text", change="changed"),
        Check("db/schema.txt", "view public.gone", False, "view public.gone", "missing", change="missing"),
        Check("db/schema.txt", "view public.v", False, "(nothing)", "view public.v\n| SELECT 1", change="extra"),
    )
    text = document("text", Verification(failed, 0.1))
    assert text.count("view public.v") == 1
    assert "    extra    view public.v exists, but is not in db/schema.txt\n" in text
    assert "    missing  view public.gone is in db/schema.txt, but does not exist\n" in text
    assert "    changed  table public.t differs from db/schema.txt:\n      + column isin: text\n" in text


def test_text_of_a_database_without_migrations_says_that_and_nothing_else() -> None:
    failed = tuple(
        Check(f"{kind}s.sql", f"{kind} public.{name}", False, "a table", "missing")
        for kind in ("table", "index")
        for name in ("a", "b")
    )
    objects = tuple(
        Check("db/schema.txt", f"table public.{n}", False, "a", "(nothing)", change="missing") for n in "ab"
    )
    assert document("text", Verification(failed + objects, 0.1)).splitlines() == [
        "  FAIL    none of the 2 tables exists: no migration has been applied",
        "  FAIL    6 of 6 checks failed in 0.10 s, 0 ms of it in the server",
        "  next    correct the name in DATABASE_URL, or apply the migrations with `invoke db.migrate`",
    ]


def test_characters_that_a_terminal_would_obey_are_replaced() -> None:
    assert "\x1b" not in document("text")
    assert "\ufffd[31m" in document("text")


@pytest.mark.parametrize("control", ["\x1b[2J", "\x9b2J", "\x90q\x9c", "\x85", "\x7f", "\b"])
def test_no_control_character_of_a_name_reaches_a_terminal(control: str) -> None:
    text = document("text", Verification((Check("a.sql", f"table {control}", False, control, None),), 0.1))
    assert [character for character in text if unicodedata.category(character) == "Cc"] == ["\n"] * text.count("\n")


def test_text_says_once_that_a_table_is_missing() -> None:
    failed = (
        Check("columns.sql", "column public.t.a", False, "integer", "missing"),
        Check("columns.sql", "column public.tt.a", False, "integer", "missing"),
        Check("columns.sql", "column public.t.b", False, "integer", "text"),
        Check("indexes.sql", "index public.t_a_idx", False, "on public.t: btree (a)", "missing"),
        Check("tables.sql", "table public.t", False, "a table", "missing"),
        Check("tables.sql", "table public.tt", True, "a table", "a table"),
    )
    text = document("text", Verification(failed, 0.1))
    assert "public.t is missing, and so 2 checks of its parts fail too" in text
    assert "column public.t.a" not in text
    assert "index public.t_a_idx" not in text
    for shown in ("column public.tt.a", "column public.t.b", "table public.t "):
        assert shown in text


def test_text_of_success_is_one_line_a_file_and_a_sum() -> None:
    text = document("text", Verification(RESULT.checks[:1], 1.0))
    assert [line.split() for line in text.splitlines()] == [
        ["ok", "structure/a.sql", "1", "passed", "250.0", "ms"],
        ["ok", "1", "check", "passed", "in", "1.00", "s,", "250", "ms", "of", "it", "in", "the", "server"],
    ]


def test_state_is_a_word_before_it_is_a_colour() -> None:
    console = Console(file=io.StringIO(), width=110, force_terminal=True, color_system="standard")
    text.verification(RESULT, console)
    assert "\x1b[1;31mFAIL\x1b[0m" in console.file.getvalue()  # type: ignore[attr-defined]


def test_json_is_what_its_schema_says() -> None:
    schema = json.loads((ROOT / "docs" / "verify.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    found = json.loads(document("json"))
    jsonschema.validate(found, schema)
    assert found["summary"] == {"total": 4, "passed": 2, "failed": 2, "seconds": 1.5}
    assert [check["passed"] for check in found["checks"]] == [False, False, True, True]
    assert found["checks"][1]["location"]["line"] == 2
    found["checks"][0]["extra"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, schema)


def test_junit_is_read_by_a_real_reader() -> None:
    suites = list(junitparser.JUnitXml.fromstring(document("junit").encode("utf-8")))
    assert [(s.name, s.tests, s.failures, s.errors) for s in suites] == [
        ("structure/a.sql", 2, 1, 0),
        ("structure/b.sql", 1, 0, 1),
        ("structure/c.sql", 1, 0, 0),
    ]
    assert [s.time for s in suites] == [0.5, 0.0, 0.5]
    passed, failed = list(suites[0])
    assert passed.is_passed
    assert isinstance(failed.result[0], junitparser.Failure)
    assert failed.result[0].message.startswith('expected a <b> & "c" \ufffd[31m\ufffd [bold] \ufffd é')
    assert failed.result[0].message.endswith("actual NULL")
    (broken,) = list(suites[1])
    assert isinstance(broken.result[0], junitparser.Error)
    assert "db/verify/structure/b.sql:2:8" in broken.result[0].text


def test_junit_validates_against_the_common_schema() -> None:
    schema = xmlschema.XMLSchema(ROOT / "tests" / "data" / "junit" / "junit.xsd")
    schema.validate(document("junit"))
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        schema.validate(document("junit").replace("classname", "class"))


def test_junit_time_is_in_utc_without_a_zone() -> None:
    assert 'timestamp="2026-03-04T05:06:07"' in junit.xml(RESULT)


def test_nothing_checked_is_not_a_success() -> None:
    assert not Verification((), 0.0).passed
