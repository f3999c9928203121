"""Migration files: find and validate them, read their headers, begin the next one."""

from __future__ import annotations

import codecs
import hashlib
import re
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from pathlib import Path

from dbops.errors import Location, UsageError
from dbops.migrations.sqlsplit import NAME, Statement, all_words, leading, location_at, split, without_comments
from dbops.settings import MIGRATIONS, shortened, shown_path, with_unit

_NAME = re.compile(r"(?P<version>\d{4}|[1-9]\d{4,})_(?P<name>[a-z][a-z0-9]*(?:_[a-z0-9]+)+)\.sql")
# File systems take 255 bytes, the number and the suffix among them.
LONGEST_NAME = 200
_WORDS = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")
_PASSED_OVER = re.compile(r"\..*|.*~|#.*#|.*\.(orig|rej|bak|md)")
_HINT = "Correct the files, then see what would run with `invoke db.migrate --plan`."
_MOST_NOTES = 20
_NEW = """\
-- Why:   what this is for, in a sentence.
-- Needs: the migrations or the state of the data that this relies on.
-- Locks: MODE on schema.table for each table that is there before, or none; `db.migrate --rehearse` measures it.
-- If the defaults do not fit, add `lock-timeout: 2s`, `lock-budget: 10min`, `statement-timeout: 10min`,
-- `migrate: own-transaction` or `migrate: no-transaction` as lines of their own, such as those above.
"""

# Headers: comment lines of the form `-- key: value` before the first statement.
_LINE = re.compile(r"--[ \t]*(?P<key>[A-Za-z][A-Za-z_-]*)[ \t]*:(?P<value>.*)")
_MORE = re.compile(r"--[ \t]{2,}(?P<value>\S.*)")
_LIMITS = ("lock-timeout", "lock-budget", "statement-timeout")
_DIRECTIVES = ("migrate", *_LIMITS)
_MODES = ("", "own-transaction", "no-transaction")
_DIRECTIVE = re.compile(rf"(?:\A|(?<=[\r\n]))[ \t]*--[ \t]*(?:{'|'.join(_DIRECTIVES)})[ \t]*:", re.IGNORECASE)
# Lines that look like a directive but do not have its form.
_NEAR = re.compile(
    r"(?:\A|(?<=[\r\n]))(?:[ \t]*--|[ \t]*/\*)?[ \t*]*+"
    r"(?:(?:migrate\b\W*)?(?:own|no)\W?transaction[ \t]*(?:\*/)?(?=[\r\n]|\Z)"
    r"|(?:lock|statement)\W?(?:timeout|budget)\W{0,3}\d[^\r\n]*)",
    re.IGNORECASE,
)
_FORMS = "a directive is a line such as `-- migrate: no-transaction` or `-- lock-timeout: 2s`"

_TRANSACTION_CONTROL = {
    ("BEGIN",), ("START", "TRANSACTION"), ("COMMIT",), ("END",), ("ROLLBACK",), ("ABORT",),
    ("SAVEPOINT",), ("RELEASE",), ("PREPARE", "TRANSACTION"),
}  # fmt: skip
_INDEX_BUILDS = {("CREATE", "INDEX"), ("CREATE", "UNIQUE", "INDEX")}

# Statements are cut as they must be while this is on; dumps set it to that.
_STRINGS = re.compile(r"\bstandard_conforming_strings\b(?!\W*(?:=|TO|,)\W*(?:on|true|yes|1)\b)", re.IGNORECASE)
# PostgreSQL takes either word for the client, in either direction.
_CLIENT = {(direction, client) for direction in ("FROM", "TO") for client in ("STDIN", "STDOUT")}

# A file of such statements leaves the session as it was, unless it has one of these words.
_DEFINITIONS = {("CREATE",), ("ALTER",), ("DROP",), ("COMMENT",), ("GRANT",), ("REVOKE",)}
_TOUCHES = {"execute", "pg_temp", "select", "set_config", "temp", "temporary"}

# Possessive throughout: CONCURRENTLY and ON are never taken for names, even if then nothing matches.
_BUILDS = re.compile(
    rf"CREATE\s++(?:UNIQUE\s++)?+INDEX\s++(?:CONCURRENTLY\b\s*+)?+(?:IF\s++NOT\s++EXISTS\b\s*+)?+(?P<name>{NAME})"
    rf"\s*+ON\b\s*+(?:ONLY\b\s*+)?+(?P<table>{NAME}(?:\s*+\.\s*+{NAME})?+)",
    re.IGNORECASE,
)


