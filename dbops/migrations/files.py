"""Migration files: find them, judge them, read them, begin the next one."""

from __future__ import annotations

import codecs
import hashlib
import re
import stat
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from dbops.errors import UsageError
from dbops.migrations import headers, rules
from dbops.migrations.headers import Header
from dbops.migrations.place import place_at
from dbops.migrations.rules import UnlawfulError
from dbops.migrations.statements import split

_NAME = re.compile(r"(?P<version>\d{4}|[1-9]\d{4,})_(?P<name>[a-z][a-z0-9]*(?:_[a-z0-9]+)+)\.sql")
_WORDS = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")
_LEFTOVER = re.compile(r"\..*|.*~|#.*#|.*\.(orig|rej|bak|md)")
_NAME_RULE = "must be named NNNN_verb_object.sql, in lower case"
_HINT = "Correct the files, then see what would run with `invoke db.migrate --plan`."
_MOST_NOTES = 20
_NEW = """\
-- Why:   what this is for, in a sentence.
-- Needs: the migrations or the state of the data that this relies on.
-- Locks: which tables it locks, how strongly, and for how long; "none" for new objects only.
-- If the defaults do not fit, add `lock-timeout: 2s`, `statement-timeout: 10min` or `migrate: no-transaction`
-- as lines of their own, such as those above.

"""


@dataclass(frozen=True, slots=True)
class Migration:
    """A lawful file; `name` is its whole stem, `checksum` the sha256 of its normalised text, `size` in bytes.

    `adds_enum_value` tells that what it adds to a type can be used only after a commit.
    """

    version: int
    name: str
    path: Path
    checksum: str
    size: int
    statements: int
    header: Header
    adds_enum_value: bool

    @property
    def label(self) -> str:
        """Return the path as people and editors want it: relative where the file is below the working directory."""
        return label(self.path)


def discover(directory: Path) -> tuple[Migration, ...]:
    """Return a directory's migrations in order; UsageError names everything that is wrong with them at once."""
    problems: list[tuple[Path, UnlawfulError]] = []
    found: list[Migration] = []
    for path in _entries(directory):
        try:
            found.append(_judge(path, directory))
        except UnlawfulError as problem:
            problems.append((path, problem))
    found.sort(key=lambda migration: (migration.version, migration.name))
    if not problems:
        problems = _order_problems(found)
    if problems:
        raise _refusal(directory, problems)
    return tuple(found)


def read(migration: Migration) -> str:
    """Return a migration's normalised text; UsageError if it is not what it was when it was discovered."""
    try:
        text = normalise(_bytes(migration.path))
    except (OSError, UnicodeDecodeError):
        text = ""
    if checksum(text) != migration.checksum:
        raise UsageError(
            f"migration {migration.name} changed while it was being worked on",
            where=migration.label,
            hint="Nothing of it was sent. Leave the files alone while a migration runs, and try again.",
        )
    return text


def new_file(directory: Path, name: str) -> Path:
    """Write the next migration, a header to fill in, and return its path; UsageError for a bad name."""
    stem = re.sub(r"[\s-]+", "_", name.strip().lower())
    if not _WORDS.fullmatch(stem):
        raise UsageError(
            f'"{name}" is no name for a migration',
            where="the NAME argument",
            hint="Use a verb and an object, as in `invoke db.new add_tickers_exchange`.",
        )
    migrations = discover(directory) if directory.is_dir() and any(_entries(directory)) else ()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{migrations[-1].version + 1 if migrations else 1:04}_{stem}.sql"
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(_NEW)
    return path


def normalise(content: bytes) -> str:
    """Return a file's text without BOM and with LF line ends: what is hashed, and what is sent."""
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8").replace("\r\n", "\n")


