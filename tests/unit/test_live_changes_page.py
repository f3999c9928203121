"""docs/live-changes.md: what it tells to write passes lint."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.lint import check
from dbops.migrations.files import discover
from dbops.settings import ROOT
from tests.support import live_changes

SECTIONS = live_changes.sections()


@pytest.mark.parametrize("title", SECTIONS)
def test_sequence_passes_lint(title: str, tmp_path: Path) -> None:
    baseline = sorted((ROOT / "db" / "migrations").glob("000[1-6]_*.sql"))
    files = {step.name: step.sql for step in SECTIONS[title] if step.name}
    for name, text in {**{path.name: path.read_text() for path in baseline}, **files}.items():
        (tmp_path / name).write_text(text)
    assert check.lint_files([tmp_path / name for name in files]) == ([], [])
    assert [migration.path.name for migration in discover(tmp_path)][6:] == list(files)


def test_page_has_a_section_for_each_change_that_is_asked_for() -> None:
    assert list(SECTIONS) == ["A column that is NOT NULL", "A foreign key", "An index on a hypertable", "Another type"]
    assert sum(not step.name for steps in SECTIONS.values() for step in steps) == 2
