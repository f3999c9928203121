"""Where the embedded server keeps what it has, and how only one command at a time changes it.

DIRECTORY/kapman-dbops-server   says that this directory is ours
DIRECTORY/lock                  held while a command changes anything
DIRECTORY/data, log, socket     the server's own: private to the account that runs it
DIRECTORY/server.conf           written anew at each start, includes data/postgresql.conf
DIRECTORY/pg_hba.conf           who may connect
DIRECTORY/port                  the loopback port that the server listens on whenever it is started
DIRECTORY/password              the password for TCP, as a libpq password file
DIRECTORY/install.log           what apt and the compiler said
DIRECTORY/data.new-XXXXXXXX     an unfinished data directory, or one that is being removed: nothing of value
DIRECTORY/tests                 the server for tests, which has the same layout; in memory instead where there is room
DIRECTORY/data.unusable-TIME    what stood in the place of the data directory, but no server could start on

Where root runs the tasks, the server's account (postgres) owns data, log and socket, and may put links and pipes there:
root opens what is in them without following links, by descriptor, or has that account do it. All else in the directory
is root's, and root refuses a directory that the server's account could change.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dbops.errors import ServerError
from dbops.events import Message, Report

SOCKET_PATH_BYTES = 103  # the smallest limit among the systems that PostgreSQL runs on, macOS's
UNFINISHED = "data.new-"
_UNFINISHED_NAME = re.compile(r"data\.new-[a-z0-9_]{8}")  # as tempfile.mkdtemp makes them
_UNUSABLE_NAME = re.compile(r"data\.unusable-\d+")
SOCKET_NAME = "/.s.PGSQL.65535.lock"
# A clone of a template is hundreds of files: in memory that takes a sixth of the time. Room is in bytes.
MEMORY = Path("/dev/shm")  # noqa: S108
ROOM_IN_MEMORY = 2 * 2**30


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
        self._own_name = f"{os.geteuid()}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]}"
        if len(os.fsencode(self.socket)) + len(SOCKET_NAME) > SOCKET_PATH_BYTES or "," in str(directory):
            self.socket = Path(f"/tmp/kapman-dbops-{self._own_name}")  # noqa: S108

    def for_tests(self) -> Layout:
        """Return the directory of the server for tests: where it is, else in memory if there is room."""
        disk, memory = Layout(self.directory / "tests"), Layout(MEMORY / f"kapman-dbops-tests-{self._own_name}")
        try:
            # Any account can make a directory of that name there.
            return memory if memory.directory.lstat().st_uid == os.geteuid() else disk
        except FileNotFoundError:
            fits = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_IN_MEMORY
            return memory if fits and not disk.ours else disk

    @property
    def ours(self) -> bool:
        """Return whether the directory was made by this tool."""
        return self.marker.is_file()

    @property
    def made(self) -> bool:
        """Return whether a data directory is there that a server has been started on, or could be."""
        try:
            return stat.S_ISREG((self.data / "global" / "pg_control").lstat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except PermissionError:
            raise of_another_account(self.data) from None

    @property
    def major(self) -> int | None:
        """Return the major version of PostgreSQL that made the data directory; None if there is no telling."""
        try:
            with open_regular(self.data / "PG_VERSION") as file:
                found = re.fullmatch(rb"(\d{1,3})(\.\d+)?\s*", file.read(32))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return int(found[1]) if found else None

    @property
    def size(self) -> int:
        """Return how many bytes the files in the data directory take; files that vanish meanwhile do not count."""
        total = 0
        for parent, _, files in os.walk(self.data):
            for name in files:
                with suppress(FileNotFoundError):
                    total += (Path(parent) / name).lstat().st_size
        return total

    def unfinished(self) -> tuple[Path, ...]:
        """Return what is left of data directories that were never finished, or not removed completely."""
        return tuple(path for path in self._entries() if _UNFINISHED_NAME.fullmatch(path.name) and path.is_dir())

    def unusable(self) -> tuple[Path, ...]:
        """Return what was put aside because no server could start on it: it may hold data."""
        return tuple(path for path in self._entries() if _UNUSABLE_NAME.fullmatch(path.name))

    def set_aside(self) -> Path:
        """Rename what no server can start on, as it may hold data, and return its new path."""
        return self.data.rename(self.data.with_name(f"data.unusable-{int(time.time())}"))

    @property
    def holds_others(self) -> bool:
        """Return whether the directory has what is not there before it is ours, or after it was removed."""
        return bool(set(self._entries()) - {self.lock, self.install_log, *self.unusable()})

    def _entries(self) -> list[Path]:
        return sorted(self.directory.iterdir()) if self.directory.is_dir() else []

    def foreign(self) -> ServerError:
        """Return the refusal to touch a directory that this tool did not make."""
        return ServerError(
            "the directory holds files that this tool did not make",
            where=str(self.directory),
            hint="Set KAPMAN_SERVER_DIR to a directory that is empty or does not exist yet.",
        )


def of_another_account(path: Path) -> ServerError:
    """Return the refusal to use what belongs to another account."""
    return ServerError(
        f"the {'data ' if path.name == 'data' else ''}directory belongs to another account",
        where=str(path),
        hint="Run the task as that account, or set KAPMAN_SERVER_DIR to another directory.",
    )


def claim(layout: Layout) -> None:
    """Make the directory and say that it is ours; raise ServerError if it holds files of another program."""
    try:
        layout.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        if layout.holds_others and not os.path.lexists(layout.marker):
            raise layout.foreign()
        _assert_private(layout)
        layout.marker.touch()
        if not layout.ours:
            raise layout.foreign()
    except OSError as error:
        raise unusable_directory(layout, error) from None


def unusable_directory(layout: Layout, error: OSError) -> ServerError:
    """Return what the file system refuses in the directory."""
    return ServerError(
        f"cannot use the embedded server's directory: {error.strerror}",
        where=str(error.filename or layout.directory),
        hint="Make room, or make it writable, and run the task again; or set KAPMAN_SERVER_DIR to another directory.",
    )


def _assert_private(layout: Layout) -> None:
    """Raise ServerError if this account would read and write where another one could have put a link."""
    root = os.geteuid() == 0
    try:
        servers = pwd.getpwnam("postgres")
    except KeyError:
        # PostgreSQL, and its account, are still to be installed.
        servers = None
    directory = layout.directory.resolve()
    for path in (directory, *(directory.parents if root and servers else ())):
        found = path.stat()
        group = stat.S_IWGRP if root and servers and found.st_gid == servers.pw_gid else 0
        writable = bool(found.st_mode & (stat.S_IWOTH | group))
        if path == directory:
            safe = found.st_uid in (0, os.geteuid()) and not writable
        else:
            # Of its parents, only those of the account that runs the server matter.
            theirs = servers is not None and found.st_uid == servers.pw_uid
            safe = not theirs and not (writable and not found.st_mode & stat.S_ISVTX)
        if not safe:
            raise ServerError(
                "another account can change the embedded server's directory",
                where=str(path),
                hint="Run the task as the account that owns it, or set KAPMAN_SERVER_DIR to a directory of your own.",
            )


def open_regular(path: Path) -> BinaryIO:
    """Open a file that another account may have replaced, for reading; a link is not followed, a pipe not waited for.

    Raises FileNotFoundError, or ServerError for what is not a regular file or may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        raise of_another_account(path.parent) from None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        descriptor = -1
    if descriptor >= 0 and stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    if descriptor >= 0:
        os.close(descriptor)
    raise ServerError(
        f"{path.name} is not a regular file",
        where=str(path),
        hint="Remove it: another account could make this task read any file through it.",
    )


