"""Where the embedded server keeps what it has, and how only one command at a time changes it.

DIRECTORY/kapman-dbops-server   says that this directory is ours
DIRECTORY/lock                  held while a command changes anything
DIRECTORY/data, log, socket     the server's own: private to the account that runs it
DIRECTORY/server.conf           written anew at each start, includes data/postgresql.conf
DIRECTORY/pg_hba.conf           who may connect
DIRECTORY/port                  the loopback port that the server listens on whenever it is started
DIRECTORY/password              the password for TCP, as a libpq password file
DIRECTORY/install.log           what apt and the compiler said
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from dbops.errors import ServerError
from dbops.events import Message, Report

SOCKET_PATH_BYTES = 103  # the smallest limit among the systems that PostgreSQL runs on, macOS's
UNFINISHED = "data.new-"
SOCKET_NAME = "/.s.PGSQL.65535.lock"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one embedded server."""

    directory: Path

    @property
    def marker(self) -> Path:
        """Return the file that says that the directory is ours."""
        return self.directory / "kapman-dbops-server"

    @property
    def lock(self) -> Path:
        """Return the file whose lock is held while anything changes."""
        return self.directory / "lock"

    @property
    def data(self) -> Path:
        """Return the server's data directory."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """Return the server's log."""
        return self.directory / "log" / "server.log"

    @property
    def configuration(self) -> Path:
        """Return the settings that each start writes anew."""
        return self.directory / "server.conf"

    @property
    def access(self) -> Path:
        """Return the rules for who may connect."""
        return self.directory / "pg_hba.conf"

    @property
    def password(self) -> Path:
        """Return the libpq password file."""
        return self.directory / "password"

    @property
    def port(self) -> Path:
        """Return the file that holds the loopback port."""
        return self.directory / "port"

    @property
    def install_log(self) -> Path:
        """Return the log of `server.install`."""
        return self.directory / "install.log"

    @property
    def socket(self) -> Path:
        """Return the directory of the Unix socket: one elsewhere if the path is too long, or libpq would split it."""
        inside = self.directory / "socket"
        if len(os.fsencode(inside)) + len(SOCKET_NAME) <= SOCKET_PATH_BYTES and "," not in str(inside):
            return inside
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]
        return Path(f"/tmp/kapman-dbops-{os.geteuid()}-{digest}")  # noqa: S108

    def remembered_port(self) -> int | None:
        """Return the loopback port that the server listened on when a port was last named, if any."""
        try:
            return int(self.port.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def remember_port(self, port: int | None) -> None:
        """Keep a loopback port for later starts, or none."""
        if port:
            self.port.write_text(f"{port}\n")
        else:
            self.port.unlink(missing_ok=True)

    def unfinished(self) -> tuple[Path, ...]:
        """Return what is left of data directories that were never finished."""
        return tuple(self.directory.glob(f"{UNFINISHED}*"))

    @property
    def made(self) -> bool:
        """Return whether a data directory is there that a server can start on."""
        return (self.data / "global" / "pg_control").is_file()

    @property
    def ours(self) -> bool:
        """Return whether the directory was made by this tool."""
        return self.marker.is_file()


def claim(layout: Layout) -> None:
    """Make the directory and say that it is ours; raise ServerError if it holds files of another program."""
    try:
        layout.directory.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in layout.directory.iterdir()}
        if names - {layout.lock.name} and layout.marker.name not in names:
            raise foreign(layout)
        layout.marker.touch()
    except OSError as error:
        raise ServerError(
            f"cannot use the embedded server's directory: {error.strerror}",
            where=str(layout.directory),
            hint="Set KAPMAN_SERVER_DIR to a directory that you may write, or make this one writable.",
        ) from None


def foreign(layout: Layout) -> ServerError:
    """Return the refusal to touch a directory that this tool did not make."""
    return ServerError(
        "the directory holds files that this tool did not make",
        where=str(layout.directory),
        hint="Set KAPMAN_SERVER_DIR to a directory that is empty or does not exist yet.",
    )


@contextmanager
def locked(layout: Layout, report: Report) -> Iterator[None]:
    """Hold the directory's lock, waiting for another command that has it; the directory must be there.

    Raises ServerError if the other command removes the directory.
    """
    lock = FileLock(layout.lock, mode=0o600)
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            report(Message("INFO", "waiting for another server command to finish", str(layout.directory)))
            lock.acquire()
    except FileNotFoundError:
        raise ServerError(
            "another command removed the embedded server's directory",
            where=str(layout.directory),
            hint="Run `invoke server.up` to make a new one.",
        ) from None
    try:
        yield
    finally:
        lock.release()


def remove(layout: Layout) -> None:
    """Remove all that this tool made, and the directory if nothing else is in it."""
    for path in (*layout.directory.glob("data*"), layout.log.parent, layout.socket):
        shutil.rmtree(path, ignore_errors=not path.exists())
    settings = (layout.configuration, layout.access, layout.port, layout.password)
    for file in (*settings, layout.install_log, layout.marker, layout.lock):
        file.unlink(missing_ok=True)
    if not any(layout.directory.iterdir()):
        layout.directory.rmdir()


def tail(path: Path, lines: int) -> tuple[str, ...]:
    """Return the last lines of a log file, reading no more than its last megabyte; none if it is not there."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1_000_000))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ()
    return tuple(text.splitlines()[-lines:]) if lines > 0 else ()
