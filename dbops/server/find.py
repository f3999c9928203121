"""Which PostgreSQL installations this machine has, and whether they offer TimescaleDB."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OLDEST = 15
PREFERRED = 15
PROGRAMS = ("postgres", "initdb", "pg_ctl", "pg_config")
LOCATIONS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/usr/local/pgsql/bin",
)


@dataclass(frozen=True, slots=True)
class Installation:
    """A PostgreSQL server's programs, and the TimescaleDB version that it would create."""

    binaries: Path
    version: str
    timescaledb: str

    @property
    def major(self) -> int:
        """Return the major version, as in 15."""
        return int(self.version.split(".")[0])


def find(search_path: str, locations: tuple[str, ...] = LOCATIONS) -> tuple[Installation, ...]:
    """Return the installations from PostgreSQL 15 on that offer TimescaleDB, the preferred one first."""
    seen = {directory.resolve(): directory for directory in _directories(search_path, locations)}
    found = [installation for directory in seen.values() if (installation := inspect(directory))]
    return tuple(sorted(found, key=lambda i: (i.major != PREFERRED, i.major)))


def inspect(binaries: Path) -> Installation | None:
    """Return what a directory of programs offers, or None if that is too old or has no TimescaleDB."""
    if not all(os.access(binaries / program, os.X_OK) for program in PROGRAMS):
        return None
    command = [str(binaries / "pg_config"), "--version", "--sharedir", "--pkglibdir"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = answer.stdout.splitlines()
    version = re.match(r"PostgreSQL (\d+)(?:\.\d+)?", lines[0]) if len(lines) == 3 else None
    if not version or int(version[1]) < OLDEST:
        return None
    timescaledb = _timescaledb(Path(lines[1]) / "extension", Path(lines[2]))
    return Installation(binaries, version[0].split()[1], timescaledb) if timescaledb else None


def _timescaledb(extensions: Path, libraries: Path) -> str:
    """Return the version that the control file names, if its loader, library and script are all there."""
    try:
        control = (extensions / "timescaledb.control").read_text()
    except OSError:
        return ""
    named = re.search(r"(?m)^default_version\s*=\s*'([^']+)'", control)
    version = named[1] if named else ""
    complete = (
        any(libraries.glob("timescaledb.*"))
        and any(libraries.glob(f"timescaledb-{version}.*"))
        and (extensions / f"timescaledb--{version}.sql").is_file()
    )
    return version if complete else ""


def _directories(search_path: str, locations: tuple[str, ...]) -> Iterator[Path]:
    """Yield where programs may be: the usual directories, then PATH."""
    for pattern in locations:
        yield from sorted(Path("/").glob(pattern.lstrip("/")))
    for entry in filter(None, search_path.split(os.pathsep)):
        yield Path(entry)
