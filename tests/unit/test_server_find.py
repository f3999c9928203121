import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dbops.server.find import find_installations

PG_CONFIG = """#!/bin/sh
echo "PostgreSQL {version}"
echo "{root}/share"
echo "{root}/lib"
"""


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Path]:
    """Return what puts a PostgreSQL of a version on a pretended machine, complete with TimescaleDB."""

    def install(version: str, suffix: str = "so") -> Path:
        root = tmp_path / version
        binaries, extensions, libraries = root / "bin", root / "share" / "extension", root / "lib"
        for directory in (binaries, extensions, libraries):
            directory.mkdir(parents=True)
        for program in ("postgres", "initdb", "pg_ctl", "pg_config"):
            (binaries / program).write_text(PG_CONFIG.format(version=version, root=root))
            (binaries / program).chmod(0o755)
        (extensions / "timescaledb.control").write_text("default_version = '2.19.3'\n")
        (extensions / "timescaledb--2.19.3.sql").touch()
        (libraries / f"timescaledb.{suffix}").touch()
        (libraries / f"timescaledb-2.19.3.{suffix}").touch()
        return root

    return install


def found(tmp_path: Path, search_path: str = "") -> list[tuple[int, str]]:
    return [(i.major, i.timescaledb) for i in find_installations(search_path, (f"{tmp_path}/*/bin",))]


def test_postgresql_15_is_preferred_then_the_oldest(tmp_path: Path, machine: Callable[..., Path]) -> None:
    for version in ("17.2", "15.20 (Debian 15.20-0+deb12u1)", "16.4"):
        machine(version)
    assert [major for major, _ in found(tmp_path)] == [15, 16, 17]


def test_old_and_unreadable_versions_do_not_count(tmp_path: Path, machine: Callable[..., Path]) -> None:
    machine("14.9")
    machine("nonsense")
    assert found(tmp_path) == []


def test_libraries_of_macos_count(tmp_path: Path, machine: Callable[..., Path]) -> None:
    machine("17.2", suffix="dylib")
    assert found(tmp_path) == [(17, "2.19.3")]


@pytest.mark.parametrize(
    "missing",
    [
        "share/extension/timescaledb.control",
        "share/extension/timescaledb--2.19.3.sql",
        "lib/timescaledb.so",
        "lib/timescaledb-2.19.3.so",
        "bin/initdb",
    ],
)
def test_half_installed_timescaledb_does_not_count(tmp_path: Path, machine: Callable[..., Path], missing: str) -> None:
    root = machine("15.20")
    assert found(tmp_path) == [(15, "2.19.3")]
    (root / missing).unlink()
    assert found(tmp_path) == []


def test_programs_on_the_path_count_once(tmp_path: Path, machine: Callable[..., Path]) -> None:
    root = machine("15.20")
    shutil.copytree(root / "bin", tmp_path / "link" / "deep", symlinks=True)
    assert len(find_installations(f"{root}/bin:{root}/bin/../bin:/nowhere", (f"{tmp_path}/15*/bin",))) == 1
