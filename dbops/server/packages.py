"""Installing PostgreSQL with TimescaleDB: from a package where there is one, else built from Debian's signed source."""

from __future__ import annotations

import os
import platform
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dbops.errors import ServerError
from dbops.events import Message, Report, StepFinished, StepStarted
from dbops.server.directory import tail

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


# Debian's package manager: asked in its own words, run without questions, its output kept in a log.

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
QUIET = ("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", f"PATH={PATH}")
WAIT_FOR_OTHERS = ("-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3")
KEEP_CONFIGURATION = ("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold")
DROP_IN = Path("/etc/postgresql-common/createcluster.d/kapman-dbops.conf")
LOG_LINES = 12
# Whatever the machine's own configuration allows, nothing unsigned is taken.
SIGNED_ONLY = tuple(
    part
    for name in (
        "APT::Get::AllowUnauthenticated",
        "Acquire::AllowInsecureRepositories",
        "Acquire::AllowWeakRepositories",
        "Acquire::AllowDowngradeToInsecureRepositories",
    )
    for part in ("-o", f"{name}=false")
)


@dataclass(frozen=True, slots=True)
class Apt:
    """apt-get and dpkg; `root` is what to put before a command so that root runs it."""

    root: tuple[str, ...]
    log: Path

    def update(self) -> bool:
        """Refresh the lists of packages; return whether all of them could be."""
        return self.attempt(*self.root, *QUIET, "apt-get", *WAIT_FOR_OTHERS, "update")

    def newest(self, pattern: str) -> str:
        """Return the package with the highest number among those that match and can be fetched, or nothing."""
        names = [line.split()[0] for line in ask("apt-cache", "search", "--names-only", pattern)]
        fetchable = [name for name in names if ask("apt-cache", "madison", name)]
        return max(fetchable, key=lambda name: int(re.sub(r"\D", "", name)), default="")

    def missing(self, packages: Sequence[str]) -> tuple[str, ...]:
        """Return those packages that are not installed: what is installed is never upgraded."""
        wanted = ("dpkg-query", "-W", "-f", "${db:Status-Status}\n")
        return tuple(name for name in packages if ask(*wanted, name) != ("installed",))

    def install(self, packages: Sequence[str]) -> None:
        """Install packages, answering no question and changing no configuration file."""
        self.run(
            "apt could not install the packages",
            *self.root,
            *QUIET,
            "apt-get",
            *WAIT_FOR_OTHERS,
            *KEEP_CONFIGURATION,
            "install",
            "-y",
            "--no-install-recommends",
            *packages,
        )

    def install_file(self, package: Path) -> None:
        """Install a package file: dpkg unpacks everything before any file gets its name."""
        self.run("dpkg could not install the package", *self.root, *QUIET, "dpkg", "--install", package)

    @contextmanager
    def no_cluster_of_its_own(self) -> Iterator[None]:
        """Keep Debian's packages from making and starting a server on port 5432 while they are installed."""
        with tempfile.NamedTemporaryFile("w", prefix="kapman-", suffix=".conf") as file:
            file.write("create_main_cluster = false\n")
            file.flush()
            self.attempt(*self.root, "install", "-D", "-m", "644", file.name, DROP_IN)
        try:
            yield
        finally:
            self.attempt(*self.root, "rm", "-f", DROP_IN)
            self.attempt(*self.root, "rmdir", "--ignore-fail-on-non-empty", DROP_IN.parent)

    def attempt(self, *command: str | Path, cwd: Path | None = None) -> bool:
        """Run a command with its output in the log; return whether it succeeded."""
        return logged(command, self.log, cwd)

    def run(self, failure: str, *command: str | Path, cwd: Path | None = None) -> None:
        """Run a command with its output in the log; raise ServerError with the end of the log if it fails."""
        if self.attempt(*command, cwd=cwd):
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


# TimescaleDB from Debian's source package, built as a package of its own that dpkg can install and remove.

