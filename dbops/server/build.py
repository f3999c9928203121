"""TimescaleDB built from Debian's source package, as a package of its own that dpkg can install and remove."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from dbops.errors import ServerError
from dbops.server.apt import QUIET, SIGNED_ONLY, Apt, ask

SUITE = "trixie"  # the oldest stable suite that has TimescaleDB's source
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FLAGS = ("-DAPACHE_ONLY=1", "-DREGRESS_CHECKS=OFF", "-DCMAKE_BUILD_TYPE=Release")
CONTROL = """\
Package: {name}
Version: {version}
Architecture: {architecture}
Maintainer: KapMan database operations <nobody@localhost>
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