@contextmanager
def locked(layout: Layout, report: Report) -> Iterator[None]:
    """Hold the directory's lock, waiting for another command that has it; the directory must be there.

    Raises ServerError if the other command removes the directory.
    """
    # Imported late: a verb on another server does not need it.
    from filelock import FileLock, Timeout

    if layout.ours:
        _assert_private(layout)
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
    except PermissionError:
        raise of_another_account(layout.directory) from None
    try:
        yield
    finally:
        lock.release()


def discard(layout: Layout) -> None:
    """Remove the data directory, as if it had never been there; the server must be stopped."""
    # Renamed first: removed halfway, it would look like one that may hold data.
    layout.data.rename(tempfile.mkdtemp(prefix=UNFINISHED, dir=layout.directory))
    for path in layout.unfinished():
        shutil.rmtree(path)


def remove(layout: Layout) -> tuple[Path, ...]:
    """Remove what this tool made, and the directory if nothing else is in it; return what stays.

    What no server could start on stays, as it may hold data, and what a link in place of the data directory leads to.
    """
    if layout.data.is_symlink():
        layout.data.unlink()
    elif layout.made:
        discard(layout)
    elif layout.data.exists():
        layout.set_aside()
    for path in layout.unfinished():
        shutil.rmtree(path)
    _remove_from(layout.log.parent, re.compile(re.escape(layout.log.name)))
    _remove_from(layout.socket, re.compile(r"\.s\.PGSQL\.\d+(\.lock)?"))
    settings = (layout.configuration, layout.access, layout.port, layout.password)
    for file in (*settings, layout.install_log, layout.marker, layout.lock):
        file.unlink(missing_ok=True)
    kept = tuple(layout.directory.iterdir())
    if not kept:
        layout.directory.rmdir()
    return kept


def _remove_from(directory: Path, name: re.Pattern[str]) -> None:
    """Remove files by their names from a directory of the server's account, and the directory unless it holds others.

    A link in its place is left alone.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        for entry in filter(name.fullmatch, os.listdir(descriptor)):  # noqa: PTH208 - of a descriptor
            with suppress(IsADirectoryError):
                os.unlink(entry, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    with suppress(OSError):
        directory.rmdir()


def tail(path: Path, lines: int) -> tuple[str, ...]:
    """Return the last lines of a log file, reading no more than its last megabyte; none if it is not there."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1_000_000))
            text = file.read().decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(text.splitlines()[-lines:])
