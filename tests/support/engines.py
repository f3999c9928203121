"""Servers of other PostgreSQL versions for tests: 17 and 18, from Debian, in chroots that this module makes.

    python -m tests.support.engines up 17      start one, or find it running, and print its URL
    python -m tests.support.engines down 17    stop it and remove its data
    python -m tests.support.engines test       run the integration tests on 15, 17 and 18 and print a table

A name after the version (`up 17 mine`) is a server of its own. Chroots need root, are made by debootstrap from the
mirror that apt uses already, and stay in the user's cache directory; to get newer packages, delete them there.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import psycopg

from dbops.settings import ROOT
from tests.support import servers

SUITES = {17: "trixie", 18: "sid"}
LOCAL = 15
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
# Nothing starts by itself: no cluster is made on installation, and no service started.
NO_CLUSTER = "create_main_cluster = false\n"
NO_SERVICE = "#!/bin/sh\nexit 101\n"
MOUNT_PROC = 'mount -t proc proc "$1/proc" && exec chroot "$@"'
# Packages of unstable need /proc while they are installed: mounted for one command, gone when it ends.
WITH_PROC = ("unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNT_PROC, "sh")
# The chroot has no file system of its own in /dev/shm, hence mmap. Other settings are the server's defaults.
CONFIGURATION = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{directory}'
dynamic_shared_memory_type = mmap
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
timescaledb.max_background_workers = 32
max_worker_processes = 40
fsync = off
"""
# A test run that is killed leaves no server behind.
LAST_WILL = 'kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")"; rm -rf "$1"'


class EngineError(Exception):
    """A version that is not available here, or does not start; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What pytest counted in one run."""

    passed: int
    failed: int
    skipped: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Engine:
    """One server of a version in a chroot."""

    major: int
    name: str = "main"

    @property
    def root(self) -> Path:
        """Return the chroot's directory."""
        return _cache() / SUITES[self.major]

    @property
    def inside(self) -> str:
        """Return the server's directory as the chroot sees it."""
        return f"/engines/{self.name}"

    @property
    def directory(self) -> Path:
        """Return the server's directory as this process sees it."""
        return self.root / self.inside.lstrip("/")

    def up(self) -> str:
        """Start the server, making its chroot and its data if need be, and return the URL of its maintenance database.

        A server that runs already is used as it is.
        """
        make_chroot(self.major)
        with _locked(SUITES[self.major]):
            if self._running():
                return (self.directory / "url").read_text()
            shutil.rmtree(self.directory, ignore_errors=True)
            return self._start()

    def down(self) -> None:
        """Stop the server and remove its data, if it is there."""
        if not self.directory.exists():
            return
        with _locked(SUITES[self.major]):
            if self._running():
                self._program("pg_ctl", "stop", "-D", f"{self.inside}/data", "-m", "immediate", "-w")
            shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self) -> str:
        self.directory.mkdir(parents=True)
        _chroot(self.root, "chown", "postgres:postgres", self.inside)
        self.directory.chmod(0o700)
        password, port = secrets.token_urlsafe(24), servers.free_port()
        secret = self.directory / "password"
        secret.touch(0o600)
        secret.write_text(f"{password}\n")
        _chroot(self.root, "chown", "postgres:postgres", f"{self.inside}/password")
        data = f"{self.inside}/data"
        access = ("--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={self.inside}/password")
        self._program("initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", *access)
        with (self.directory / "data" / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION.format(port=port, directory=self.inside))
        self._program("pg_ctl", "start", "-D", data, "-l", f"{self.inside}/log", "-w", "-t", "60")
        url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
        (self.directory / "url").write_text(url)
        return url

    def _running(self) -> bool:
        command = [f"/usr/lib/postgresql/{self.major}/bin/pg_ctl", "status", "-D", f"{self.inside}/data"]
        return _chroot(self.root, *command, account="postgres", check=False).returncode == 0

    def _program(self, program: str, *arguments: str) -> None:
        _chroot(self.root, f"/usr/lib/postgresql/{self.major}/bin/{program}", *arguments, account="postgres")


@contextmanager
def running(major: int) -> Iterator[str]:
    """Yield the URL of a server that only the caller uses and that is gone afterwards, also if the caller is killed."""
    engine = Engine(major, f"run-{secrets.token_hex(4)}")
    url = engine.up()
    try:
        with servers.outlived_by(LAST_WILL, engine.directory):
            yield url
    finally:
        engine.down()


def make_chroot(major: int) -> Path:
    """Make the chroot with a version's packages unless it is there, and return it."""
    if major not in SUITES:
        raise EngineError(f"PostgreSQL {major} is not offered: choose {LOCAL}, 17 or 18")
    return _made(SUITES[major], SUITES[major], install=(f"postgresql-{major}-timescaledb",))


def make_bare_chroot(suite: str, include: str) -> Path:
    """Make a chroot with the packages that debootstrap is to include and no others, unless it is there; return it."""
    return _made(f"{suite}-bare", suite, include=include)


def _made(name: str, suite: str, *, include: str = "", install: Sequence[str] = ()) -> Path:
    """Return a chroot, which gets its name when it is complete."""
    if os.geteuid() != 0:
        raise EngineError(f"Debian's {suite} runs in a chroot, which needs root: run the command as root")
    root = _cache() / name
    root.parent.mkdir(parents=True, exist_ok=True)
    with _locked(name):
        if root.exists():
            return root
        if not shutil.which("debootstrap"):
            _run("apt-get", "-qq", "-y", "install", "--no-install-recommends", "debootstrap")
        print(f"making a chroot of Debian's {suite}: a minute or two", file=sys.stderr)  # noqa: T201
        new = Path(tempfile.mkdtemp(prefix=f"{name}.new-", dir=root.parent))
        try:
            _fill_chroot(new, suite, include, install)
            new.rename(root)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    return root


