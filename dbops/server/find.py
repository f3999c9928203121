"""Which PostgreSQL installations this machine has, and whether they offer TimescaleDB."""

from __future__ import annotations

import os
import re
import subprocess
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


def find_installations(search_path: str, locations: tuple[str, ...] = LOCATIONS) -> tuple[Installation, ...]:
    """Return the installations from PostgreSQL 15 on that offer TimescaleDB, the preferred one first.

    They are looked for in the usual directories and in those of `search_path`, which is as PATH.
    """
    usual = [path for pattern in locations for path in sorted(Path("/").glob(pattern.lstrip("/")))]
    directories = [*usual, *(Path(entry) for entry in search_path.split(os.pathsep) if entry)]
    once = {directory.resolve(): directory for directory in directories}
    found = [installation for directory in once.values() if (installation := inspect_programs(directory))]
    return tuple(sorted(found, key=lambda i: (i.major != PREFERRED, i.major)))


def inspect_programs(binaries: Path) -> Installation | None:
    """Return what a directory of programs offers, or None if that is too old or has no complete TimescaleDB."""
    if not all(os.access(binaries / program, os.X_OK) for program in PROGRAMS):
        return None
    command = [str(binaries / "pg_config"), "--version", "--sharedir", "--pkglibdir"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    version = re.match(r"PostgreSQL ((\d+)(\.\d+)?)", lines[0]) if len(lines) == 3 else None
    if not version or int(version[2]) < OLDEST:
        return None
    extensions, libraries = Path(lines[1]) / "extension", Path(lines[2])
    try:
        control = (extensions / "timescaledb.control").read_text()
    except OSError:
        return None
    named = re.search(r"(?m)^default_version\s*=\s*'([^']+)'", control)
    if not named:
        return None
    complete = (
        any(libraries.glob("timescaledb.*"))
        and any(libraries.glob(f"timescaledb-{named[1]}.*"))
        and (extensions / f"timescaledb--{named[1]}.sql").is_file()
    )
    return Installation(binaries, version[1], named[1]) if complete else None
