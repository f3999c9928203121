"""The gates that judge the repository. `nox` runs those of every day, CI the slow tests too; `nox --list` shows all."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
# `uv run nox` runs in an environment that has all that sessions need; any other nox makes environments for them.
COMPLETE = Path(sys.prefix).resolve() == Path(__file__).resolve().parent / ".venv"
nox.options.default_venv_backend = "none" if COMPLETE else "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "unit", "quick"]

if COMPLETE:
    os.environ["PATH"] = f"{sys.prefix}/bin{os.pathsep}{os.environ.get('PATH', os.defpath)}"

# Tests start many short processes: without bytecode each would compile its imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def install(session: nox.Session, *groups: str) -> None:
    """Install the project and some of its dependency groups, at the versions that pyproject.toml pins, if need be."""
    if session.virtualenv.venv_backend != "none":
        session.install("-e", ".", *nox.project.dependency_groups(PROJECT, *groups))


def install_with_server(session: nox.Session, *groups: str) -> None:
    """Install the project, and PostgreSQL with TimescaleDB if the machine has none and the caller names no server.

    A pooler, shells and the sources of locales too, if this is root and it takes no more than apt: without them, their
    tests are skipped (never in CI).
    """
    install(session, *groups)
    if "KAPMAN_TEST_DATABASE_URL" not in os.environ:
        session.run("invoke", "server.install")
    missing = [program for program in ("pgbouncer", "zsh", "fish") if not shutil.which(program)]
    if not Path("/usr/share/i18n/locales/de_DE").exists():
        missing.append("locales")
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        apt = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")
        quiet = {"external": True, "silent": True, "env": {"DEBIAN_FRONTEND": "noninteractive"}}
        session.run(*apt, "update", success_codes=[0, 100], **quiet)
        session.run(*apt, "install", "-y", "--no-install-recommends", *missing, **quiet)


@nox.session
def lint(session: nox.Session) -> None:
    """Check Python with ruff, SQL with sqlfluff and squawk, workflows, and that released migrations are unchanged."""
    install(session, "lint")
    annotated = ["--output-format", "github"] if "GITHUB_ACTIONS" in os.environ else []
    session.run("ruff", "check", *annotated)
    session.run("ruff", "format", "--check")
    session.run("python", "-m", "dbops.lint")
    # Without the linters of scripts that some machines have and others do not: the result is the same everywhere.
    session.run("actionlint", "-no-color", "-shellcheck=", "-pyflakes=")
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/ci.yml")
    session.run("zizmor", "--offline", "--no-progress", "--quiet", ".github/workflows")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy, strictly."""
    install(session, "types", "lint", "test")
    session.run("mypy", "--num-workers", "auto")


@nox.session
def unit(session: nox.Session) -> None:
    """Run the tests that need no server."""
    install(session, "test", "lint")
    session.run("pytest", "tests/unit", *session.posargs)


@nox.session(python=PYTHONS, venv_backend="uv|virtualenv")
def pythons(session: nox.Session) -> None:
    """Run the tests that need no server on every Python that is there."""
    unit(session)


@nox.session
def quick(session: nox.Session) -> None:
    """Run the tests that need a server and take a second at most; KAPMAN_TEST_DATABASE_URL may name the server."""
    install_with_server(session, "test")
    session.run("pytest", "tests/integration", "-m", "not slow and not soak", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the other ones: whole processes, servers that start and stop, kills, locks that are waited for."""
    install_with_server(session, "test")
    session.run("pytest", "tests/integration", "-m", "slow and not soak", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """Run both, and show what they cover, except in the processes that they start."""
    install_with_server(session, "test")
    # Python 3.12 has a cheaper way to measure coverage.
    core = {"COVERAGE_CORE": "sysmon"} if sys.version_info >= (3, 12) else None
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "tests/integration", *session.posargs, env=core)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def soak(session: nox.Session) -> None:
    """Run the long repetitions that the ordinary run leaves out."""
    install_with_server(session, "test", "lint")
    session.run("pytest", "-m", "soak", *session.posargs)


@nox.session
def engines(session: nox.Session) -> None:
    """Run the integration tests on PostgreSQL 15, 17 and 18; after `--`, the versions to run and options of pytest.

    17 and 18 come from Debian, in chroots that this session makes: that needs root.
    """
    install_with_server(session, "test")
    session.run("python", "-m", "tests.support.engines", "test", *session.posargs)


@nox.session
def debian13(session: nox.Session) -> None:
    """Run the README's two commands on a bare Debian 13, in a chroot that this session makes: that needs root."""
    install(session, "test")
    session.run("python", "-m", "tests.support.debian13")


@nox.session
def screens(session: nox.Session) -> None:
    """Write the screens in docs/screens, from real runs on a temporary server, where they have changed."""
    install_with_server(session, "test")
    session.run("python", "-m", "tests.support.screens")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure whole commands and the schema at scale; after `--`, --quick for a few rows."""
    install_with_server(session, "test")
    session.run("python", "-m", "bench", *session.posargs)