def checksum(text: str) -> str:
    """Return the sha256 of a normalised text, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def first_of(notes: tuple[str, ...]) -> tuple[str, ...]:
    """Return as many notes as anyone reads, and how many more there are."""
    more = len(notes) - _MOST_NOTES
    return notes if more <= 0 else (*notes[:_MOST_NOTES], f"and {more} more")


def label(path: Path) -> str:
    """Return a path relative to the working directory, or as it is where it lies elsewhere."""
    try:
        return path.absolute().relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return path.as_posix()


def _entries(directory: Path) -> list[Path]:
    """Return what lies in the directory and might be meant as a migration."""
    try:
        return sorted(path for path in directory.iterdir() if not _LEFTOVER.fullmatch(path.name))
    except OSError as error:
        raise UsageError(
            f"cannot read the migrations directory: {error.strerror}",
            where=label(directory),
            hint="Create it with `invoke db.new NAME`, or run from a checkout of the repository.",
        ) from None


def _judge(path: Path, directory: Path) -> Migration:
    """Return the migration in a file; UnlawfulError if it is none."""
    content = _content(path, directory)
    match = _NAME.fullmatch(path.name)
    if not match or int(match["version"]) == 0:
        raise UnlawfulError(_NAME_RULE)
    text = _text(path, content)
    try:
        header = headers.parse(text)
    except ValueError as error:
        raise UnlawfulError(str(error)) from None
    count, end, adds_enum_value = 0, -1, False
    for statement in split(text):
        if count:
            rules.check_gap(label(path), text, end, statement.start)
        end = statement.end
        count += 1
        adds_enum_value |= statement.begins("ALTER", "TYPE") and ("ADD", "VALUE") in pairwise(statement.words)
        rules.check_statement(label(path), text, statement)
        if not header.transactional:
            rules.check_index(label(path), text, statement)
    rules.check_whole(text, header, count)
    rules.check_gap(label(path), text, end, len(text))
    version, size = int(match["version"]), len(content)
    return Migration(version, path.stem, path, checksum(text), size, count, header, adds_enum_value)


def _content(path: Path, directory: Path) -> bytes:
    """Return a file's bytes, if it is a file of this tree that can be read."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UnlawfulError("is a directory; migrations lie side by side")
        if not stat.S_ISREG(mode):
            raise UnlawfulError("is not a regular file")
        if path.is_symlink() and not path.resolve().is_relative_to(directory.resolve()):
            raise UnlawfulError(f"is a symlink out of the migrations directory, to {path.resolve()}")
        return _bytes(path)
    except OSError as error:
        raise UnlawfulError(f"cannot be read: {error.strerror}") from None


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read()


def _text(path: Path, content: bytes) -> str:
    """Return the normalised text of bytes that are UTF-8 without NUL."""
    try:
        text = normalise(content)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{error.object[error.start]:02x} in line {line}"
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        raise UnlawfulError(f"is not UTF-8: {'it looks like UTF-16' if utf16 else byte}") from None
    if "\0" in text:
        raise UnlawfulError("contains a NUL character", place_at(text, text.index("\0"), label(path)))
    return text


def _order_problems(found: list[Migration]) -> list[tuple[Path, UnlawfulError]]:
    """Return what is wrong with the numbers of files that are lawful each by itself."""
    problems = []
    for expected, (before, migration) in enumerate(zip([None, *found], found, strict=False), start=1):
        if before and before.version == migration.version:
            problems.append((migration.path, UnlawfulError(f"has the same number as {before.name}")))
        elif migration.version != (before.version + 1 if before else expected):
            gap = before.version + 1 if before else 1
            problems.append((migration.path, UnlawfulError(f"leaves a gap: {gap:04} is missing")))
    return problems


def _refusal(directory: Path, problems: list[tuple[Path, UnlawfulError]]) -> UsageError:
    """Return one error for all that is wrong: a single problem with its place, many as a list."""
    if len(problems) == 1:
        path, problem = problems[0]
        return UsageError(f"{path.name} {problem}", where=label(path), location=problem.location, hint=_HINT)
    return UsageError(
        f"{len(problems)} problems with the migration files",
        where=label(directory),
        notes=first_of(tuple(f"{p.location or label(path)} {p}" for path, p in problems)),
        hint=_HINT,
    )