class InvalidFileError(Exception):
    """What is wrong with one file, for people, where in it if that is known, and what to do."""

    def __init__(self, what: str, location: Location | None = None, hint: str = "") -> None:
        super().__init__(what)
        self.location = location
        self.hint = hint or _HINT


@dataclass(frozen=True, slots=True)
class Header:
    """What the runner and the plan take from a file's header; empty where the file says nothing."""

    locks: str = ""
    transactional: bool = True
    lock_timeout: str = ""
    statement_timeout: str = ""
    lock_budget: str = ""
    own_transaction: bool = False


@dataclass(frozen=True, slots=True)
class Migration:
    """A valid file; `name` is its whole stem, `checksum` the sha256 of its normalised text.

    A file that is being written has no `statements`, and cannot be applied. `adds_enum_value` is whether it adds a
    value to a type, which can be used only after a commit; `touches_session` whether it may leave settings or other
    things behind in its session. `label` is the path to show: relative where the file is below the working directory.
    """

    version: int
    name: str
    path: Path
    checksum: str
    header: Header
    adds_enum_value: bool
    text: str = field(repr=False, compare=False)
    statements: tuple[Statement, ...] = field(repr=False, compare=False)
    label: str = field(repr=False)
    touches_session: bool = field(repr=False)


@dataclass(frozen=True, slots=True)
class IndexBuild:
    """A CREATE INDEX: the index's name and its table, as the statement writes them."""

    name: str
    table: str


def discover(directory: Path = MIGRATIONS, *, allow_empty: bool = False) -> tuple[Migration, ...]:
    """Return a directory's migrations in order: those of this repository, unless another one is given.

    Each file is read once: what is validated here is what will be sent. `allow_empty` accepts files without
    statements. Raises UsageError that names everything that is wrong at once.
    """
    found, problems = examine(directory)
    problems += [] if allow_empty else _empty(found)
    problems = sorted(problems, key=lambda problem: problem[0]) or order_problems(found)
    if problems:
        raise _error(directory, problems)
    return tuple(found)


def examine(directory: Path) -> tuple[list[Migration], list[tuple[Path, InvalidFileError]]]:
    """Return a directory's valid migrations in order, and what is wrong with the other files, each by itself."""
    problems: list[tuple[Path, InvalidFileError]] = []
    found: list[Migration] = []
    shown = shown_path(directory / "x").removesuffix("x")
    for path in _entries(directory):
        try:
            found.append(_validated(path, directory, f"{shown}{path.name}"))
        except InvalidFileError as problem:
            problems.append((path, problem))
    found.sort(key=lambda migration: (migration.version, migration.name))
    return found, problems


def refuse_empty(migrations: tuple[Migration, ...]) -> None:
    """Raise UsageError for migrations that have no statements yet."""
    if problems := _empty(migrations):
        raise _error(problems[0][0].parent, problems)


@dataclass(frozen=True, slots=True)
class NewFile:
    """The next migration, which was just written."""

    path: Path


@dataclass(frozen=True, slots=True)
class Renumbered:
    """The migrations that were renamed, old and new path; none where the file `name` was the last already."""

    name: str
    renamed: tuple[tuple[Path, Path], ...]


def new_file(directory: Path, name: str) -> NewFile:
    """Write the next migration, a header to fill in; UsageError for a bad name."""
    stem = re.sub(r"[\s-]+", "_", name.strip().lower())
    if not _WORDS.fullmatch(stem) or len(stem) > LONGEST_NAME:
        raise UsageError(
            f'invalid migration name "{shortened(name)}"',
            where="the NAME argument",
            hint="Use a verb and an object, as in `invoke db.new add_tickers_exchange`.",
        )
    migrations = discover(directory, allow_empty=True) if directory.is_dir() else ()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{migrations[-1].version + 1 if migrations else 1:04}_{stem}.sql"
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(_NEW)
    return NewFile(path)


