"""db.migrate --expect: the schema is compared with a file before the last commit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dbops import catalog, migrations, postgres
from dbops.database import existing
from dbops.errors import CheckError, UsageError
from dbops.settings import MIGRATIONS, Target

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
    with postgres.connect(target) as connection:
        return catalog.schema_text(connection)


def test_schema_that_differs_from_the_expected_one_is_rolled_back(built: Target, directory: Path) -> None:
    before = schema_of(built)
    expected = directory.parent / "schema.txt"
    expected.write_text(before)
    with pytest.raises(CheckError, match="would differ from the expected one in 1 object") as different:
        existing.migrate(built, migrations.discover(directory), expect=expected)
    assert different.value.notes == ("extra: table public.more",)
    assert different.value.state == "Nothing was applied."
    assert schema_of(built) == before


def test_schema_that_is_the_expected_one_is_committed(built: Target, directory: Path) -> None:
    files = migrations.discover(directory)
    assert existing.migrate(built, files, migrations.Options(commit="file")).applied
    expected = directory.parent / "schema.txt"
    expected.write_text(schema_of(built))
    assert not existing.migrate(built, files, expect=expected).applied


def test_earlier_commits_stay_and_are_named_where_the_last_file_makes_the_difference(
    built: Target, directory: Path
) -> None:
    expected = directory.parent / "schema.txt"
    expected.write_text(schema_of(built))
    (directory / "0008_create_most.sql").write_text(NEXT.replace("more", "most"))
    with pytest.raises(CheckError, match="in 2 objects") as different:
        existing.migrate(built, migrations.discover(directory), migrations.Options(commit="file"), expect=expected)
    assert "0007_create_more is committed" in different.value.state
    assert "table public.more" in schema_of(built)
    assert "table public.most" not in schema_of(built)


def test_file_outside_a_transaction_cannot_be_the_last_one_that_is_compared(built: Target, directory: Path) -> None:
    expected = directory.parent / "schema.txt"
    expected.write_text(schema_of(built))
    (directory / "0008_index_more.sql").write_text(
        "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY more_id_idx ON public.more (id);\n"
    )
    with pytest.raises(UsageError, match="0008_index_more runs outside a transaction"):
        existing.migrate(built, migrations.discover(directory), expect=expected)
    assert "table public.more" not in schema_of(built)
