"""Statements of migrations that reach beyond their database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dbops.errors import UsageError
from dbops.migrations import reach
from dbops.migrations.reach import assert_limits, assert_within, findings
from tests.support.migration_files import written

DATA = Path(__file__).parents[1] / "data" / "reach"


def beyond() -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of statements that reach beyond their database."""
    kind = ""
    for line in (DATA / "beyond.sql").read_text().splitlines()[1:]:
        if line.startswith("--"):
            kind = line.removeprefix("-- ")
        else:
            yield kind, line
    yield "SERVER", "DO $$ BEGIN EXECUTE 'ALTER '\n  'SYSTEM RESET ALL'; END $$;"
    yield "DATABASE", "comment /* on */ on -- a\n database kapman_dev is 'x';"


@pytest.mark.parametrize(("kind", "text"), list(beyond()))
def test_statement_that_reaches_beyond_the_database_is_found(kind: str, text: str) -> None:
    found = findings(f"-- Why: a test.\n{text}\nSELECT 1;\n")
    assert [finding.kind for finding in found] == [getattr(reach, kind)]


@pytest.mark.parametrize("text", (DATA / "within.sql").read_text().splitlines()[1:])
def test_statement_that_stays_within_the_database_is_accepted(text: str) -> None:
    assert findings(text) == []


def test_error_names_every_place_and_the_way_out(tmp_path: Path) -> None:
    texts = (
        "SELECT 1;\n  ALTER DATABASE kapman SET work_mem = '1MB';\n",
        "DO $$\nBEGIN\n    EXECUTE 'ALTER SYSTEM SET work_mem = 1';\nEND $$;\n",
    )
    with pytest.raises(UsageError) as refused:
        assert_within(written(tmp_path, *texts))
    error = refused.value
    assert error.what.startswith("0001_do_step1.sql reaches beyond its database: ALTER DATABASE names a database")
    assert error.location is not None
    assert (error.location.line, error.location.column) == (2, 3)
    assert error.notes == (f"{tmp_path}/0002_do_step2.sql:3:13 ALTER SYSTEM acts on the whole server",)
    assert "current_database()" in error.hint


def test_routine_of_an_earlier_file_is_found_where_it_is_called(tmp_path: Path) -> None:
    create = "CREATE FUNCTION public.f() RETURNS void LANGUAGE sql AS 'SELECT pg_reload_conf()';\n"
    assert_within(written(tmp_path, create, "COMMENT ON FUNCTION public.f() IS 'f() does it';\n"))
    with pytest.raises(UsageError, match=r"0003_do_step3.sql .* f\(\) acts on the whole server"):
        assert_within(written(tmp_path, "SELECT public.f();\n", first=3))


def test_change_of_a_limit_is_refused_by_itself(tmp_path: Path) -> None:
    files = written(tmp_path, "SELECT 1; SET LOCAL lock_timeout = 0;\n")
    assert_within(files)
    with pytest.raises(UsageError, match="overrides the runner: SET LOCAL LOCK_TIMEOUT changes the limits") as refused:
        assert_limits(files)
    assert "`-- lock-timeout: 2s`" in refused.value.hint


def test_update_of_timescaledb_is_refused_with_the_verb_that_does_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        assert_within(written(tmp_path, "ALTER EXTENSION timescaledb UPDATE;\n"))
    assert "`invoke db.upgrade`" in refused.value.hint
