"""A server that offers two versions of TimescaleDB, made of the one that is installed, in a tree of its own.

The second version is the first one under another number of the same length: library, script, and an update script made
of the one that leads to the first. Which of them a new database gets, and which are there, changes as with packages.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from dbops.server.find import Installation
from tests.support import servers
from tests.support.servers import TestServer


@dataclass(frozen=True)
class Packages:
    """The installed versions of TimescaleDB in a copy of PostgreSQL's tree; `old` is the real one."""

    installation: Installation
    old: str
    new: str

    @cached_property
    def libraries(self) -> Path:
        """Return the directory of libraries."""
        return self.installation.binaries.parent / "lib"

    @cached_property
    def extensions(self) -> Path:
        """Return the directory of scripts and control files."""
        home = self.installation.binaries.parent
        return home.parents[2] / "share" / "postgresql" / home.name / "extension"

    def install(self, version: str) -> None:
        """Install a version, and let databases have it by default."""
        library, script = (
            self._pristine(name) for name in (f"timescaledb-{self.old}.so", f"timescaledb--{self.old}.sql")
        )
        self._write(self.libraries / f"timescaledb-{version}.so", library, version)
        self._write(self.extensions / f"timescaledb--{version}.sql", script, version)
        control = self.extensions / "timescaledb.control"
        text = re.sub(r"(default_version = '|timescaledb-)[\d.]+", rf"\g<1>{version}", control.read_text())
        control.unlink()
        control.write_text(text)

    def remove(self, version: str) -> None:
        """Remove a version's library, as the package of another version does."""
        (self.libraries / f"timescaledb-{version}.so").unlink(missing_ok=True)

    def _pristine(self, name: str) -> Path:
        return self.extensions.parent / "pristine" / name

    def _write(self, path: Path, source: Path, version: str) -> None:
        # A new file: what runs has the old one mapped.
        path.unlink(missing_ok=True)
        path.write_bytes(source.read_bytes().replace(self.old.encode(), version.encode()))


@contextmanager
def two_versions() -> Iterator[tuple[TestServer, Packages]]:
    """Start a server with the installed version, and yield it with the packages that can be changed meanwhile."""
    with servers.reachable_directory() as root:
        packages = _copied(root)
        with servers.throwaway_server(installation=packages.installation) as server:
            yield server, packages


def _copied(root: Path) -> Packages:
    """Make a tree of links to PostgreSQL's files, with programs and TimescaleDB of its own."""
    original = servers.local_installation()
    old = original.timescaledb
    new = f"{old[:-1]}{(int(old[-1]) + 1) % 10}"
    source = original.binaries.parent
    share = Path("/usr/share/postgresql") / source.name
    home = root / "lib" / "postgresql" / source.name
    copied = root / "share" / "postgresql" / source.name
    ignore = shutil.ignore_patterns("timescaledb*")
    # PostgreSQL finds its files relative to its own executable, so that one is no link.
    shutil.copytree(
        source, home, ignore=lambda d, names: {*ignore(d, names), *({"bin"} & set(names))}, copy_function=os.symlink
    )
    shutil.copytree(source / "bin", home / "bin")
    shutil.copytree(share, copied, ignore=ignore, copy_function=os.symlink)
    pristine = copied / "pristine"
    pristine.mkdir()
    packages = Packages(replace(original, binaries=home / "bin"), old, new)
    for file in (*(source / "lib").glob("timescaledb*"), *(share / "extension").glob("timescaledb*")):
        if file.name in (f"timescaledb-{old}.so", f"timescaledb--{old}.sql"):
            shutil.copy(file, pristine)
        elif file.name in ("timescaledb.so", "timescaledb.control"):
            shutil.copy(file, (packages.libraries if file.suffix == ".so" else packages.extensions))
    before = max((share / "extension").glob(f"timescaledb--*--{old}.sql"), key=_numbers)
    update = before.read_text().replace(old, new).replace(before.name.split("--")[1], old)
    (packages.extensions / f"timescaledb--{old}--{new}.sql").write_text(update)
    packages.install(old)
    return packages


def _numbers(script: Path) -> tuple[int, ...]:
    """Return the version that an update script starts from, for comparison."""
    return tuple(int(number) for number in script.name.split("--")[1].split("."))
