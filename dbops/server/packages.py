"""Installing PostgreSQL with TimescaleDB: from a package where there is one, else built from Debian's signed source."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dbops.errors import ServerError
from dbops.events import Message, Report, step
from dbops.server.directory import tail

OTHER_WAYS = (
    "Or set DATABASE_URL to a server that has TimescaleDB, such as that of compose.yaml (`docker compose up -d`)."
)
# Debian 12 has PostgreSQL 15 and no TimescaleDB, which is built there from the oldest stable suite that has its source.
BUILT_ON = ("debian", "12")
MAJOR = 15
BUILT_PACKAGE = f"postgresql-{MAJOR}-timescaledb"
BUILD_PACKAGES = (f"postgresql-server-dev-{MAJOR}", "cmake", "gcc", "make", "libssl-dev", "dpkg-dev")
SUITE = "trixie"
# As Debian's own package is built, by debian/rules of the source: a database of one can be upgraded to the other by
# pg_upgrade only if both have the same functions, and telemetry is some of them.
BUILD_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
    "-DSEND_TELEMETRY_DEFAULT=OFF",
    "-DUSE_TELEMETRY=OFF",
    "-DAPACHE_ONLY=1",
    "-DREGRESS_CHECKS=OFF",
)
# Ends the version of a package that was built here, and tells builds with other options apart.
OWN_BUILD = "+kapman"
BUILD = f"{OWN_BUILD}.{hashlib.sha256(' '.join(BUILD_OPTIONS).encode()).hexdigest()[:8]}"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
CONTROL = """\
Package: {name}
Version: {version}{build}
Architecture: {architecture}
Maintainer: KapMan database operations <root@localhost>
Depends: postgresql-{major}
Section: database
Priority: optional
Description: TimescaleDB (Apache edition) for PostgreSQL {major}, built on this machine
 Built by `invoke server.install` from Debian's source package timescaledb.
