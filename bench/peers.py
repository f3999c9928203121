"""Other tools that apply migrations: taken from npm, given the same files."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from bench.measure import say

DIRECTORY = platformdirs.user_cache_path("kapman-dbops") / "peers"
CREATE = 'dropdb --if-exists --force "$0" && createdb "$0" && '


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool: its version, how to write files for it, and the shell line that rebuilds the database named by `$0`.

    The line runs in the files' directory; PGHOST, PGPORT and PGUSER name the server.
    """

    name: str
    version: str
    write: Callable[[Path, Sequence[tuple[str, str]]], None]
    line: str


def available() -> tuple[tuple[Peer, ...], dict[str, str]]:
    """Install the other tools; return those that are there now, and why the others are not."""
    peers: list[Peer] = []
    missing: dict[str, str] = {}
    for name, find in (("dbmate", _dbmate), ("node-pg-migrate", _node_pg_migrate)):
        try:
            peers.append(find())
        except (OSError, subprocess.CalledProcessError) as error:
            missing[name] = str(error)
            if isinstance(error, subprocess.CalledProcessError):
                missing[name] = f"{Path(str(error.cmd[0])).name} ended with exit code {error.returncode}"
            say(f"{name} is left out: {missing[name]}")
    return tuple(peers), missing


def _run(*command: str | Path) -> str:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=environ, stdin=subprocess.DEVNULL)
    return result.stdout


def _npm(package: str, *others: str) -> tuple[Path, str]:
    """Install a package from npm and return the program of its name and its version."""
    home = DIRECTORY / package
    if not (home / "node_modules" / package).exists():
        home.mkdir(parents=True, exist_ok=True)
        _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", home, package, *others)
    version = json.loads((home / "node_modules" / package / "package.json").read_text())["version"]
    return home / "node_modules" / ".bin" / package, version


def _dbmate() -> Peer:
    launcher, version = _npm("dbmate")
    # The launcher is a script of Node.js that starts the program proper: take that one.
    found = [path for path in launcher.parent.parent.glob("@dbmate/*/bin/dbmate*") if os.access(path, os.X_OK)]
    program = found[0] if found else launcher

    def write(directory: Path, files: Sequence[tuple[str, str]]) -> None:
        for name, text in files:
            (directory / f"{name}.sql").write_text(f"-- migrate:up\n{text}\n-- migrate:down\n")

    options = f'"{program}" --url "postgres:///$0?user=postgres&host=$PGHOST&port=$PGPORT" -d . --no-dump-schema'
    return Peer("dbmate", version, write, f"{options} drop && {options} up")


def _node_pg_migrate() -> Peer:
    program, version = _npm("node-pg-migrate", "pg")

    def write(directory: Path, files: Sequence[tuple[str, str]]) -> None:
        for name, text in files:
            (directory / f"{name}.sql").write_text(f"-- Up Migration\n{text}\n")

    line = f'{CREATE} DATABASE_URL="postgres://postgres@/$0?host=$PGHOST" "{program}" up -m .'
    return Peer("node-pg-migrate", version, write, line)
