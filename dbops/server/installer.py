"""Installing PostgreSQL with TimescaleDB: from a package where there is one, else from Debian's signed source."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dbops.errors import ServerError
from dbops.events import Message, Report, StepFinished, StepStarted
from dbops.server.apt import Apt
from dbops.server.build import build_package, build_packages

OTHER_WAYS = (
    "Or set DATABASE_URL to a server that has TimescaleDB, such as that of compose.yaml (`docker compose up -d`)."
)
BUILT_MAJOR = 15
BUILT_ON = ("debian", "12")


def install(log: Path, *, ask: bool, report: Report) -> None:
    """Install what this system's distribution offers; raise ServerError, with the other ways, if it offers nothing.

    `ask` lets sudo ask for a password. What apt and the compiler say goes to the log. After a failure nothing is
    half installed.
    """
    if not shutil.which("apt-get"):
        raise _unsupported("there is no apt-get to install PostgreSQL with")
    apt = Apt(become_root(ask=ask), log)
    with _step(report, "lists", "asking apt for its current lists"):
        if not apt.update():
            report(Message("WARNING", "apt could not refresh all of its lists: going on with what it has", str(log)))
        package = apt.newest(r"^postgresql-[0-9]+-timescaledb$")
    if package:
        _install_packages(apt, (package,), report)
    elif _distribution() == BUILT_ON:
        _build(apt, report)
    else:
        raise _unsupported("this system has no package postgresql-NN-timescaledb, and only Debian 12 is built for")


def become_root(*, ask: bool) -> tuple[str, ...]:
    """Return what to put before a command so that root runs it; raise ServerError if there is no way."""
    if os.geteuid() == 0:
        return ()
    if shutil.which("sudo"):
        if _quiet("sudo", "-n", "true"):
            return ("sudo", "-n")
        if ask and subprocess.run(["sudo", "-v"], check=False).returncode == 0:
            return ("sudo",)
    raise _unsupported("installing PostgreSQL needs root, and sudo does not give it")


def _build(apt: Apt, report: Report) -> None:
    """Install PostgreSQL and what the build needs, build TimescaleDB as a package, and install that."""
    server = f"postgresql-{BUILT_MAJOR}"
    _install_packages(apt, (server, *build_packages(BUILT_MAJOR)), report)
    with tempfile.TemporaryDirectory(prefix="kapman-build-") as directory:
        with _step(report, "build", "TimescaleDB from Debian's signed source, with the mirror of this machine"):
            package = build_package(apt, Path(directory), BUILT_MAJOR)
        with _step(report, "install", package.name):
            apt.install_file(package)


def _install_packages(apt: Apt, packages: tuple[str, ...], report: Report) -> None:
    missing = apt.missing(packages)
    if not missing:
        return
    with _step(report, "packages", f"installing {', '.join(missing)}"), apt.no_cluster_of_its_own():
        apt.install(missing)


@contextmanager
def _step(report: Report, name: str, detail: str) -> Iterator[None]:
    began = time.monotonic()
    report(StepStarted(name, detail))
    yield
    report(StepFinished(name, detail, time.monotonic() - began))


def _distribution() -> tuple[str, str]:
    """Return the distribution's name and version."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "", ""
    return release.get("ID", ""), release.get("VERSION_ID", "")


def _quiet(*command: str) -> bool:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def _unsupported(what: str) -> ServerError:
    hint = f"Install PostgreSQL 15 or newer with TimescaleDB yourself. {OTHER_WAYS}"
    return ServerError(what, where=platform.platform(terse=True), hint=hint)
