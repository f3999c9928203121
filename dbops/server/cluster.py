"""One data directory and the server on it: made once, started, stopped, found by its processes."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbops.errors import ServerError
from dbops.events import Message, Report, ignore
from dbops.server.directory import UNFINISHED, Layout, of_another_account, open_regular, tail
from dbops.server.find import Installation

SUPERUSER = "postgres"
SOCKET_PORT = 5432
LOOPBACK = "127.0.0.1"
START_SECONDS = 300
STOP_SECONDS = 60
# Where C.UTF-8 is missing, plain C with UTF-8 as encoding sorts the same and is always there.
LOCALES = ("C.UTF-8", "C")
LOG_LINES = 8
SERVER_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
PROC = Path("/proc")
AGAIN = "Correct what it says and run the task again; no data was kept of the attempt."
KEEP = (
    "Correct what it says, or what `invoke server.logs` shows, and run the task again. To start anew without the data:"
    " `invoke server.destroy`, then `invoke server.up`."
)
# How long the children of a postmaster that was killed may take to notice, in seconds.
LEFTOVER_SECONDS = 30.0

SETTINGS = """\
include '{data}/postgresql.conf'
hba_file = '{access}'
listen_addresses = '{listen}'
port = {port}
unix_socket_directories = '"{socket}"'
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
fsync = {fsync}
{configuration}
"""
# TimescaleDB takes one background worker for each database that has it, for good.
EMBEDDED = """\
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
timescaledb.max_background_workers = 32
max_worker_processes = 48
timezone = 'UTC'
log_timezone = 'UTC'
"""
# For tests, without durability: nothing is written to disk for a crash, and little is kept in memory.
TESTS = """\
synchronous_commit = off
full_page_writes = off
min_wal_size = 32MB
max_wal_size = 128MB
max_connections = 200
log_checkpoints = off
"""
ACCESS = """\
# The socket's directory is private to the account that runs the server, and to root.
local all all trust
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True, slots=True)
class Account:
    """The Unix account that a server runs as; `switch` is set if it is not this process's own."""

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

    @property
    def identity(self) -> dict[str, Any]:
        """Return the arguments that make subprocess run a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program as this account, in a clean environment, and return its output and exit status."""
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            cwd="/",
            env=SERVER_ENVIRONMENT,
            **self.identity,
        )

    def own(self, directory: Path) -> None:
        """Give a directory, with all that is in it, to this account; links are not followed."""
        # What contains a directory changes hands after it, so that nothing can be put in its place meanwhile.
        for _, directories, files, descriptor in os.fwalk(directory, topdown=False):
            for name in (*directories, *files):
                os.chown(name, self.uid, self.gid, dir_fd=descriptor, follow_symlinks=False)
            os.fchown(descriptor, self.uid, self.gid)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server's directory and programs; without `durable` it is faster, and a crash can corrupt its data.

    The server runs as `account`, with `configuration` as lines of postgresql.conf.
    """

    layout: Layout
    installation: Installation
    durable: bool = True
    configuration: str = EMBEDDED
    account: Account = field(default_factory=Account.current)

    def initialise(self, report: Report = ignore) -> bool:
        """Make the data directory, unless it is there; return whether it was made. It gets its name when complete."""
        layout, data = self.layout, self.layout.data
        if self.account.switch and self.account.run("/bin/sh", "-c", 'cd "$1"', "sh", layout.directory).returncode:
            raise ServerError(
                "the account that runs the server cannot enter its directory",
                where=str(layout.directory),
                hint="Set KAPMAN_SERVER_DIR to a directory whose parents the account postgres may enter.",
            )
        if layout.made:
            return False
        if data.is_symlink() and not data.exists():
            raise ServerError(
                "the data directory is a link to what does not exist",
                where=str(data),
                hint="Mount or restore what it links to; to start anew, remove the link.",
            )
        if data.exists():
            # No server can start on it, and it may hold data.
            aside = layout.set_aside()
            report(Message("WARNING", f"the data directory was incomplete: kept as {aside.name}, made anew", str(data)))
        # The name is new each time: an initdb whose parent was killed may still write into its directory.
        for left in layout.unfinished():
            shutil.rmtree(left, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=layout.directory))
        private_directory(new, self.account)
        options = (f"--username={SUPERUSER}", "--auth=trust", "--encoding=UTF8", "--data-checksums")
        sync = () if self.durable else ("--no-sync",)
        for locale in LOCALES:
            answer = self._program("initdb", "-D", new, *options, *sync, f"--locale={locale}")
            if answer.returncode == 0:
                new.rename(data)
                return True
            if "invalid locale" not in answer.stdout:
                break
        raise self._failed("initdb could not make the data directory", answer.stdout.splitlines(), AGAIN)

    def start(self, port: int | None = None) -> Postmaster:
        """Start the server, on loopback too if a port is given, and wait until it takes connections.

        A server that runs is only waited for.
        """
        layout = self.layout
        deadline = time.monotonic() + START_SECONDS
        while running := postmaster(layout.data):
            if running.ready:
                return running
            if time.monotonic() > deadline:
                raise self._failed("the embedded server did not become ready", tail(layout.log, LOG_LINES))
            time.sleep(0.05)
        # The owner and the permissions that PostgreSQL insists on.
        found = layout.data.stat()
        if found.st_uid != self.account.uid:
            # What root restored from a backup is given to the server's account; what another account has is not taken.
            if not self.account.switch or found.st_uid != os.geteuid() or layout.data.is_symlink():
                raise of_another_account(layout.data)
            self.account.own(layout.data)
        if found.st_mode & 0o777 not in (0o700, 0o750):
            self.account.run("chmod", "700", layout.data)
        for directory in (layout.log.parent, layout.socket):
            private_directory(directory, self.account)
        self._clear_stale()
        paths = {"data": layout.data, "access": layout.access, "socket": layout.socket}
        settings = SETTINGS.format(
            # Inside single quotes, postgresql.conf wants a quote twice.
            **{name: str(path).replace("'", "''") for name, path in paths.items()},
            listen=LOOPBACK if port else "",
            port=port or SOCKET_PORT,
            fsync="on" if self.durable else "off",
            configuration=self.configuration,
        )
        for path, content in ((layout.configuration, settings), (layout.access, ACCESS)):
            path.write_text(content)
            # The server's account may read it, not change it.
            path.chmod(0o644)
        options = f"-c config_file={shlex.quote(str(layout.configuration))}"
        start = ("start", "-D", layout.data, "-l", layout.log, "-o", options, "-w", "-t", str(START_SECONDS))
        if self._program("pg_ctl", *start).returncode == 0 and (running := postmaster(layout.data)):
            return running
        raise self._failed("the embedded server did not start", tail(layout.log, LOG_LINES))

    def stop(self, mode: str = "fast") -> bool:
        """Stop the server and wait for its end; return whether it ran. Sessions are ended, transactions undone."""
        data = self.layout.data
        if not postmaster(data):
            return False
        answer = self._program("pg_ctl", "stop", "-D", data, "-m", mode, "-w", "-t", str(STOP_SECONDS))
        if answer.returncode != 0 and postmaster(data):
            raise self._failed("the embedded server did not stop", answer.stdout.splitlines())
        return True

    def _program(self, name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.account.run(self.installation.binaries / name, *arguments)

    def _clear_stale(self) -> None:
        """Remove lock files whose pid now belongs to another program, once no process works in the data directory.

        PostgreSQL itself replaces the files of a dead process; but it takes any living process of its own
        account for a server. After a postmaster was killed, its children need a moment to notice.
        """
        data = self.layout.data
        if not has_ended(data):
            return
        # The socket's directory is this server's alone.
        self.account.run("/bin/sh", "-c", 'rm -f "$1"/.s.PGSQL.*', "sh", self.layout.socket)
        named = _pid_file(data)[:1]
        if not named or not named[0].isdigit():
            return
        try:
            os.kill(int(named[0]), 0)
        except (ProcessLookupError, OverflowError):
            return
        except PermissionError:
            pass  # It lives, under another account.
        self.account.run("rm", "-f", data / "postmaster.pid")

    def _failed(self, what: str, lines: Sequence[str], hint: str = KEEP) -> ServerError:
        return ServerError(
            what,
            where=str(self.layout.directory),
            notes=tuple(line for line in lines[-LOG_LINES:] if line.strip()),
            hint=hint,
        )


def private_directory(path: Path, account: Account) -> None:
    """Make a directory that only its account may enter; raise ServerError if another account has it.

    It may be in /tmp, where other accounts could put a link: what is checked and what is changed is one descriptor.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError:
        raise ServerError(
            "a file or a link is where the server needs a directory",
            where=str(path),
            hint="Remove it, or set KAPMAN_SERVER_DIR to another directory.",
        ) from None
    except PermissionError:
        raise of_another_account(path) from None
    try:
        if os.fstat(descriptor).st_uid not in (account.uid, os.geteuid()):
            raise of_another_account(path)
        if account.switch:
            os.fchown(descriptor, account.uid, account.gid)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


