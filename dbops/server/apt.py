"""Debian's package manager: asked in its own words, run without questions, its output kept in a log."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dbops.errors import ServerError
from dbops.server.system import PATH, logged, tail

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
            hint="Nothing is half installed. Mend what the log says and run `invoke server.install` again.",
        )


def ask(*command: str) -> tuple[str, ...]:
    """Return the lines of a question's answer; none if the command fails."""
    answer = subprocess.run([*QUIET, *command], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return tuple(line for line in answer.stdout.splitlines() if line.strip()) if answer.returncode == 0 else ()
