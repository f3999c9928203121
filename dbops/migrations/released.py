"""What git knows as released of the migrations, and what released files contained.

What is released is, in this order:

1. what the version tags contain that HEAD descends from, such as v1.2.0 or v1.2.0-rc1, all of them together;
2. without such a tag, on a branch: what the main branch contained when the branch left it;
3. without such a tag, on the main branch itself or a commit of it: nothing.

Where CI is set, a clone that lacks the tags of its remote repository is not taken for a project without releases.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

_GIT_SECONDS = 60
# Within the transaction of a migration, which may hold locks.
_GIT_SECONDS_MEANWHILE = 5
MAIN = ("origin/main", "main")
# As in Semantic Versioning and PEP 440.
_VERSION = re.compile(r"v\d+(?:\.\d+)*(?:[.-]?(?:a|alpha|b|beta|pre|rc|post|dev)(?:[.-]?\d+)*)*(?:\+[0-9A-Za-z.-]+)?")


class UnknownHistoryError(Exception):
    """Git does not know what is released; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Release:
    """What counts as released: in words, and by file name the commit that has it; no names if nothing is."""

    description: str
    commits: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the released files, in order."""
        return tuple(sorted(self.commits))


def find(directory: Path) -> Release:
    """Return what is released of a directory; UnknownHistoryError where git or the history is missing."""
    if _git(directory, "rev-parse", "--is-shallow-repository") == "true":
        raise UnknownHistoryError("this clone is shallow: run `git fetch --unshallow --tags` (CI: fetch-depth: 0)")
    head = _known(directory, "HEAD")
    if not head:
        return Release("there is no commit")
    merged = ("--merged=HEAD", "--sort=version:refname", "--format=%(refname:lstrip=2)")
    tags = [tag for tag in _git(directory, "for-each-ref", *merged, "refs/tags/v*").splitlines() if _is_version(tag)]
    if tags:
        # Most tags are contained in a later one.
        heads = _git(directory, "merge-base", "--independent", *(f"refs/tags/{tag}" for tag in tags)).splitlines()
        by_commit = {_known(directory, f"refs/tags/{tag}"): tag for tag in tags}
        return _release(directory, {head: f"tag {by_commit[head]}" for head in heads})
    if os.environ.get("CI") and "origin" in _git(directory, "remote").splitlines():
        origin = _git(directory, "remote", "get-url", "origin")
        # Nothing was released since from a directory on this machine that is gone.
        is_gone = origin.startswith("/") and not Path(origin).exists()
        listed = "" if is_gone else _git(directory, "ls-remote", "--tags", "--refs", "origin")
        here = _git(directory, "tag", "--list", "v*").splitlines()
        there = (line.partition("refs/tags/")[2] for line in listed.splitlines())
        if missing := [tag for tag in there if _is_version(tag) and tag not in here]:
            raise UnknownHistoryError(
                f"this clone lacks the tags of origin, such as {missing[-1]}: run `git fetch --tags`"
            )
    main = next((name for name in MAIN if _known(directory, name)), "")
    if not main:
        raise UnknownHistoryError(f"neither {' nor '.join(MAIN)} is here: run `git fetch origin main:main --tags`")
    base = _git(directory, "merge-base", "HEAD", main)
    if base == head and _git(directory, "branch", "--show-current") in ("main", ""):
        return Release("there is no version tag")
    return _release(directory, {base: f"{main}, where this branch left it ({base[:9]})"})


def released_names(directory: Path) -> tuple[str, ...]:
    """Return the names of the files that are released; none where git does not know."""
    try:
        return find(directory).names
    except UnknownHistoryError:
        return ()


def checked_out(directory: Path) -> str:
    """Return the commit that is checked out, twelve digits of it; empty where git does not know."""
    try:
        return _git(directory, "rev-parse", "--short=12", "HEAD", seconds=_GIT_SECONDS_MEANWHILE)
    except UnknownHistoryError:
        return ""


def changed_names(directory: Path, release: Release) -> tuple[str, ...]:
    """Return the released files that git finds changed in the directory, or gone from it, in order.

    It counts line ends, which a checksum does not, and does not see a new file that is not added yet.
    """
    found: set[str] = set()
    for commit in set(release.commits.values()):
        differing = _git(directory, "diff", "--name-only", "--no-renames", "--relative", commit, "--", ".").splitlines()
        found |= {name for name in differing if release.commits.get(name) == commit}
    return tuple(sorted(found))


def content(directory: Path, release: Release, name: str) -> bytes:
    """Return what a released file contained."""
    return _git_bytes(directory, "show", f"{release.commits[name]}:./{name}")


def _is_version(tag: str) -> bool:
    return _VERSION.fullmatch(tag) is not None


def _release(directory: Path, descriptions: dict[str, str]) -> Release:
    """Return what some commits contain, together; each has a description."""
    commits: dict[str, str] = {}
    for commit in descriptions:
        for name in _git(directory, "ls-tree", "--name-only", commit, "./").splitlines():
            if name.endswith(".sql"):
                commits[name] = commit
    return Release(" and ".join(descriptions.values()), commits)


def _known(directory: Path, name: str) -> str:
    """Return the commit that a name stands for; empty if there is none."""
    try:
        return _git(directory, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except UnknownHistoryError:
        return ""


def _git(directory: Path, *arguments: str, seconds: float = _GIT_SECONDS) -> str:
    return _git_bytes(directory, *arguments, seconds=seconds).decode("utf-8", "surrogateescape").strip()


def _git_bytes(directory: Path, *arguments: str, seconds: float = _GIT_SECONDS) -> bytes:
    """Return what git prints; UnknownHistoryError if it cannot be run, fails, or takes longer."""
    # A hook that runs lint sets variables that name another index or directory.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environ["GIT_TERMINAL_PROMPT"] = "0"
    # With this suffix v1.1.0-rc1 comes before v1.1.0.
    settings = ("-c", "core.quotePath=false", "-c", "versionsort.suffix=-")
    command = ["git", *settings, "-C", str(directory), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            command, capture_output=True, check=False, env=environ, stdin=subprocess.DEVNULL, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise UnknownHistoryError(f"git {arguments[0]} took longer than {seconds} s") from None
    except OSError as error:
        raise UnknownHistoryError(f"git cannot be run: {error.strerror}") from None
    if done.returncode:
        # What to do about a checkout of another account stands in the lines after the first.
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise UnknownHistoryError(said or f"git {arguments[0]} failed")
    return done.stdout
