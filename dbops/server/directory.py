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
from pathlib import Path

from dbops.errors import ServerError
from dbops.events import Message, Report

SOCKET_PATH_BYTES = 103  # the smallest limit among the systems that PostgreSQL runs on, macOS's
UNFINISHED = "data.new-"
SOCKET_NAME = "/.s.PGSQL.65535.lock"


class Layout:
    """The paths of one embedded server, as the text at the top of this file explains them."""

    def __init__(self, directory: Path) -> None:
        """Take the directory; nothing is made there."""
        self.directory = directory
        self.marker = directory / "kapman-dbops-server"
        self.lock = directory / "lock"
        self.data = directory / "data"
        self.log = directory / "log" / "server.log"
        self.configuration = directory / "server.conf"
        self.access = directory / "pg_hba.conf"
        self.port = directory / "port"
        self.password = directory / "password"
        self.install_log = directory / "install.log"
        self.socket = directory / "socket"
        # One elsewhere if the path is too long, or if libpq would split it.
        if len(os.fsencode(self.socket)) + len(SOCKET_NAME) > SOCKET_PATH_BYTES or "," in str(directory):
            digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
            self.socket = Path(f"/tmp/kapman-dbops-{os.geteuid()}-{digest}")  # noqa: S108

    @property
    def ours(self) -> bool:
        """Return whether the directory was made by this tool."""
        return self.marker.is_file()

    @property
    def made(self) -> bool:
        """Return whether a data directory is there that a server can start on."""
        return (self.data / "global" / "pg_control").is_file()

    @property
    def major(self) -> int | None:
        """Return the major version of PostgreSQL that made the data directory; None if there is none to start on."""
        return int((self.data / "PG_VERSION").read_text().split(".")[0]) if self.made else None

    def unfinished(self) -> tuple[Path, ...]:
        """Return what is left of data directories that were never finished."""
        return tuple(self.directory.glob(f"{UNFINISHED}*"))

    def foreign(self) -> ServerError:
        """Return the refusal to touch a directory that this tool did not make."""
        return ServerError(
            "the directory holds files that this tool did not make",
            where=str(self.directory),
            hint="Set KAPMAN_SERVER_DIR to a directory that is empty or does not exist yet.",
        )


def claim(layout: Layout) -> None:
    """Make the directory and say that it is ours; raise ServerError if it holds files of another program."""
    try:
        layout.directory.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in layout.directory.iterdir()}
        if names - {layout.lock.name} and layout.marker.name not in names:
            raise layout.foreign()
        layout.marker.touch()
    except OSError as error:
        raise ServerError(
            f"cannot use the embedded server's directory: {error.strerror}",
            where=str(layout.directory),
            hint="Set KAPMAN_SERVER_DIR to a directory that you may write, or make this one writable.",
        ) from None


@contextmanager
def locked(layout: Layout, report: Report) -> Iterator[None]:
    """Hold the directory's lock, waiting for another command that has it; the directory must be there.

    Raises ServerError if the other command removes the directory.
    """
    # Imported late: a verb on another server does not need it.
    from filelock import FileLock, Timeout

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
    return tuple(text.splitlines()[-lines:])
