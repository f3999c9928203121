"""Released migrations are immutable: compare the directory with what git knows as released.

What is released is, in this order:

1. what the newest `v*` tag contains that HEAD descends from;
2. without such a tag, on a branch: what the main branch contained when the branch left it;
3. without such a tag, on the main branch itself: nothing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dbops.lint.findings import Finding
from dbops.migrations import files

MAIN = ("origin/main", "main")
NEXT = "Restore it, and write the change as a new migration: `invoke db.new NAME`."


class UnknownHistoryError(Exception):
    """Git cannot tell what is released; the text says why, and what to do."""


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
    if tags := _git(directory, "tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname"):
        tag = tags.splitlines()[0]
        return _release(directory, f"refs/tags/{tag}", f"tag {tag}")
    main = next((name for name in MAIN if _known(directory, name)), "")
    if not main:
        raise UnknownHistoryError(f"neither {' nor '.join(MAIN)} is here: run `git fetch origin main:main --tags`")
    base = _git(directory, "merge-base", "HEAD", main)
    if base == head:
        return Release("", "nothing is released: there is no v* tag")
    return _release(directory, base, f"{main}, where this branch left it ({base[:9]})")


def check(directory: Path, release: Release) -> Iterator[Finding]:
    """Yield what contradicts that released files are unchanged and new ones are numbered above them."""
    if not release.commit:
        return
    here = {path.name: path for path in directory.glob("*.sql")}
    new = {name: path for name, path in here.items() if name not in release.names}
    for name in release.names:
        label = files.label(directory / name)
        before = _normalised(_git_bytes(directory, "show", f"{release.commit}:./{name}"))
        if name in here:
            after = _normalised(here[name].read_bytes())
            if after != before:
                why = f"This file is released ({release.description}) and was edited; comments count."
                yield Finding(label, _first_difference(before, after), 1, "released-edited", why, NEXT)
        else:
            copy = next((n for n, path in new.items() if _normalised(path.read_bytes()) == before), "")
            what = f"was renamed to {copy}" if copy else "was removed"
            yield Finding(
                label, 1, 1, "released-removed", f"{name} is released ({release.description}) and {what}.", NEXT
            )
    highest = max((_number(name) for name in release.names), default=0)
    for name, path in sorted(new.items()):
        if 0 < _number(name) <= highest:
            why = f"A new migration must be numbered above {highest:04}, the last released one ({release.description})."
            renumber = f"Run `invoke db.new --renumber {name}`."
            yield Finding(files.label(path), 1, 1, "released-number", why, renumber)


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
    command = ["git", "-c", "core.quotePath=false", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False, env=environ)  # noqa: S603 - our own arguments
    except OSError as error:
        raise UnknownHistoryError(f"git cannot be run: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise UnknownHistoryError(said[0] if said else f"git {arguments[0]} failed")
    return done.stdout


def _normalised(content: bytes) -> str:
    """Return a text as its checksum sees it; what is not UTF-8 is compared all the same."""
    try:
        return files.normalise(content)
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _first_difference(before: str, after: str) -> int:
    """Return the first line, from 1, in which two texts differ."""
    old, new = before.splitlines(), after.splitlines()
    same = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    return max(1, min(same + 1, len(new)))


def _number(name: str) -> int:
    number = name.split("_")[0]
    return int(number) if number.isdecimal() else 0
