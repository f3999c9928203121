"""The runner of check files against a real server: whatever keeps a check from its answer is a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dbops.catalog import ExpectedSchema, schema_text
from dbops.errors import UsageError
from dbops.events import Progress, StepFinished, StepStarted
from dbops.settings import Target
from dbops.verification import Check
from tests.support import servers
from tests.support.servers import TestServer
from tests.support.verifying import verify

GOOD = "SELECT 'table public.t'::text AS check_name, true AS passed, 'there'::text AS expected, 'there'::text AS actual"


@pytest.fixture(scope="module")
def small(server: TestServer) -> Iterator[Target]:
    """Return one small database for all tests here: what they run only reads, or must not get to write."""
    name = servers.fresh_name()
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    with servers.connect(server.target(name)) as connection:
        connection.execute("CREATE TABLE public.t AS SELECT 1 AS a")
        connection.execute("CREATE SEQUENCE public.s")
    yield server.target(name)
    servers.drop_quietly(server, name)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "structure").mkdir()
    return tmp_path


def write(directory: Path, text: str | bytes, name: str = "structure/a.sql") -> None:
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def only_check(target: Target, directory: Path) -> Check:
    (check,) = verify(target, directory).checks
    return check


def test_row_of_a_check_file_becomes_a_check(small: Target, directory: Path) -> None:
    write(directory, f"-- A comment with 100 % and {{braces}}\n{GOOD};\n-- the end")
    result = verify(small, directory)
    assert result.passed
    (check,) = result.checks
    assert (check.file, check.name, check.expected, check.actual) == (
        "structure/a.sql",
        "table public.t",
        "there",
        "there",
    )
    assert 0 < check.seconds < result.seconds


def test_failing_row_does_not_keep_other_files_from_running(small: Target, directory: Path) -> None:
    write(directory, GOOD.replace("true", "1 = 2").replace("'there'::text AS actual", "NULL::text AS actual"))
    write(directory, "SELECT no_such_function()", "structure/b.sql")
    write(directory, GOOD, "structure/c.sql")
    result = verify(small, directory)
    assert not result.passed
    assert [(c.file, c.passed) for c in result.checks] == [
        ("structure/a.sql", False),
        ("structure/b.sql", False),
        ("structure/c.sql", True),
    ]
    assert result.checks[0].actual is None


@pytest.mark.parametrize(
    ("text", "says", "line", "column"),
    [
        ("SELECT 1;\n\nSELEC 2", 'syntax error at or near "SELEC"', 3, 1),
        ("SELECT 1;\nSELECT 2", "more than one statement", 1, 1),
        ("-- é\nSELECT\n\t oops", 'column "oops" does not exist', 3, 3),
        ("SELECT (1", "syntax error at end of input", 1, 10),
        ("SELECT 'a", "unterminated quoted string", 1, 8),
        ("", "the file is empty", 1, 1),
        (" \n", "the file is empty", 1, 1),
        ("-- nothing but a comment", "syntax error at end of input", 1, 25),
        (b"SELECT 'caf\xe9'", "not UTF-8: byte 0xe9", 1, 12),
        ("SELECT '\0'", "NUL character", 1, 9),
        (f"{GOOD} WHERE false", "returned no rows", 1, 1),
        (GOOD.replace("true", "NULL::boolean"), "passed is NULL in row 1", 1, 1),
        (GOOD.replace("'table public.t'", "NULL"), "check_name is NULL in row 1", 1, 1),
        ("SELECT 1 AS one", "the columns are one int4", 1, 1),
        (f"SELECT * FROM ({GOOD}) AS g, (VALUES (1)) AS v (extra)", "extra int4", 1, 1),
        (GOOD.replace("true", "'t'::text"), "passed text", 1, 1),
        ("INSERT INTO public.t VALUES (1)", "syntax error", 1, 1),
        ("WITH w AS (DELETE FROM public.t RETURNING 1) SELECT * FROM w", "data-modifying", 1, 1),
        (GOOD.replace("true", "nextval('public.s') > 0"), "read-only transaction", 1, 1),
        (GOOD.replace("true", "setval('public.s', 9) > 0"), "read-only transaction", 1, 1),
        ("COMMIT", "syntax error", 1, 1),
        (f"{GOOD}; COMMIT; DROP TABLE public.t", "more than one statement", 1, 1),
        (f"{GOOD}; /* unclosed", "unterminated /* comment", 1, len(GOOD) + 3),
        (GOOD.replace("true", "1 / 0 = 1"), "division by zero", 1, 1),
        (GOOD.replace("true", "pg_sleep(60) IS NULL"), "statement timeout", 1, 1),
    ],
)
def test_file_at_fault_is_a_failure_at_its_location(
    small: Target, directory: Path, text: str | bytes, says: str, line: int, column: int
) -> None:
    write(directory, text)
    write(directory, GOOD, "structure/b.sql")
    bad, good = verify(small, directory, statement_timeout=0.5).checks
    assert good.passed
    assert not bad.passed
    assert bad.actual is not None
    assert says in bad.actual
    assert bad.location is not None
    assert (bad.location.line, bad.location.column) == (line, column)
    assert bad.location.path == str(directory / "structure" / "a.sql")
    with servers.connect(small) as connection:
        assert connection.execute("SELECT a, (SELECT last_value FROM public.s) FROM public.t").fetchall() == [(1, 1)]


def test_unreadable_file_is_a_failure(small: Target, directory: Path) -> None:
    (directory / "structure" / "a.sql").mkdir()
    check = only_check(small, directory)
    assert not check.passed
    assert "is a directory" in str(check.actual)


def test_check_cannot_loosen_the_transaction_for_the_next(small: Target, directory: Path) -> None:
    write(directory, GOOD.replace("true", "set_config('statement_timeout', '7', true) = '7ms'"))
    write(directory, GOOD.replace("true", "current_setting('statement_timeout') = '9s'"), "structure/b.sql")
    assert verify(small, directory, statement_timeout=9).checks[1].passed


def test_suite_without_files_is_an_error(small: Target, directory: Path) -> None:
    with pytest.raises(UsageError, match="structure suite"):
        verify(small, directory)
    write(directory, GOOD)
    with pytest.raises(UsageError, match="baseline suite"):
        verify(small, directory, baseline=True)
    with pytest.raises(UsageError, match="structure suite"):
        verify(small, directory / "missing")


def test_only_named_files_are_reported(small: Target, directory: Path) -> None:
    for name in "abc":
        write(directory, GOOD, f"structure/{name}.sql")
    files = [check.file for check in verify(small, directory, only=("c", "structure/a.sql")).checks]
    assert files == ["structure/a.sql", "structure/c.sql"]
    with pytest.raises(UsageError, match='called "d"'):
        verify(small, directory, only=("d",))


def test_comparison_with_the_expected_schema_is_named_as_a_file_is(small: Target, directory: Path) -> None:
    write(directory, GOOD)
    with servers.connect(small) as connection:
        schema = schema_text(connection)
    expected = ExpectedSchema("schema.txt", schema.replace("column a: integer", "column a: bigint"))
    (check,) = (c for c in verify(small, directory, expected=expected, only=("schema",)).checks if not c.passed)
    assert (check.file, check.name, check.change) == ("schema.txt", "table public.t", "changed")
    assert (check.expected, check.actual) == ("column a: bigint", "column a: integer")
    both = verify(small, directory, expected=expected).checks
    assert {c.file for c in both} == {"structure/a.sql", "schema.txt"}
    assert {c.file for c in verify(small, directory, expected=expected, only=("a",)).checks} == {"structure/a.sql"}


def test_object_that_is_extra_or_missing_is_shown_with_its_text(small: Target, directory: Path) -> None:
    write(directory, GOOD)
    with servers.connect(small) as connection:
        schema = schema_text(connection)
    expected = ExpectedSchema("schema.txt", schema.replace("table public.t\n", "table public.other\n"))
    found = verify(small, directory, expected=expected).failed
    assert [(c.name, c.change, c.expected, c.actual) for c in found] == [
        ("table public.other", "missing", "table public.other\ncolumn a: integer", "missing"),
        ("table public.t", "extra", "(nothing)", "table public.t\ncolumn a: integer"),
    ]


def test_verify_reports_its_steps(small: Target, directory: Path) -> None:
    write(directory, GOOD)
    seen: list[object] = []
    verify(small, directory, report=seen.append)
    started, progress, finished = seen
    assert isinstance(started, StepStarted)
    assert started.total == 1
    assert progress == Progress("verify", 0, "structure/a.sql")
    assert isinstance(finished, StepFinished)
    assert finished.detail == "1 check passed"