SUITE = "trixie"  # the oldest stable suite that has TimescaleDB's source
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FLAGS = ("-DAPACHE_ONLY=1", "-DREGRESS_CHECKS=OFF", "-DCMAKE_BUILD_TYPE=Release")
CONTROL = """\
Package: {name}
Version: {version}
Architecture: {architecture}
Maintainer: KapMan database operations <root@localhost>
Depends: postgresql-{major}
Section: database
Priority: optional
Description: TimescaleDB (Apache edition) for PostgreSQL {major}, built on this machine
 Built by `invoke server.install` from Debian's source package timescaledb.
"""


def build_packages(major: int) -> tuple[str, ...]:
    """Return the packages that the build needs."""
    return (f"postgresql-server-dev-{major}", "cmake", "gcc", "make", "libssl-dev", "dpkg-dev")


def build_package(apt: Apt, directory: Path, major: int) -> Path:
    """Fetch the source, check its signature, build it in a directory and return the package file."""
    source = fetch_source(apt, directory, mirror(), KEYRING)
    stage = directory / "stage"
    _compile(apt, source, directory / "build", stage, major)
    return _pack(apt, source, stage, major)


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
    sources = directory / "sources.list"
    sources.write_text(f"deb-src [signed-by={keyring}] {address} {SUITE} main\n")
    _open_to_sandbox(directory, download)
    command = (*QUIET, "apt-get", *SIGNED_ONLY, *_private(directory, sources))
    apt.run("Debian's list of sources could not be fetched, or its signature is wrong", *command, "update")
    apt.run("TimescaleDB's source could not be fetched", *command, "source", "timescaledb", cwd=download)
    return next(path for path in download.iterdir() if path.is_dir())


def _private(directory: Path, sources: Path) -> tuple[str, ...]:
    """Return the options that keep apt's own lists, caches and sources out of it."""
    options = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": directory / "lists",
        "Dir::Cache": directory / "cache",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    return tuple(part for name, value in options.items() for part in ("-o", f"{name}={value}"))


def _open_to_sandbox(directory: Path, download: Path) -> None:
    """Let apt's unprivileged account write its downloads, as it wants to when root runs it."""
    directory.chmod(0o755)
    if os.geteuid() != 0:
        return
    try:
        account = pwd.getpwnam("_apt")
    except KeyError:
        return
    os.chown(download, account.pw_uid, -1)


def _compile(apt: Apt, source: Path, build: Path, stage: Path, major: int) -> None:
    """Build the source and install it under a stage directory."""
    what = "TimescaleDB could not be built"
    programs = f"-DPG_CONFIG=/usr/lib/postgresql/{major}/bin/pg_config"
    apt.run(what, *QUIET, "cmake", "-S", source, "-B", build, programs, *FLAGS)
    apt.run(what, *QUIET, "make", "-C", build, f"-j{os.cpu_count() or 1}")
    apt.run(what, *QUIET, "make", "-C", build, "install", f"DESTDIR={stage}")


def _pack(apt: Apt, source: Path, stage: Path, major: int) -> Path:
    """Make a package of what is under the stage directory."""
    name = f"postgresql-{major}-timescaledb"
    copyright_file = stage / "usr" / "share" / "doc" / name / "copyright"
    copyright_file.parent.mkdir(parents=True)
    copyright_file.write_bytes((source / "debian" / "copyright").read_bytes())
    version = ask("dpkg-parsechangelog", "-l", str(source / "debian" / "changelog"), "-S", "Version")[0]
    architecture = ask("dpkg", "--print-architecture")[0]
    control = stage / "DEBIAN" / "control"
    control.parent.mkdir()
    control.write_text(CONTROL.format(name=name, version=f"{version}+kapman", architecture=architecture, major=major))
    package = stage.with_name(f"{name}_{architecture}.deb")
    pack = ("dpkg-deb", "--root-owner-group", "-Znone", "--build", stage, package)
    apt.run("the package could not be made", *QUIET, *pack)
    return package