# Which processes run on a data directory: the pid file alone is not enough, since pids are reused.


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
    """Return the server that runs on a data directory, or None; a stale pid file is ignored."""
    lines = _pid_file(data)
    if len(lines) < 4 or not lines[0].isdigit() or not lines[3].isdigit():
        return None
    pid = int(lines[0])
    if not works_in(pid, data):
        return None
    # A server that starts has not written them all: the address that it listens on, shared memory, its state.
    listens, _, state = [*lines[5:], "", "", ""][:3]
    return Postmaster(pid, int(lines[3]), listens=bool(listens), ready=state == "ready")


def works_in(pid: int, data: Path) -> bool:
    """Return whether a process is one of the server's: they all have the data directory as their own."""
    if (PROC / "self").exists():
        try:
            return (PROC / str(pid) / "cwd").readlink() == data.resolve()
        except OSError:
            return False
    command = ["ps", "-o", "command=", "-p", str(pid)]
    return str(data) in subprocess.run(command, capture_output=True, text=True, check=False).stdout


def has_ended(data: Path) -> bool:
    """Return whether no process works in a data directory; those of a postmaster that was killed are waited for.

    Where the system does not show them, none is known.
    """
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while any(works_in(int(entry.name), data) for entry in PROC.glob("[0-9]*")):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _pid_file(data: Path) -> list[str]:
    try:
        with open_regular(data / "postmaster.pid") as file:
            return [line.strip() for line in file.read(8192).decode("utf-8", "replace").splitlines()]
    except (FileNotFoundError, NotADirectoryError):
        return []
