"""Where the embedded server keeps what it has, and how two commands keep out of each other's way.

DIRECTORY/kapman-dbops-server   says that this directory is ours
DIRECTORY/lock                  held while a command changes anything
DIRECTORY/data, log, socket     the server's own: private to the account that runs it
DIRECTORY/server.conf           written anew at each start, includes data/postgresql.conf
DIRECTORY/pg_hba.conf           who may connect
DIRECTORY/password              the password for TCP, as a libpq password file
DIRECTORY/install.log           what apt and the compiler said
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dbops.errors import ServerError
from dbops.events import Message, Report
from dbops.server.system import Account

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
    """Make the directory and say that it is ours; raise ServerError if somebody else's files are in it."""
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
    """Hold the directory's lock, waiting for whoever has it; the directory must be there."""
    while True:
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _acquire(descriptor, layout, report)
            if _still_there(descriptor, layout):
                yield
                return
        finally:
            os.close(descriptor)


def _acquire(descriptor: int, layout: Layout, report: Report) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        report(Message("INFO", "another server command is at work: waiting for it", str(layout.directory)))
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _still_there(descriptor: int, layout: Layout) -> bool:
    """Return whether the locked file is the one that others would lock: destroy may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), layout.lock.stat())
    except FileNotFoundError:
        return False


def remove(layout: Layout) -> None:
    """Remove all that this tool made, and the directory if nothing else is in it."""
    for path in (*layout.directory.glob("data*"), layout.log.parent, layout.socket):
        shutil.rmtree(path, ignore_errors=not path.exists())
    for file in (layout.configuration, layout.access, layout.password, layout.install_log, layout.marker, layout.lock):
        file.unlink(missing_ok=True)
    if not any(layout.directory.iterdir()):
        layout.directory.rmdir()


def private_directory(path: Path, account: Account) -> None:
    """Make a directory that only its account may enter; raise ServerError if another account has it."""
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid not in (account.uid, os.geteuid()):
        raise ServerError(
            "the directory belongs to another account",
            where=str(path),
            hint="Remove it, or set KAPMAN_SERVER_DIR to another directory.",
        )
    if account.switch:
        os.chown(path, account.uid, account.gid)
    path.chmod(0o700)
