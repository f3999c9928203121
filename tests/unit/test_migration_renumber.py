"""`db.new --renumber FILE`: after a merge, a file that is not released gets the number after all others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dbops import settings
from dbops.errors import UsageError
from dbops.migrations.files import discover, renumber
from dbops.settings import ROOT
from tests.support.processes import run_invoke


def files(directory: Path, *names: str) -> Path:
    """Write a file for each name, whose text tells the name that it was written with."""
    for name in names:
        (directory / f"{name}.sql").write_text(f"SELECT '{name}';\n")
    return directory


def left(directory: Path) -> dict[str, str]:
    """Return the files' names now, by the names that they were written with."""
    return {path.read_text().split("'")[1]: path.stem for path in sorted(directory.iterdir())}


def changed(directory: Path) -> dict[str, str]:
    return {old: new for old, new in left(directory).items() if old != new}


def test_file_that_shares_a_number_comes_after_all_others(tmp_path: Path) -> None:
    files(tmp_path, "0001_do_a", "0002_do_mine", "0002_do_theirs", "0003_do_theirs")
    renamed = renumber(tmp_path, "0002_do_mine.sql").renamed
    assert renamed == ((tmp_path / "0002_do_mine.sql", tmp_path / "0004_do_mine.sql"),)
    assert changed(tmp_path) == {"0002_do_mine": "0004_do_mine"}
    assert len(discover(tmp_path)) == 4


def test_two_files_keep_their_order_if_renumbered_in_order(tmp_path: Path) -> None:
    files(tmp_path, "0001_do_a", "0002_do_mine", "0003_do_mine", "0002_do_theirs")
    renumber(tmp_path, "0002_do_mine.sql")
    renumber(tmp_path, "0003_do_mine.sql")
    assert changed(tmp_path) == {"0002_do_mine": "0003_do_mine", "0003_do_mine": "0004_do_mine"}
    assert [migration.version for migration in discover(tmp_path)] == [1, 2, 3, 4]


def test_two_files_beside_two_of_theirs_keep_their_order(tmp_path: Path) -> None:
    files(tmp_path, "0001_do_a", "0002_do_mine", "0003_do_mine", "0002_do_theirs", "0003_do_theirs")
    renumber(tmp_path, "0002_do_mine.sql")
    renumber(tmp_path, "0003_do_mine.sql")
    assert changed(tmp_path) == {"0002_do_mine": "0004_do_mine", "0003_do_mine": "0005_do_mine"}
    assert len(discover(tmp_path)) == 5


def test_last_file_stays(tmp_path: Path) -> None:
    files(tmp_path, "0001_do_a", "0002_do_mine")
    assert renumber(tmp_path, "0002_do_mine.sql").renamed == ()
    assert changed(tmp_path) == {}


def test_file_above_a_gap_moves_down(tmp_path: Path) -> None:
    files(tmp_path, "0001_do_a", "0004_do_mine")
    renumber(tmp_path, "0004_do_mine.sql")
    assert changed(tmp_path) == {"0004_do_mine": "0002_do_mine"}


def test_path_is_accepted_for_a_name_and_other_files_do_not_matter(tmp_path: Path) -> None:
    files(tmp_path, "0001_do_a", "0001_do_mine", "notes", "0009_misnamed")
    renumber(tmp_path, str(tmp_path / "0001_do_mine.sql"))
    assert changed(tmp_path) == {"0001_do_mine": "0002_do_mine"}


def test_numbers_grow_beyond_four_digits(tmp_path: Path) -> None:
    files(tmp_path, "9999_do_a", "9999_do_mine")
    renumber(tmp_path, "9999_do_mine.sql")
    assert changed(tmp_path) == {"9999_do_mine": "10000_do_mine"}


@pytest.mark.parametrize("name", ["0002_do_mine.sql", "0001_do_a", "", "../0001_do_b.sql"])
def test_file_that_is_not_there_is_wrong_usage(tmp_path: Path, name: str) -> None:
    files(tmp_path, "0001_do_a")
    with pytest.raises(UsageError, match="no migration"):
        renumber(tmp_path, name)
    assert changed(tmp_path) == {}


def test_released_file_keeps_its_number(tmp_path: Path) -> None:
    files(tmp_path, "0001_do_a", "0002_do_b", "0002_do_mine", "0003_do_mine")
    released = ("0001_do_a.sql", "0002_do_b.sql")
    with pytest.raises(UsageError, match=r"0002_do_b\.sql is released"):
        renumber(tmp_path, "0002_do_b.sql", released=released)
    with pytest.raises(UsageError, match=r"0001_do_a\.sql is released"):
        renumber(tmp_path, "0001_do_a.sql", released=released)
    assert changed(tmp_path) == {}
    renumber(tmp_path, "0002_do_mine.sql", released=released)
    assert changed(tmp_path) == {"0002_do_mine": "0004_do_mine"}


@pytest.mark.parametrize("output", ["text", "json"])
def test_task_renumbers_only_a_migration_that_is_there(output: str) -> None:
    done = run_invoke("db.new", "--renumber", "9999_do_nothing.sql", "--format", output)
    assert done.returncode == 2
    assert 'no migration "9999_do_nothing.sql"' in done.stdout + done.stderr.replace("\\", "")


def test_task_says_that_the_last_file_is_the_last() -> None:
    last = sorted((ROOT / "db" / "migrations").glob("*.sql"))[-1].name
    done = run_invoke("db.new", "--renumber", last)
    assert (done.returncode, done.stdout) == (0, f"{last} is the last file already.\n")


def test_task_asks_git_what_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "migrations").mkdir()
    files(tmp_path / "migrations", "0001_do_a", "0002_do_b")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "c"], ["tag", "v1.0.0"]):
        subprocess.run([*git, *words], check=True)
    files(tmp_path / "migrations", "0002_do_mine")
    monkeypatch.setattr(settings, "MIGRATIONS", tmp_path / "migrations")
    done = run_invoke("db.new", "--renumber", "0002_do_b.sql")
    assert (done.returncode, "0002_do_b.sql is released" in done.stderr) == (2, True)
    assert changed(tmp_path / "migrations") == {}
    assert run_invoke("db.new", "--renumber", "0002_do_mine.sql").returncode == 0
    assert changed(tmp_path / "migrations") == {"0002_do_mine": "0003_do_mine"}
