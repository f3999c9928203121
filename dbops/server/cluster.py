"""One data directory and the server on it: made once, started, stopped."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from dbops.errors import ServerError
from dbops.events import Message, Report, ignore
from dbops.server.find import Installation
from dbops.server.layout import UNFINISHED, Layout, private_directory
from dbops.server.process import Postmaster, clear_stale, postmaster
from dbops.server.system import Account, tail

SUPERUSER = "postgres"
SOCKET_PORT = 5432
START_SECONDS = 300
STOP_SECONDS = 60
# Where C.UTF-8 is missing, plain C with UTF-8 as encoding sorts the same and is always there.
LOCALES = ("C.UTF-8", "C.utf8", "C")
LOG_LINES = 8

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
ACCESS = """\
# The socket's directory is private to the account that runs the server, and to root.
local all all trust
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server's directory, programs and account; without `durable` it is faster, and a crash can ruin its data."""

    layout: Layout
    installation: Installation
    account: Account
    durable: bool = True
    configuration: str = EMBEDDED

    def initialise(self, report: Report = ignore) -> bool:
        """Make the data directory, unless it is there; return whether it was made. It gets its name when complete."""
        layout = self.layout
        self._check_reachable()
        if layout.made:
            return False
        self._set_aside(report)
        # The name is new each time: an initdb whose parent was killed may still write into its directory.
        for left in layout.unfinished():
            shutil.rmtree(left, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=layout.directory))
        private_directory(new, self.account)
        for locale in LOCALES:
            answer = self._program("initdb", "-D", new, *self._initdb_options(locale))
            if answer.returncode == 0:
                new.rename(layout.data)
                return True
            if "invalid locale" not in answer.stdout:
                break
        raise self._failed("initdb could not make the data directory", answer.stdout.splitlines())

    def start(self, port: int | None = None) -> Postmaster:
        """Start the server, on loopback too if a port is given, and wait until it takes connections."""
        if self.running() and (ready := self._ready()):
            return ready
        layout = self.layout
        self._repair()
        for directory in (layout.log.parent, layout.socket):
            private_directory(directory, self.account)
        clear_stale(layout.data, layout.socket)
        self._configure(port)
        options = f"-c config_file={_shell(layout.configuration)}"
        answer = self._program(
            "pg_ctl", "start", "-D", layout.data, "-l", layout.log, "-o", options, "-w", "-t", str(START_SECONDS)
        )
        if answer.returncode == 0 and (running := self.running()):
            return running
        raise self._failed("the embedded server did not start", tail(layout.log, LOG_LINES))

    def stop(self, mode: str = "fast") -> bool:
        """Stop the server and wait for its end; return whether it ran. Sessions are ended, transactions undone."""
        if not self.running():
            return False
        answer = self._program("pg_ctl", "stop", "-D", self.layout.data, "-m", mode, "-w", "-t", str(STOP_SECONDS))
        if answer.returncode != 0 and self.running():
            raise self._failed("the embedded server did not stop", answer.stdout.splitlines())
        return True

    def running(self) -> Postmaster | None:
        """Return the server that runs on this data directory, if one does."""
        return postmaster(self.layout.data)

    def _ready(self) -> Postmaster | None:
        """Wait until the server that runs takes connections and return it, or None if it ends instead."""
        deadline = time.monotonic() + START_SECONDS
        while running := self.running():
            if running.ready:
                return running
            if time.monotonic() > deadline:
                raise self._failed("the embedded server does not get ready", tail(self.layout.log, LOG_LINES))
            time.sleep(0.05)
        return None

    def _initdb_options(self, locale: str) -> tuple[str, ...]:
        sync = () if self.durable else ("--no-sync",)
        return (
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--encoding=UTF8",
            f"--locale={locale}",
            "--data-checksums",
            *sync,
        )

    def _program(self, name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.account.run(self.installation.binaries / name, *arguments)

    def _configure(self, port: int | None) -> None:
        """Write the settings and the access rules; the server's account may read them, not change them."""
        layout = self.layout
        text = SETTINGS.format(
            data=_quoted(layout.data),
            access=_quoted(layout.access),
            listen="127.0.0.1" if port else "",
            port=port or SOCKET_PORT,
            socket=_quoted(layout.socket),
            fsync="on" if self.durable else "off",
            configuration=self.configuration,
        )
        for path, content in ((layout.configuration, text), (layout.access, ACCESS)):
            path.write_text(content)
            path.chmod(0o644)

    def _check_reachable(self) -> None:
        if self.account.switch and not self.account.can_enter(self.layout.directory):
            raise ServerError(
                "the account that runs the server cannot enter its directory",
                where=str(self.layout.directory),
                hint="Set KAPMAN_SERVER_DIR to a place whose parent directories the account postgres may enter.",
            )

    def _set_aside(self, report: Report) -> None:
        """Rename a data directory that no server can start on, so that nothing is lost that somebody may want."""
        data = self.layout.data
        if not data.exists():
            return
        aside = data.with_name(f"data.unusable-{int(time.time())}")
        data.rename(aside)
        report(Message("WARNING", f"the data directory was incomplete: kept as {aside.name}, made anew", str(data)))

    def _repair(self) -> None:
        """Give the data directory the owner and the permissions that PostgreSQL insists on."""
        data = self.layout.data
        if data.stat().st_uid != self.account.uid:
            if not self.account.switch:
                raise ServerError(
                    "the data directory belongs to another account",
                    where=str(data),
                    hint="Run the task as that account, or set KAPMAN_SERVER_DIR to another directory.",
                )
            self.account.own(data)
        if data.stat().st_mode & 0o777 not in (0o700, 0o750):
            data.chmod(0o700)

    def _failed(self, what: str, lines: tuple[str, ...] | list[str]) -> ServerError:
        return ServerError(
            what,
            where=str(self.layout.directory),
            notes=tuple(line for line in lines[-LOG_LINES:] if line.strip()),
            hint="Read `invoke server.logs`; `invoke server.destroy` and `invoke server.up` begin anew.",
        )


def _quoted(path: Path) -> str:
    """Return a path for use inside single quotes in postgresql.conf."""
    return os.fspath(path).replace("'", "''")


def _shell(path: Path) -> str:
    return shlex.quote(os.fspath(path))
