"""Which processes run on a data directory: the pid file alone does not tell, since pids are used again."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LEFTOVER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A server's process, from its pid file.

    `port` names its socket too; `listens` says whether it takes TCP, `ready` whether it takes connections now.
    """

    pid: int
    port: int
    listens: bool
    ready: bool


def postmaster(data: Path) -> Postmaster | None:
    """Return the server that runs on a data directory, or None; a stale pid file counts for nothing."""
    lines = _pid_file(data)
    if len(lines) < 4 or not lines[0].isdigit() or not lines[3].isdigit():
        return None
    pid = int(lines[0])
    if not works_in(pid, data):
        return None
    more = [*lines[4:], "", "", "", ""]
    return Postmaster(pid, int(lines[3]), listens=bool(more[1]), ready=more[3] == "ready")


def works_in(pid: int, data: Path) -> bool:
    """Return whether a process is one of the server's: they all have the data directory as their own."""
    if (PROC / "self").exists():
        try:
            return (PROC / str(pid) / "cwd").readlink() == data.resolve()
        except OSError:
            return False
    command = ["ps", "-o", "command=", "-p", str(pid)]
    return str(data) in subprocess.run(command, capture_output=True, text=True, check=False).stdout


def clear_stale(data: Path, socket: Path) -> None:
    """Remove lock files whose pid now belongs to a stranger, once nothing works in the data directory.

    PostgreSQL itself replaces the files of a dead process; but it takes any living process of its own
    account for a server. After a postmaster was killed, its children need a moment to notice.
    """
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while _workers(data) and time.monotonic() < deadline:
        time.sleep(0.05)
    lines = _pid_file(data)
    if lines and lines[0].isdigit() and _alive(int(lines[0])) and not _workers(data):
        for stale in (data / "postmaster.pid", *socket.glob(".s.PGSQL.*")):
            stale.unlink(missing_ok=True)


def _workers(data: Path) -> list[int]:
    """Return the processes that work in a data directory; none where the system cannot tell."""
    if not PROC.is_dir():
        return []
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit() and works_in(int(entry.name), data)]


def _pid_file(data: Path) -> list[str]:
    try:
        return [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
