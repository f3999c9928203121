"""db.migrate --verify: all of db.verify runs before the last commit, which is rolled back if a check fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dbops import catalog, label
from dbops.catalog.expected import document
from dbops.database import existing, schema
from dbops.errors import CheckError, UsageError
from dbops.migrations.files import discover
from dbops.migrations.options import MigrationOptions
from dbops.settings import MIGRATIONS, SCHEMA, Target
from tests.support import servers
from tests.support.servers import TestServer

NEXT = (
    "-- Why: more.\n-- Locks: none\nCREATE TABLE public.more (id integer);\nCOMMENT ON TABLE public.more IS 'More';\n"
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return the migrations with one more."""
    shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    (tmp_path / "migrations" / "0007_create_more.sql").write_text(NEXT)
    return tmp_path / "migrations"


def schema_of(target: Target) -> str:
    with servers.connect(target) as connection:
        return catalog.schema_text(connection)


def test_schema_that_differs_from_the_expected_one_is_rolled_back(built: Target, directory: Path) -> None:
    before = schema_of(built)
    with pytest.raises(CheckError, match="would not be as expected: 1 of") as different:
        existing.migrate(built, discover(directory), verify=True)
    assert different.value.notes[0].startswith("table public.more: expected (nothing), is table public.more")
    assert different.value.state == "Nothing was applied."
    assert schema_of(built) == before


def test_schema_that_is_the_expected_one_is_committed(built: Target, directory: Path) -> None:
    files = discover(directory)
    path = directory.parent / "schema.txt"
    path.write_text(schema.new_schema(built, files, path).content)
    assert existing.migrate(built, files, verify=True, schema=path).applied
    assert not schema.drift(built, files, schema=path).found


def test_stray_table_is_refused_where_nothing_is_pending(built: Target) -> None:
    servers.run(built, "CREATE TABLE public.stray (id integer)")
    with pytest.raises(CheckError, match="would not be as expected"):
        existing.migrate(built, discover(MIGRATIONS), verify=True)


def test_check_files_run_before_the_commit_too(built: Target, directory: Path) -> None:
    """A default that is not in the hand-written check: the file db/schema.txt alone would let it pass."""
    (directory / "0007_create_more.sql").write_text(
        "-- Why: more.\n-- Locks: ACCESS EXCLUSIVE on public.tickers\n"
        "ALTER TABLE public.tickers ALTER COLUMN is_active SET DEFAULT false;\n"
    )
    files = discover(directory)
    path = directory.parent / "schema.txt"
    path.write_text(schema.new_schema(built, files, path).content)
    with pytest.raises(CheckError, match="would not be as expected: 1 of") as different:
        existing.migrate(built, files, verify=True, schema=path)
    assert different.value.notes[0].startswith("column public.tickers.is_active")


def test_new_database_is_labelled_before_it_is_verified(empty: Target) -> None:
    assert existing.migrate(empty, discover(MIGRATIONS), MigrationOptions(check=True), verify=True).applied
    assert existing.migrate(empty, discover(MIGRATIONS), verify=True).applied
    with servers.connect(empty) as connection:
        assert label.read(connection) == label.Label("dev", native=True)


def test_check_of_nothing_leaves_the_label_of_a_copy_as_it_is(server: TestServer, built: Target) -> None:
    label_of_copy = '\'{"environment": "dev", "system_identifier": "1"}\''
    server.execute(f"COMMENT ON SCHEMA dbops IS {label_of_copy}", built.database)
    check = MigrationOptions(check=True)
    assert existing.migrate(built, discover(MIGRATIONS), check, verify=True).applied == ()
    with servers.connect(built) as connection:
        assert label.read(connection) == label.Label("dev", native=False)


def test_earlier_commits_stay_and_are_named_where_the_last_file_makes_the_difference(
    built: Target, directory: Path
) -> None:
    (directory / "0008_create_most.sql").write_text(NEXT.replace("more", "most"))
    with pytest.raises(CheckError, match="would not be as expected: 2 of") as different:
        existing.migrate(built, discover(directory), MigrationOptions(commit="file"), verify=True)
    assert "0007_create_more is committed" in different.value.state
    assert "table public.more" in schema_of(built)
    assert "table public.most" not in schema_of(built)


def test_file_outside_a_transaction_cannot_be_the_last_one_that_is_verified(built: Target, directory: Path) -> None:
    (directory / "0008_index_more.sql").write_text(
        "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY more_id_idx ON public.more (id);\n"
    )
    with pytest.raises(UsageError, match="0008_index_more runs outside a transaction"):
        existing.migrate(built, discover(directory), verify=True)
    assert "table public.more" not in schema_of(built)


def test_expected_schema_is_read_before_anything_is_applied(built: Target, directory: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the expected schema"):
        existing.migrate(built, discover(directory), verify=True, schema=directory / "none")
    assert document("extension x\n", "y").startswith(SCHEMA.read_text().split("\n")[0])