"""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
QUIET = ("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", f"PATH={PATH}")
WAIT_FOR_OTHERS = ("-oDPkg::Lock::Timeout=300", "-oAcquire::Retries=3")
KEEP_CONFIGURATION = ("-oDpkg::Options::=--force-confdef", "-oDpkg::Options::=--force-confold")
DROP_IN = Path("/etc/postgresql-common/createcluster.d/kapman-dbops.conf")
LOG_LINES = 12


def install(log: Path, *, ask: bool, report: Report) -> None:
    """Install what this system's distribution offers; raise ServerError, with the other ways, if it offers nothing.

    `ask` lets sudo ask for a password. What apt and the compiler say goes to the log. After a failure nothing is
    half installed.
    """
    if not shutil.which("apt-get"):
        raise _unsupported("there is no apt-get to install PostgreSQL with")
    apt = Apt(become_root(ask=ask), log)
    with step(report, "lists", "asking apt for its current lists"):
        if not apt.attempt("apt-get", *WAIT_FOR_OTHERS, "update", as_root=True):
            report(Message("WARNING", "apt could not refresh all of its lists: going on with what it has", str(log)))
        package = newest()
    if package:
        _install_packages(apt, (package,), report)
        return
    release: dict[str, str] = {}
    with suppress(OSError):
        release = platform.freedesktop_os_release()
    if (release.get("ID"), release.get("VERSION_ID")) != BUILT_ON:
        raise _unsupported("this system has no package postgresql-NN-timescaledb, and only Debian 12 is built for")
    _install_packages(apt, (f"postgresql-{MAJOR}", *BUILD_PACKAGES), report)
    with tempfile.TemporaryDirectory(prefix="kapman-build-") as directory:
        with step(report, "build", "TimescaleDB from Debian's signed source, with the mirror of this machine"):
            built = build_package(apt, Path(directory))
        with step(report, "install", built.name):
            # dpkg unpacks everything before any file gets its name.
            apt.run("dpkg could not install the package", "dpkg", "--install", built, as_root=True)


def is_outdated() -> bool:
    """Return whether the TimescaleDB that is installed was built here with other options than it would be now."""
    version = "".join(ask("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", BUILT_PACKAGE))
    return version.startswith("installed ") and OWN_BUILD in version and not version.endswith(BUILD)


def become_root(*, ask: bool) -> tuple[str, ...]:
    """Return what to put before a command so that root runs it; raise ServerError if there is no way."""
    if os.geteuid() == 0:
        return ()
    if shutil.which("sudo"):
        silent = ("sudo", "-n", "true")
        if subprocess.run(silent, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0:
            return ("sudo", "-n")
        if ask and subprocess.run(["sudo", "-v"], check=False).returncode == 0:
            return ("sudo",)
    raise _unsupported("installing PostgreSQL needs root, and sudo does not give it")


def newest() -> str:
    """Return the package of TimescaleDB for the newest PostgreSQL among those that can be fetched, or nothing."""
    found = ask("apt-cache", "search", "--names-only", "^postgresql-[0-9]+-timescaledb$")
    names = [line.split()[0] for line in found]
    fetchable = [name for name in names if ask("apt-cache", "madison", name)]
    return max(fetchable, key=lambda name: int(re.sub(r"\D", "", name)), default="")


def _install_packages(apt: Apt, packages: Sequence[str], report: Report) -> None:
    """Install those packages that are missing, without a server of their own: what is installed is never upgraded."""
    state = ("dpkg-query", "-W", "-f", "${db:Status-Status}\n")
    missing = [name for name in packages if ask(*state, name) != ("installed",)]
    if not missing:
        return
    install = ("apt-get", *WAIT_FOR_OTHERS, *KEEP_CONFIGURATION, "install", "-y", "--no-install-recommends")
    with step(report, "packages", f"installing {', '.join(missing)}"):
        # Else Debian's packages would make a server and start it on port 5432.
        with tempfile.NamedTemporaryFile("w", prefix="kapman-", suffix=".conf") as file:
            file.write("create_main_cluster = false\n")
            file.flush()
            apt.attempt("install", "-D", "-m", "644", file.name, DROP_IN, as_root=True)
        try:
            apt.run("apt could not install the packages", *install, *missing, as_root=True)
        finally:
            apt.attempt("rm", "-f", DROP_IN, as_root=True)
            apt.attempt("rmdir", "--ignore-fail-on-non-empty", DROP_IN.parent, as_root=True)


def build_package(apt: Apt, directory: Path) -> Path:
    """Build TimescaleDB in a directory and return the file of its package, which dpkg can install and remove."""
    source = fetch_source(apt, directory, mirror(), KEYRING)
    build, stage = directory / "build", directory / "stage"
    failure = "TimescaleDB could not be built"
    programs = f"-DPG_CONFIG=/usr/lib/postgresql/{MAJOR}/bin/pg_config"
    apt.run(failure, "cmake", "-S", source, "-B", build, programs, *BUILD_OPTIONS)
    apt.run(failure, "make", "-C", build, f"-j{os.cpu_count() or 1}")
    apt.run(failure, "make", "-C", build, "install/strip", f"DESTDIR={stage}")
    name = BUILT_PACKAGE
    documentation = stage / "usr" / "share" / "doc" / name
    documentation.mkdir(parents=True)
    shutil.copyfile(source / "debian" / "copyright", documentation / "copyright")
    version = ask("dpkg-parsechangelog", "-l", str(source / "debian" / "changelog"), "-S", "Version")[0]
    architecture = ask("dpkg", "--print-architecture")[0]
    control = stage / "DEBIAN" / "control"
    control.parent.mkdir()
    fields = {"name": name, "version": version, "build": BUILD, "architecture": architecture, "major": MAJOR}
    control.write_text(CONTROL.format(**fields))
    package = directory / f"{name}_{architecture}.deb"
    pack = ("dpkg-deb", "--root-owner-group", "-Znone", "--build", stage, package)
    apt.run("the package could not be made", *pack)
    return package


def mirror() -> str:
    """Return the address of the Debian mirror that this machine's apt already uses."""
    rows = ask("apt-get", "indextargets", "--format", "$(ORIGIN)\t$(LABEL)\t$(REPO_URI)", "Created-By: Packages")
    for origin, label, address in (row.split("\t") for row in rows):
        if origin == label == "Debian" and not address.startswith("cdrom:"):
            return address
    raise ServerError(
        "apt knows no mirror of Debian's main archive",
        where="/etc/apt",
        hint="Add one to apt's sources, run `apt-get update`, then `invoke server.install` again.",
    )