def _fill_chroot(root: Path, suite: str, include: str, install: Sequence[str]) -> None:
    root.chmod(0o755)
    included = (f"--include={include}",) if include else ()
    _run("debootstrap", "--variant=minbase", *included, f"--keyring={KEYRING}", suite, str(root), _mirror())
    if not install:
        return
    settings = root / "etc" / "postgresql-common"
    (settings / "createcluster.d").mkdir(parents=True)
    (settings / "createcluster.d" / "none.conf").write_text(NO_CLUSTER)
    (root / "usr" / "sbin" / "policy-rc.d").write_text(NO_SERVICE)
    (root / "usr" / "sbin" / "policy-rc.d").chmod(0o755)
    # A mirror may lag behind; what it has is signed all the same.
    apt = ("apt-get", "-qq", "-o", "Acquire::Check-Valid-Until=false")
    _run(*WITH_PROC, str(root), *apt, "update")
    _run(*WITH_PROC, str(root), *apt, "-y", "install", "--no-install-recommends", *install)
    _chroot(root, "apt-get", "clean")


def _mirror() -> str:
    """Return where this machine's apt takes Debian's packages from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    if not found:
        raise EngineError("apt names no mirror of Debian: chroots can be made on Debian only")
    return found[0]


def _cache() -> Path:
    return platformdirs.user_cache_path("kapman-dbops") / "engines"


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Keep other processes from making a chroot, or starting and stopping its servers, at the same time."""
    with (_cache() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _chroot(root: Path, *command: str, account: str = "root", check: bool = True) -> subprocess.CompletedProcess[str]:
    return _run("chroot", f"--userspec={account}:{account}", str(root), *command, check=check)


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it printed; raise EngineError with the end of it if it fails."""
    # A server keeps what it inherits: a pipe would never end.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False, env=ENVIRONMENT
        )
        output.seek(0)
        text = output.read()
    if check and result.returncode != 0:
        raise EngineError(f"{command[0]} failed:\n" + "\n".join(text.splitlines()[-12:]))
    return subprocess.CompletedProcess(command, result.returncode, text)


def run_tests(majors: Sequence[int], arguments: Sequence[str]) -> bool:
    """Run the integration tests on each version, print a table of the outcomes, and return whether all passed."""
    rows = []
    for major in majors:
        if major == LOCAL:
            local = servers.local_installation()
            rows.append((local.version, local.timescaledb, _pytest(arguments)))
        else:
            with running(major) as url:
                rows.append((*_versions(url), _pytest(arguments, url)))
    print("\n| PostgreSQL | TimescaleDB | passed | failed | skipped | seconds |")  # noqa: T201
    print("| --- | --- | ---: | ---: | ---: | ---: |")  # noqa: T201
    for postgresql, timescaledb, counts in rows:
        cells = (postgresql, timescaledb, counts.passed, counts.failed, counts.skipped, f"{counts.seconds:.0f}")
        print(f"| {' | '.join(str(cell) for cell in cells)} |")  # noqa: T201
    return all(counts.passed > 0 and counts.failed == 0 for *_, counts in rows)


def _versions(url: str) -> tuple[str, str]:
    """Return a server's version and the version of TimescaleDB that it offers."""
    with psycopg.connect(url) as connection:
        query = "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
        row = connection.execute(query).fetchone()
        version = connection.info.parameter_status("server_version") or ""
    return version.split()[0], row[0] if row else "none"


def _pytest(arguments: Sequence[str], url: str = "") -> Counts:
    """Run pytest on the server that a URL names, else on throwaway ones, and return what it counted.

    Without a file or directory among the arguments it runs the integration tests.
    """
    environ = {key: value for key, value in os.environ.items() if key != "KAPMAN_TEST_DATABASE_URL"}
    if url:
        environ["KAPMAN_TEST_DATABASE_URL"] = url
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        chosen = any((ROOT / argument.partition("::")[0]).exists() for argument in arguments)
        tests = arguments if chosen else (*arguments, "tests/integration")
        command = [sys.executable, "-m", "pytest", f"--junitxml={report.name}", *tests]
        began = time.monotonic()
        code = subprocess.run(command, env=environ, cwd=ROOT, check=False).returncode
        seconds = time.monotonic() - began
        try:
            suites = list(ET.parse(report.name).iter("testsuite"))
        except ET.ParseError:
            raise EngineError(f"pytest ended with exit code {code} and without a report") from None
    total = {key: sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")}
    failed = total["failures"] + total["errors"]
    return Counts(total["tests"] - failed - total["skipped"], failed, total["skipped"], seconds)


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says and return the exit code."""
    verb, *rest = arguments or ("",)
    majors = []
    while rest and rest[0].isdigit():
        majors.append(int(rest.pop(0)))
    try:
        if verb == "up" and len(majors) == 1:
            print(Engine(majors[0], *rest[:1]).up())  # noqa: T201
        elif verb == "down" and len(majors) == 1:
            Engine(majors[0], *rest[:1]).down()
        elif verb == "test":
            return 0 if run_tests(majors or (LOCAL, *SUITES), rest) else 1
        else:
            print(__doc__, file=sys.stderr)  # noqa: T201
            return 2
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
