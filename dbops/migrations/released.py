"""What git knows as released of the migrations, and what released files contained.

What is released is, in this order:

1. what the newest `v*` tag contains that HEAD descends from;
2. without such a tag, on a branch: what the main branch contained when the branch left it;
3. without such a tag, on the main branch itself or a commit of it: nothing.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

MAIN = ("origin/main", "main")


class UnknownHistoryError(Exception):
    """Git does not know what is released; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Release:
    """What counts as released: a commit (empty if nothing is), in words, and the files of the directory in it."""

    commit: str
    description: str
    names: tuple[str, ...] = ()


def find(directory: Path) -> Release:
    """Return what is released of a directory; UnknownHistoryError where git or the history is missing."""
    if _git(directory, "rev-parse", "--is-shallow-repository") == "true":
        raise UnknownHistoryError("this clone is shallow: run `git fetch --unshallow --tags` (CI: fetch-depth: 0)")
    head = _known(directory, "HEAD")
    if not head:
        return Release("", "nothing is released: there is no commit")
    newest = ("--sort=-version:refname", "--count=1", "--format=%(refname:lstrip=2)")
    if tag := _git(directory, "for-each-ref", "--merged=HEAD", *newest, "refs/tags/v*"):
        return _release(directory, f"refs/tags/{tag}", f"tag {tag}")
    main = next((name for name in MAIN if _known(directory, name)), "")
    if not main:
        raise UnknownHistoryError(f"neither {' nor '.join(MAIN)} is here: run `git fetch origin main:main --tags`")
    base = _git(directory, "merge-base", "HEAD", main)
    if base == head and _git(directory, "branch", "--show-current") in ("main", ""):
        return Release("", "nothing is released: there is no v* tag")
    return _release(directory, base, f"{main}, where this branch left it ({base[:9]})")


def released_names(directory: Path) -> tuple[str, ...]:
    """Return the names of the files that are released; none where git does not know."""
    try:
        return find(directory).names
    except UnknownHistoryError:
        return ()


def content(directory: Path, release: Release, name: str) -> bytes:
    """Return what a released file contained."""
    return _git_bytes(directory, "show", f"{release.commit}:./{name}")


def _release(directory: Path, commit: str, description: str) -> Release:
    listed = _git(directory, "ls-tree", "--name-only", commit, "./").splitlines()
    return Release(commit, description, tuple(name for name in listed if name.endswith(".sql")))


def _known(directory: Path, name: str) -> str:
    """Return the commit that a name stands for; empty if there is none."""
    try:
        return _git(directory, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except UnknownHistoryError:
        return ""


def _git(directory: Path, *arguments: str) -> str:
    return _git_bytes(directory, *arguments).decode("utf-8", "surrogateescape").strip()


def _git_bytes(directory: Path, *arguments: str) -> bytes:
    """Return what git prints; UnknownHistoryError if it cannot be run or fails."""
    # A hook that runs lint sets variables that name another index or directory.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # With this suffix v1.1.0-rc1 comes before v1.1.0.
    settings = ("-c", "core.quotePath=false", "-c", "versionsort.suffix=-")
    command = ["git", *settings, "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False, env=environ)  # noqa: S603 - our own arguments
    except OSError as error:
        raise UnknownHistoryError(f"git cannot be run: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise UnknownHistoryError(said[0] if said else f"git {arguments[0]} failed")
    return done.stdout