def renumber(directory: Path, name: str, *, released: Collection[str] = ()) -> Renumbered:
    """Give a file the number after all others, as is needed after a merge.

    `name` is the file's name or path. If its old number is then missing, the files above it move down by one. Nothing
    is renamed where the file is the last already. Raises UsageError if there is no such migration, or a file would be
    renamed that is one of the `released` names.
    """
    numbers = {path: int(match["version"]) for path in _entries(directory) if (match := _NAME.fullmatch(path.name))}
    chosen = directory / Path(name).name
    if chosen not in numbers:
        raise UsageError(
            f'no migration "{shortened(name)}"',
            where=shown_path(directory),
            hint="Name a file of this directory, as in `invoke db.new --renumber 0007_add_splits_table.sql`.",
        )
    old = numbers.pop(chosen)
    last = max(numbers.values(), default=0)
    wanted = {chosen: last + 1}
    if old < last and old not in numbers.values():
        wanted = {path: number - 1 for path, number in numbers.items() if number > old} | {chosen: last}
    renamed = [(path, path.with_name(f"{number:04}_{path.name.partition('_')[2]}")) for path, number in wanted.items()]
    renamed = [(path, new) for path, new in sorted(renamed) if path != new]
    if fixed := [path.name for path, _ in renamed if path.name in released]:
        raise UsageError(
            f"{fixed[0]} is released and keeps its number",
            where=shown_path(directory / fixed[0]),
            hint="Renumber the files that are not released.",
        )
    # By way of hidden names, since a new name may be that of a file that is still to be renamed.
    for path, _ in renamed:
        path.rename(path.with_name(f".{path.name}"))
    for path, new in renamed:
        path.with_name(f".{path.name}").rename(new)
    return Renumbered(name, tuple(renamed))


def parse_header(text: str) -> Header:
    """Return the header of a migration's text; ValueError for a directive that cannot be followed.

    A line that is indented by two blanks or more continues the one above.
    """
    values: dict[str, str] = {}
    last = ""
    for part in leading(text):
        if match := _LINE.fullmatch(part):
            last = match["key"].lower().replace("_", "-")
            if last in values and last in _DIRECTIVES:
                raise ValueError(f'"{last}" is given twice')
            values[last] = match["value"].strip(" \t")
        elif near := _NEAR.search(part):
            raise ValueError(f'"{near.group().strip()}" would have no effect: {_FORMS}')
        elif last and (more := _MORE.fullmatch(part)):
            values[last] = f"{values[last]} {more['value'].rstrip()}"
        elif part.count("\n") > 1 or not part.isspace():
            last = ""
    mode = values.get("migrate", "")
    if mode not in _MODES:
        raise ValueError(f'unknown directive "migrate: {mode}": write no-transaction or own-transaction')
    values |= {key: with_unit(values[key]) for key in _LIMITS if key in values}
    return Header(
        locks=values.get("locks", ""),
        transactional=mode != "no-transaction",
        lock_timeout=values.get("lock-timeout", ""),
        statement_timeout=values.get("statement-timeout", ""),
        lock_budget=values.get("lock-budget", ""),
        own_transaction=mode == "own-transaction",
    )


def read_sql(path: Path) -> str:
    """Return the normalised text of a file of SQL; InvalidFileError if it is not a text file that can be read."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InvalidFileError("is a directory, not a file")
        if not stat.S_ISREG(mode):
            raise InvalidFileError("is not a regular file")
        content = path.read_bytes()
    except OSError as error:
        raise InvalidFileError(f"cannot be read: {error.strerror}") from None
    try:
        text = normalise(content)
    except UnicodeDecodeError as error:
        offset = len(error.object[: error.start].decode())
        found = location_at(error.object.decode("utf-8", "replace"), offset, shown_path(path))
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        byte = f"byte 0x{error.object[error.start]:02x} in line {found.line}"
        raise InvalidFileError(f"is not UTF-8: {'it looks like UTF-16' if utf16 else byte}", found) from None
    if "\0" in text:
        raise InvalidFileError("contains a NUL character", location_at(text, text.index("\0"), shown_path(path)))
    return text


def normalise(content: bytes) -> str:
    """Return a file's text without BOM and with LF line ends: what is hashed, and what is sent."""
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8").replace("\r\n", "\n")


