"""Drift: what differs from a fresh build is shown by object, and the target is only read."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import jsonschema
import pytest
from psycopg import sql
from rich.console import Console

from dbops import catalog
from dbops.catalog.drift import Drift
from dbops.catalog.expected import document
from dbops.database.schema import built_from, drift
from dbops.errors import DbopsError, PreflightError, UsageError
from dbops.migrations.files import discover
from dbops.migrations.run import migrate
from dbops.report import json as machine
from dbops.report import text
from dbops.settings import ROOT, Target
from tests.support import operators, servers
from tests.support.servers import TestServer, run

CHANGED = (
    "the database was changed by hand: keep a change with `invoke db.new NAME`,"
    " discard all of them with `invoke db.rebuild`"
)
FILES = discover(ROOT / "db" / "migrations")
SCHEMA = json.loads((ROOT / "docs" / "drift.schema.json").read_text(encoding="utf-8"))


def drawn(result: Drift, *, colour: bool = False) -> str:
    console = Console(file=io.StringIO(), width=110, force_terminal=colour, color_system="standard" if colour else None)
    with console.capture() as capture:
        text.drift(result, console)
    return capture.get()


def test_fresh_build_has_no_drift_and_is_only_read(built: Target, server: TestServer) -> None:
    server.execute(f'ALTER DATABASE "{built.database}" SET default_transaction_read_only = on')
    result = drift(built, FILES, schema=None)
    assert not result.found
    assert result.expected_fingerprint == result.actual_fingerprint
    assert "no drift" in drawn(result)
    jsonschema.validate(machine.drift(result), SCHEMA)
    assert operators.scratch_databases(server) == []


def test_drift_is_a_unified_diff_by_object(built: Target) -> None:
    run(
        built,
        "ALTER TABLE tickers ALTER symbol TYPE varchar(21)",
        "DROP TYPE outcome_status CASCADE",
        "CREATE VIEW v AS SELECT 1",
    )
    result = drift(built, FILES, schema=None)
    assert [(item.name, item.change) for item in result.objects] == [
        ("table public.recommendation_outcomes", "changed"),
        ("table public.tickers", "changed"),
        ("type public.outcome_status", "missing"),
        ("view public.v", "extra"),
    ]
    lines = drawn(result).splitlines()
    assert lines[0] == "--- a fresh build of 0001_create_timescaledb_extension to 0006_add_constraints"
    assert lines[1] == f"+++ {built}"
    assert "-    column symbol: character varying(20) not null" in lines
    assert "+    column symbol: character varying(21) not null" in lines
    assert lines[lines.index("extra view public.v") + 1] == "+view public.v"
    assert not [line for line in lines if line.startswith("@@")]
    assert "\x1b[31m-    column symbol: character varying(20) not null\x1b[0m" in drawn(result, colour=True)
    assert lines[-3] == "  FAIL    drift: 4 objects differ (2 changed, 1 extra, 1 missing)"
    assert result.advice == (CHANGED,)
    jsonschema.validate(machine.drift(result), SCHEMA)
    assert machine.drift(result)["drift"] is True


@pytest.mark.slow
def test_drift_shows_beside_line_breaks_in_defaults_and_names(built: Target, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "db" / "migrations", tmp_path, dirs_exist_ok=True)
    table = "CREATE TABLE public.{name} (a text DEFAULT E'1\\n\\nend', b integer);\n"
    (tmp_path / "0007_break_lines.sql").write_text(
        "-- why: a test\n-- needs: nothing\n-- locks: none\n"
        + "".join(table.format(name=name) for name in ("one", "two", '"3\n\n4"', '"3\n\n5"'))
    )
    files = discover(tmp_path)
    migrate(built, files)
    assert not drift(built, files, schema=None).found
    run(built, "ALTER TABLE one ALTER b TYPE bigint", 'ALTER TABLE "3\n\n4" ALTER b TYPE bigint')
    result = drift(built, files, schema=None)
    assert result.found
    assert [item.name for item in result.objects] == ['table public."3\\n\\n4"', "table public.one"]


@pytest.mark.slow
def test_pending_migration_is_not_drift(built: Target, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "db" / "migrations", tmp_path, dirs_exist_ok=True)
    change_file = tmp_path / "0007_create_ghosts.sql"
    change_file.write_text(
        "-- why: a test\n-- needs: nothing\n-- locks: none\nCREATE TABLE public.ghosts (a integer);\n"
    )
    files = discover(tmp_path)
    result = drift(built, files, schema=None)
    assert not result.found
    assert result.pending == ("0007_create_ghosts",)
    assert "compared without what is pending: 0007_create_ghosts" in drawn(result)
    migrate(built, files)
    after = drift(built, files, schema=None)
    assert (after.found, after.pending) == (False, ())
    assert [item.name for item in drift(built, FILES, schema=None).objects] == ["table public.ghosts"]


def test_database_without_a_ledger_is_compared_with_all_migrations(empty: Target) -> None:
    result = drift(empty, FILES, schema=None)
    assert "table public.tickers" in {item.name for item in result.objects if item.change == "missing"}
    assert len(result.built) == len(FILES)


def test_role_that_may_not_create_databases_is_refused(built: Target, server: TestServer) -> None:
    role = servers.fresh_name("reader")
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        with pytest.raises(PreflightError, match="may not create databases") as caught:
            drift(server.target(built.database, user=role, password="x"), FILES, schema=None)
        assert caught.value.exit_code == 3
    finally:
        server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_scratch_database_goes_away_when_the_build_fails(built: Target, server: TestServer, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "db" / "migrations", tmp_path, dirs_exist_ok=True)
    first = tmp_path / FILES[0].path.name
    first.write_text(first.read_text() + "\nSELECT oops;\n")
    with pytest.raises(DbopsError, match="oops"):
        drift(built, discover(tmp_path), schema=None)
    assert operators.scratch_databases(server) == []


def test_file_shows_drift_to_a_role_that_may_only_connect(built: Target, server: TestServer) -> None:
    run(built, "ALTER TABLE tickers ADD COLUMN isin text", "REVOKE ALL ON SCHEMA public FROM PUBLIC")
    with operators.role(server, "LOGIN") as role:
        result = drift(operators.as_role(built, role), FILES)
    assert [(item.name, item.change) for item in result.objects] == [
        ("schema public", "changed"),
        ("table public.tickers", "changed"),
    ]
    assert result.objects[1].lines == ("+    column isin: text",)
    assert drawn(result).splitlines()[0] == "--- db/schema.txt"
    assert result.advice == (f"a migration is pending, or {CHANGED}",)
    jsonschema.validate(machine.drift(result), SCHEMA)


def test_advice_is_by_cause(built: Target, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "db" / "migrations", tmp_path / "migrations")
    (tmp_path / "migrations" / "0007_create_ghosts.sql").write_text(
        "-- why: a test\n-- needs: nothing\n-- locks: none\nCREATE TABLE public.ghosts (a integer);\n"
    )
    files = discover(tmp_path / "migrations")
    path = tmp_path / "schema.txt"
    with servers.connect(built) as connection, connection.transaction(force_rollback=True):
        connection.execute("CREATE TABLE public.ghosts (a integer)")
        path.write_text(document(catalog.schema_text(connection), built_from(files)))
    assert drift(built, files, schema=path).advice == (
        "a migration is pending (0007_create_ghosts): run `invoke db.migrate`",
    )
    migrate(built, files)
    assert drift(built, files, schema=path).advice == ()
    (older,) = drift(built, files).advice
    assert older.startswith("db/schema.txt is older than the migrations: run `invoke db.fingerprint --write`")
    assert drift(built, FILES).advice == (
        "the ledger and the files disagree (0007_create_ghosts is removed): run `invoke db.status`",
    )


@pytest.mark.parametrize("text", ["", None, b"\xff", "<<<<<<< HEAD\nextension plpgsql\n"])
def test_file_that_is_not_a_schema_is_refused(built: Target, tmp_path: Path, text: str | bytes | None) -> None:
    path = tmp_path / "schema.txt"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UsageError, match=r"cannot read the expected schema|does not hold the canonical text"):
        drift(built, FILES, schema=path)
