"""Running programs: as another account, with their output in a log, never left behind."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dbops.errors import ServerError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SERVER_ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Account:
    """The Unix account that a server runs as."""

    uid: int
    gid: int
    switch: bool = False

    @classmethod
    def current(cls) -> Account:
        """Return this process's own account, or `postgres` for root: PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        try:
            entry = pwd.getpwnam("postgres")
        except KeyError:
            raise ServerError(
                "there is no account to run the server: PostgreSQL refuses to run as root",
                where="account postgres",
                hint="Add the system account `postgres`, or run the task as an ordinary user.",
            ) from None
        return cls(entry.pw_uid, entry.pw_gid, switch=True)

    def run(self, *command: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program as this account, in a clean environment, and return its output and exit status."""
        arguments = [str(part) for part in command]
        user, group = (self.uid, self.gid) if self.switch else (None, None)
        return subprocess.run(
            arguments,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            cwd="/",
            env=SERVER_ENVIRONMENT,
            user=user,
            group=group,
            extra_groups=[] if self.switch else None,
        )

    def can_enter(self, directory: Path) -> bool:
        """Return whether this account may enter a directory, through all of its parents."""
        return self.run("/bin/sh", "-c", 'cd "$1"', "sh", directory).returncode == 0

    def own(self, path: Path) -> None:
        """Give a file, or a directory with all that is in it, to this account."""
        for parent, _, files in os.walk(path):
            for name in (".", *files):
                os.chown(Path(parent) / name, self.uid, self.gid, follow_symlinks=False)
        os.chown(path, self.uid, self.gid, follow_symlinks=False)


def logged(command: Sequence[str | Path], log: Path, cwd: Path | None = None) -> bool:
    """Run a program with its output appended to a log and no input; return whether it succeeded.

    An interruption ends the program gently and waits for it, so that a package manager can finish its step.
    """
    with log.open("ab") as output:
        output.write(f"\n$ {' '.join(str(part) for part in command)}\n".encode())
        output.flush()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=cwd)
        with process:
            try:
                return process.wait() == 0
            except BaseException:
                process.terminate()
                raise


def tail(path: Path, lines: int) -> tuple[str, ...]:
    """Return the last lines of a log file, reading no more than its last megabyte; none if it is not there."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1_000_000))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ()
    return tuple(text.splitlines()[-lines:]) if lines > 0 else ()