def fetch_source(apt: Apt, directory: Path, address: str, keyring: Path) -> Path:
    """Fetch TimescaleDB's source from a mirror into a directory and return where it was unpacked.

    The mirror is known to this one apt-get only; what the keyring has not signed is refused with ServerError.
    """
    download = directory / "source"
    for path in (directory / "lists" / "partial", directory / "cache" / "archives" / "partial", download):
        path.mkdir(parents=True)
    # Where root runs apt, its unprivileged account downloads, and has to reach and write the directory.
    directory.chmod(0o755)
    if os.geteuid() == 0:
        with suppress(LookupError):
            shutil.chown(download, "_apt")
    sources = directory / "sources.list"
    sources.write_text(f"deb-src [signed-by={keyring}] {address} {SUITE} main\n")
    options = {
        # Whatever the machine's own configuration allows, nothing unsigned is taken.
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::AllowWeakRepositories": "false",
        "Acquire::AllowDowngradeToInsecureRepositories": "false",
        # Lists, caches and sources of its own.
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": directory / "lists",
        "Dir::Cache": directory / "cache",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    command = ("apt-get", *(f"-o{name}={value}" for name, value in options.items()))
    apt.run("Debian's list of sources could not be fetched, or its signature is wrong", *command, "update")
    apt.run("TimescaleDB's source could not be fetched", *command, "source", "timescaledb", cwd=download)
    return next(path for path in download.iterdir() if path.is_dir())


@dataclass(frozen=True, slots=True)
class Apt:
    """Programs run without questions, their output kept in a log; `root` is what to put before those that root runs."""

    root: tuple[str, ...]
    log: Path

    def attempt(self, *command: str | Path, as_root: bool = False, cwd: Path | None = None) -> bool:
        """Run a program with its output appended to the log and no input; return whether it succeeded.

        An interruption ends the program gently and waits for it, so that a package manager can finish its step.
        """
        command = (*(self.root if as_root else ()), *QUIET, *command)
        with self.log.open("ab") as log:
            log.write(f"\n$ {' '.join(str(part) for part in command)}\n".encode())
            log.flush()
            with subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=cwd
            ) as process:
                try:
                    return process.wait() == 0
                except BaseException:
                    process.terminate()
                    raise

    def run(self, failure: str, *command: str | Path, as_root: bool = False, cwd: Path | None = None) -> None:
        """Run a program as `attempt` does; raise ServerError with the end of the log if it fails."""
        if self.attempt(*command, as_root=as_root, cwd=cwd):
            return
        raise ServerError(
            failure,
            where=str(self.log),
            notes=tuple(line for line in tail(self.log, LOG_LINES) if line.strip()),
            hint="Nothing is half installed. Fix what the log reports and run `invoke server.install` again.",
        )


def ask(*command: str) -> tuple[str, ...]:
    """Return the lines of a question's answer; none if the command fails."""
    answer = subprocess.run([*QUIET, *command], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return tuple(line for line in answer.stdout.splitlines() if line.strip()) if answer.returncode == 0 else ()


def _unsupported(what: str) -> ServerError:
    hint = f"Install PostgreSQL 15 or newer with TimescaleDB yourself. {OTHER_WAYS}"
    return ServerError(what, where=platform.platform(terse=True), hint=hint)