def first_of(notes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first notes, and how many more there are."""
    more = len(notes) - _MOST_NOTES
    return notes if more <= 0 else (*notes[:_MOST_NOTES], f"and {more} more")


def index_build(statement: str) -> IndexBuild | None:
    """Return the index that a CREATE INDEX names; None for another statement, or one that names no index."""
    match = _BUILDS.match(without_comments(statement))
    return IndexBuild(match["name"], match["table"]) if match else None


def _entries(directory: Path) -> list[Path]:
    """Return the directory's entries that may be meant as migrations."""
    try:
        return sorted(path for path in directory.iterdir() if not _PASSED_OVER.fullmatch(path.name))
    except OSError as error:
        raise UsageError(
            f"cannot read the migrations directory: {error.strerror}",
            where=shown_path(directory),
            hint="Create it with `invoke db.new NAME`, or run from a checkout of the repository.",
        ) from None


def _validated(path: Path, directory: Path, label: str) -> Migration:
    """Return the migration in a file, which is shown as `label`; raise InvalidFileError if it is not one."""
    text = read_sql(path)
    if path.is_symlink() and not path.resolve().is_relative_to(directory.resolve()):
        raise InvalidFileError(f"is a symlink out of the migrations directory, to {path.resolve()}")
    match = _NAME.fullmatch(path.name)
    if not match or int(match["version"]) == 0:
        raise InvalidFileError("must be named NNNN_verb_object.sql, in lower case")
    try:
        header = parse_header(text)
    except ValueError as error:
        raise InvalidFileError(f"has an error in its header: {error}") from None
    statements = tuple(split(text))
    for statement, following in zip_longest(statements, statements[1:]):
        words, what, offset = statement.words, "", statement.start
        between = statement.end, following.start if following else len(text)
        if statement.psql >= 0:
            what, offset = "contains a backslash command, which only psql understands: write SQL only", statement.psql
        elif {words[:1], words[:2]} & _TRANSACTION_CONTROL:
            what = f"contains {words[0]}: a migration must not contain transaction control"
        elif words[:1] not in _DEFINITIONS and _STRINGS.search(statement.text):
            what = "changes standard_conforming_strings, which decides where statements end: write E'...' instead"
        elif statement.begins("COPY") and _CLIENT & set(pairwise(words)):
            what = "contains COPY from or to the client, which has no data here: use INSERT or a table"
        elif text.find("--", *between) >= 0 and (late := _DIRECTIVE.search(text, *between)):
            what = "has a directive below its first statement, where it has no effect"
            offset = late.start()
        if what:
            raise InvalidFileError(what, location_at(text, offset, label))
    if not header.transactional and statements:
        if (count := len(statements)) > 1:
            raise InvalidFileError(f'says "migrate: no-transaction" and has {count} statements: it must have one')
        builds_index = {statements[0].words[:2], statements[0].words[:3]} & _INDEX_BUILDS
        if builds_index and index_build(statements[0].text) is None:
            # It could not be found again if it failed.
            raise InvalidFileError(
                "builds an index that is not named: outside a transaction, "
                "write CREATE INDEX CONCURRENTLY name ON table",
                location_at(text, statements[0].start, label),
            )
    return Migration(
        version=int(match["version"]),
        name=path.stem,
        path=path,
        checksum=hashlib.sha256(text.encode()).hexdigest(),
        header=header,
        adds_enum_value=any(s.begins("ALTER", "TYPE") and ("ADD", "VALUE") in pairwise(s.words) for s in statements),
        text=text,
        statements=statements,
        label=label,
        touches_session=not all_words(text).isdisjoint(_TOUCHES)
        or any(s.words[:1] not in _DEFINITIONS for s in statements),
    )


def _empty(migrations: Iterable[Migration]) -> list[tuple[Path, InvalidFileError]]:
    """Return the files that have no statements, as problems."""
    texts = {migration.path: migration.text.strip() for migration in migrations if not migration.statements}
    return [
        (path, InvalidFileError("has comments only, and no statement" if text else "is empty"))
        for path, text in texts.items()
    ]


def order_problems(found: list[Migration]) -> list[tuple[Path, InvalidFileError]]:
    """Return what is wrong with the numbers of files that are valid each by itself."""
    problems = []
    for expected, (before, migration) in enumerate(zip([None, *found], found, strict=False), start=1):
        if before and before.version == migration.version:
            hint = f"If it is not released, `invoke db.new {migration.path.name} --renumber` gives it the next number."
            problem = InvalidFileError(f"has the same number as {before.name}", hint=hint)
            problems.append((migration.path, problem))
        elif migration.version != (before.version + 1 if before else expected):
            gap = before.version + 1 if before else 1
            problems.append((migration.path, InvalidFileError(f"leaves a gap: {gap:04} is missing")))
    return problems


def _error(directory: Path, problems: list[tuple[Path, InvalidFileError]]) -> UsageError:
    """Return one error for all problems: a single one with its location, many as a list."""
    if len(problems) == 1:
        path, problem = problems[0]
        return UsageError(
            f"{path.name} {problem}", where=shown_path(path), location=problem.location, hint=problem.hint
        )
    return UsageError(
        f"{len(problems)} problems with the migration files",
        where=shown_path(directory),
        notes=first_of(tuple(f"{p.location or shown_path(path)} {p}" for path, p in problems)),
        hint=_HINT,
    )
