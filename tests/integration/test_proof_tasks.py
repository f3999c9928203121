"""The tasks that prove and describe, as an operator runs them: exit codes, formats, files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import junitparser
import pytest

from dbops.catalog import fingerprint
from dbops.settings import ROOT, Target
from tests.support import servers
from tests.support.processes import run_invoke
from tests.support.servers import TestServer, run


@pytest.fixture
def url(server: TestServer, built: Target) -> str:
    return server.url(built.database)


def test_verify_exits_with_0_and_counts(url: str) -> None:
    done = run_invoke("db.verify", "--empty", DATABASE_URL=url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"ok +structure/tables\.sql +\d+ passed", done.stdout)
    assert re.search(r"ok +\d+ checks passed in ", done.stdout)


def test_verify_exits_with_1_and_says_expected_and_actual(url: str, built: Target) -> None:
    run(built, "DROP TABLE recommendation_outcomes")
    run(built, "INSERT INTO tickers (symbol) VALUES ('A')")
    done = run_invoke("db.verify", "--empty", "--format", "json", DATABASE_URL=url)
    assert done.returncode == 1
    failed = {check["name"]: check for check in json.loads(done.stdout)["checks"] if not check["passed"]}
    assert failed["table public.recommendation_outcomes"]["actual"] == "missing"
    assert failed["rows public.tickers"]["expected"] == "0 rows"
    text = run_invoke("db.verify", "--empty", DATABASE_URL=url)
    assert text.returncode == 1
    assert "rows public.tickers" in text.stdout
    assert "0 rows" in text.stdout


def test_verify_writes_junit_to_a_file_and_still_shows_the_table(url: str, tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text("an older result")
    done = run_invoke("db.verify", "--format", "junit", "--output", str(path), DATABASE_URL=url)
    assert done.returncode == 0
    assert "checks passed" in done.stdout
    assert sum(suite.tests for suite in junitparser.JUnitXml.fromfile(str(path))) > 100
    alone = run_invoke("db.verify", "--format", "junit", DATABASE_URL=url)
    assert sum(suite.tests for suite in junitparser.JUnitXml.fromstring(alone.stdout.encode())) > 100


def test_result_of_an_earlier_run_does_not_outlive_a_run_that_breaks(url: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"passed": true}')
    done = run_invoke("db.verify", "--output", str(path), DATABASE_URL=url.replace("dbname=", "dbname=no_such_"))
    assert done.returncode == 3
    assert path.read_text() == ""


def test_output_that_cannot_be_written_is_reported_before_anything_runs(url: str, tmp_path: Path) -> None:
    done = run_invoke("db.verify", "--output", str(tmp_path / "no" / "such"), DATABASE_URL=url)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "cannot write the result" in done.stderr


def test_full_disk_is_reported_in_three_lines(url: str) -> None:
    for task in ("db.verify", "db.diagram"):
        done = run_invoke(task, "--output", "/dev/full", DATABASE_URL=url)
        assert done.returncode == 2, done.stderr
        assert "error: cannot write the result: No space left on device\n  --> /dev/full\nhint: " in done.stderr
        assert "Traceback" not in done.stderr


def test_list_and_only_name_check_files(url: str) -> None:
    listed = run_invoke("db.verify", "--list", "--empty", DATABASE_URL=url)
    for path in (ROOT / "db" / "verify").glob("*/*.sql"):
        assert f"{path.parent.name}/{path.name}" in listed.stdout
    of_one = run_invoke("db.verify", "--list", "--only", "tables", "--format", "json", DATABASE_URL=url)
    assert [file["name"] for file in json.loads(of_one.stdout)["files"]] == ["structure/tables.sql"]
    chosen = run_invoke("db.verify", "--only", "tables,structure/types.sql", "--format", "json", DATABASE_URL=url)
    assert {check["file"] for check in json.loads(chosen.stdout)["checks"]} == {
        "structure/tables.sql",
        "structure/types.sql",
    }
    unknown = run_invoke("db.verify", "--only", "tabels", DATABASE_URL=url)
    assert unknown.returncode == 2
    assert "db.verify --list" in unknown.stderr


@pytest.mark.slow
def test_drift_exits_with_1_even_if_only_the_order_of_columns_differs(url: str, built: Target) -> None:
    run(built, "ALTER TABLE tickers DROP COLUMN sector")
    done = run_invoke("db.drift", DATABASE_URL=url)
    assert done.returncode == 1
    assert "-    column sector: character varying(100)" in done.stdout.splitlines()
    run(built, "ALTER TABLE tickers ADD COLUMN sector varchar(100)")
    again = run_invoke("db.drift", "--format", "json", DATABASE_URL=url)
    assert [item["name"] for item in json.loads(again.stdout)["objects"]] == ["table public.tickers"]


def test_fingerprint_is_one_line_hashes_the_text_and_needs_no_more_than_connect(
    server: TestServer, built: Target, url: str
) -> None:
    printed = run_invoke("db.fingerprint", DATABASE_URL=url).stdout
    assert re.fullmatch(r"[0-9a-f]{64}\n", printed)
    role = servers.fresh_name("reader")
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        reader = f"{url} user={role} password=x"
        done = run_invoke("db.fingerprint", "--text", "--format", "json", DATABASE_URL=reader)
    finally:
        server.execute(f"DROP ROLE {role}")
    data = json.loads(done.stdout)
    assert data["fingerprint"] == printed.strip() == fingerprint(data["text"])


@pytest.mark.slow
def test_rebuild_is_repeated_as_often_as_the_option_says(server: TestServer, target: Target) -> None:
    done = run_invoke("db.rebuild", "--repeat", "2", "--format", "json", DATABASE_URL=server.url(target.database))
    assert (done.returncode, json.loads(done.stdout)["repeated"]) == (0, 2), done.stderr


def test_diagram_writes_the_file_that_is_named(url: str, tmp_path: Path) -> None:
    path = tmp_path / "schema.md"
    done = run_invoke("db.diagram", "--output", str(path), DATABASE_URL=url)
    assert done.returncode == 0
    assert path.read_text() == (ROOT / "docs" / "schema.md").read_text()
