"""Find and read check files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dbops.errors import Location, UsageError
from dbops.settings import ROOT

DECLARED = "dbops.declared"


@dataclass(frozen=True, slots=True)
class CheckFile:
    """One check file: `name` is relative to the directory of checks; `flaw` says why its text is unusable."""

    path: Path
    name: str
    text: str
    flaw: str = ""
    flaw_place: Location | None = None

    @property
    def judges_others(self) -> bool:
        """Return whether the file reads the names that all other files' checks gave (see `runner`)."""
        return DECLARED in self.text

    @property
    def about(self) -> str:
        """Return the first sentence of the file's first comment, which says what it checks."""
        lines = []
        for line in self.text.splitlines():
            if not line.startswith("--"):
                break
            lines.append(line.lstrip("- ").strip())
        return " ".join(lines).split(". ")[0].removesuffix(".")

    def place(self, offset: int = 0) -> Location:
        """Return the place of a character of the file, counted from 0; past the end it is the end."""
        return place_in(self.path, self.text, offset)


def list_checks(directory: Path, *, baseline: bool = False) -> tuple[CheckFile, ...]:
    """Return the check files of the structure suite, then of the baseline suite if asked for, each by name.

    Raises UsageError if a suite has no file: nothing to check is never a success.
    """
    suites = ("structure", "baseline") if baseline else ("structure",)
    return tuple(file for suite in suites for file in _suite(directory, suite))


def select(files: tuple[CheckFile, ...], only: tuple[str, ...]) -> tuple[CheckFile, ...]:
    """Return the named files (`tables`, `structure/tables` or `structure/tables.sql`), or all without names.

    Raises UsageError for a name that fits no file.
    """
    for name in only:
        if not any(_is_called(file, name) for file in files):
            raise UsageError(
                f'no check file is called "{name}"',
                where="--only",
                hint="Run `invoke db.verify --list` for the names; files of the baseline suite need --empty.",
            )
    return tuple(file for file in files if not only or any(_is_called(file, name) for name in only))


def place_in(path: Path, text: str, offset: int) -> Location:
    """Return the place of a character of a text, counted from 0."""
    before = text[:offset]
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    lines = text.split("\n")
    return Location(shown(path), line, column, lines[line - 1].rstrip("\r"))


def shown(path: Path) -> str:
    """Return a path as people read it: from the repository's root if it is in there."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _is_called(file: CheckFile, name: str) -> bool:
    return name.removesuffix(".sql") in (file.name.removesuffix(".sql"), file.path.stem)


def _suite(directory: Path, suite: str) -> tuple[CheckFile, ...]:
    found = sorted((directory / suite).glob("*.sql"), key=lambda path: path.name)
    if not found:
        raise UsageError(
            f"there is no check file in the {suite} suite",
            where=shown(directory / suite),
            hint="Restore the directory db/verify of the repository: an empty suite proves nothing.",
        )
    return tuple(_read(path, f"{suite}/{path.name}") for path in found)


def _read(path: Path, name: str) -> CheckFile:
    try:
        raw = path.read_bytes()
    except OSError as error:
        return CheckFile(path, name, "", f"cannot read the file: {error.strerror}", Location(shown(path), 1, 1, ""))
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        readable = raw.decode("utf-8", "replace")
        offset = len(error.object[: error.start].decode("utf-8"))
        place = place_in(path, readable, offset)
        return CheckFile(path, name, "", f"the file is not UTF-8: byte 0x{raw[error.start]:02x}", place)
    if "\0" in text:
        return CheckFile(path, name, "", "the file has a NUL character", place_in(path, text, text.index("\0")))
    if not text.strip():
        return CheckFile(path, name, text, "the file is empty", place_in(path, text, 0))
    return CheckFile(path, name, text)
