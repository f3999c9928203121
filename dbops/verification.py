"""Verification: run the check files and compare the schema with the expected one, without waiting for locks.

All of it happens in one read-only transaction, in one snapshot. A check file is one query with the columns of COLUMNS;
a file that gives anything else, or nothing, is a failed check. So is each object that is not as in the expected schema.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import errors

from dbops.catalog.drift import ObjectDrift, differences, objects
from dbops.catalog.expected import ExpectedSchema
from dbops.catalog.text import HAS_TIMESCALEDB, composed, statement
from dbops.errors import Location, UsageError
from dbops.events import Progress, Report, StepFinished, StepStarted, ignore
from dbops.postgres import (
    UNTRUSTED_CODE,
    Answer,
    Connection,
    pipeline,
    reader,
    reading,
    tables_locked_against_reading,
)
from dbops.settings import Target, shown_path

STEP = "verify"
# The setting that hands the names of all checks to the files that judge what no check names.
DECLARED = "dbops.declared"
STATEMENT_TIMEOUT = 30.0
LOCK_TIMEOUT = 0.2
SCHEMA_CHECK = "schema"
AS_EXPECTED = "as expected"
NOTHING = "(nothing)"
COLUMNS = (("check_name", "text"), ("passed", "bool"), ("expected", "text"), ("actual", "text"))
SHAPE = "one query that returns rows of check_name text, passed boolean, expected text, actual text"

# A cursor takes a single query only, and none that writes.
CURSOR = "DECLARE kapman_check NO SCROLL CURSOR FOR\n"
CLOCK = "SELECT pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())"
SETTINGS = ("SET LOCAL cursor_tuple_fraction = 1", "SET LOCAL max_parallel_workers_per_gather = 0")
READS = re.compile(r'\b(?:FROM|JOIN)\s+(?:ONLY\s+)?("?\w+"?\s*\.\s*"?\w+"?)', re.IGNORECASE)

# How often everything is read again when an object was dropped while it was read.
ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Check:
    """One row of a check file, or why the file gave none.

    `file` is relative to the directory of checks; `seconds` is this row's share of the time that the server
    spent on the file; `location` is set when the file itself is at fault; None in a text is SQL's NULL. Of an object of
    the expected schema, `file` is where that schema is kept.
    """

    file: str
    name: str
    passed: bool
    expected: str | None
    actual: str | None
    seconds: float = 0.0
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """Every check of one run, in the order of the files, then of the objects of the expected schema.

    `seconds` is the wall time of the run, `schema` the canonical text of the schema as it was read with the checks;
    empty if it was not, or could not be, read.
    """

    checks: tuple[Check, ...]
    seconds: float
    schema: str = field(default="", repr=False)

    @property
    def failed(self) -> tuple[Check, ...]:
        """Return the checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def passed(self) -> bool:
        """Return whether there was something to check and all of it passed."""
        return bool(self.checks) and not self.failed

    @property
    def summary(self) -> str:
        """Return the counts in words."""
        total, failed = len(self.checks), len(self.failed)
        checks = "check" if total == 1 else "checks"
        return f"{failed} of {total} {checks} failed" if failed else f"{total} {checks} passed"

    @property
    def missing_tables(self) -> frozenset[str]:
        """Return the names of the tables that do not exist."""
        kinds = (check.name.partition(" ") for check in self.checks if check.actual == "missing")
        return frozenset(name for kind, _, name in kinds if kind == "table" and " " not in name)

    @property
    def failed_parts(self) -> dict[Check, str]:
        """Return the failed checks of parts of missing tables, each with its table: naming the table is enough."""
        missing = self.missing_tables
        parts: dict[Check, str] = {}
        for check in self.failed:
            subject, expected = check.name.partition(" ")[2], check.expected or ""
            if check.actual == "missing" and subject not in missing:
                owners = (
                    t for t in missing if subject.startswith((f"{t}.", f"{t}:")) or expected.startswith(f"on {t}:")
                )
                if table := next(owners, ""):
                    parts[check] = table
        return parts


@dataclass(frozen=True, slots=True)
class CheckFile:
    """A check file: `name` is relative to the directory of checks; `flaw` is why its text cannot be used, and where."""

    path: Path
    name: str
    text: str
    flaw: tuple[str, Location] | None = None

    @property
    def judges_others(self) -> bool:
        """Return whether the file reads the names that all other files' checks gave."""
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

    def failure(self, what: str, location: Location | None = None, *, expected: str = SHAPE) -> Check:
        """Return the failure of the file as a whole, at a location in it, else at its begin."""
        where = location or _location(self.path, self.text, 0)
        return Check(self.name, f"file {self.name}", False, expected, what, 0.0, where)


def list_checks(directory: Path, *, baseline: bool = False) -> tuple[CheckFile, ...]:
    """Return the check files of the structure suite, then of the baseline suite if asked for, each by name.

    Raises UsageError if a suite has no file: nothing to check is never a success.
    """
    files = []
    for suite in ("structure", "baseline") if baseline else ("structure",):
        paths = sorted((directory / suite).glob("*.sql"), key=lambda path: path.name)
        if not paths:
            raise UsageError(
                f"there is no check file in the {suite} suite",
                where=shown_path(directory / suite),
                hint="Restore the directory db/verify of the repository: an empty suite proves nothing.",
            )
        files += [_read(path, f"{suite}/{path.name}") for path in paths]
    return tuple(files)


def select(files: tuple[CheckFile, ...], only: tuple[str, ...]) -> tuple[CheckFile, ...]:
    """Return the named files (`tables`, `structure/tables` or `structure/tables.sql`), or all without names.

    Raises UsageError for a name that fits no file.
    """
    chosen: set[str] = set()
    for name in only:
        bare = name.removesuffix(".sql")
        found = {file.name for file in files if bare in (file.name.removesuffix(".sql"), file.path.stem)}
        if not found:
            raise UsageError(
                f'no check file is called "{name}"',
                where="--only",
                hint="Run `invoke db.verify --list` for the names; files of the baseline suite need --empty.",
            )
        chosen |= found
    return tuple(file for file in files if not only or file.name in chosen)


def verify(
    target: Target,
    directory: Path,
    *,
    baseline: bool = False,
    only: tuple[str, ...] = (),
    statement_timeout: float = STATEMENT_TIMEOUT,
    report: Report = ignore,
) -> Verification:
    """Run the check files of a directory, all of them even if some fail, over a connection of their own.

    `only` names files as for `select`; the rest as for `run`. Raises UsageError for a suite without files and for a
    name in `only` that fits none, ServerError without a connection.
    """
    files = list_checks(directory, baseline=baseline)
    chosen = select(files, only)
    with reader(target) as connection:
        return run(connection, files, chosen, statement_timeout=statement_timeout, report=report)


def run(
    connection: Connection,
    files: tuple[CheckFile, ...],
    chosen: tuple[CheckFile, ...] = (),
    *,
    expected: ExpectedSchema | None = None,
    statement_timeout: float = STATEMENT_TIMEOUT,
    report: Report = ignore,
) -> Verification:
    """Run check files and compare the schema over a connection, in its open transaction if there is one.

    Reads only; `chosen` are the files whose checks are returned, all if empty, and `statement_timeout` holds for each
    file, in seconds. Without `expected`, nothing is compared. The schema is read if it is compared, or if no file is
    chosen. All travels in one round trip; files that judge what the others name (`nothing extra`) follow.
    """
    with_schema = expected is not None or not chosen
    chosen = chosen or files
    started = time.monotonic()
    report(StepStarted(STEP, connection.info.dbname, len(chosen) + bool(expected)))
    for _ in range(ATTEMPTS):
        with reading(connection, statement_timeout=statement_timeout, lock_timeout=LOCK_TIMEOUT):
            found, again = _run(connection, files, chosen)
            schema = _read_schema(connection) if with_schema else _Schema()
        if not again and not schema.gone:
            break
    for number, file in enumerate(chosen):
        report(Progress(STEP, number, file.name))
    if expected:
        report(Progress(STEP, len(chosen), expected.source))
    checks = (*(check for file in chosen for check in found[file.name]), *schema.checks(expected))
    result = Verification(checks, time.monotonic() - started, schema.text)
    # The caller reports failed checks.
    if result.passed:
        report(StepFinished(STEP, result.summary, result.seconds))
    return result


@dataclass(frozen=True, slots=True)
class _Schema:
    """The schema as it was read, in `seconds` of the server's time; or why it could not be read.

    `gone` is whether that was because an object was dropped meanwhile.
    """

    text: str = ""
    seconds: float = 0.0
    failure: str = ""
    gone: bool = False

    def checks(self, expected: ExpectedSchema | None) -> tuple[Check, ...]:
        """Return a check for each object of either schema; one if this schema could not be read."""
        source = expected.source if expected else SCHEMA_CHECK
        if self.failure:
            return (Check(source, SCHEMA_CHECK, False, "to read the schema without waiting", self.failure),)
        if expected is None:
            return ()
        differing = {item.name: item for item in differences(expected.text, self.text)}
        names = sorted({*objects(expected.text), *differing})
        seconds = self.seconds / len(names)
        return tuple(
            Check(source, name, False, *_both_texts(differing[name]), seconds)
            if name in differing
            else Check(source, name, True, AS_EXPECTED, AS_EXPECTED, seconds)
            for name in names
        )


def _both_texts(item: ObjectDrift) -> tuple[str, str]:
    """Return the text of an object, as expected and as it is: of one that is there twice, the lines that differ."""
    built, live = (
        "\n".join(line[1:].removeprefix("    ") for line in item.lines if line[0] == sign) for sign in ("-", "+")
    )
    if item.change == "missing":
        return built, "missing"
    if item.change == "extra":
        return "not there", live
    return built or NOTHING, live or NOTHING


def _read_schema(connection: Connection) -> _Schema:
    """Return the schema, read in the open transaction."""
    has_timescaledb = connection.execute(HAS_TIMESCALEDB).fetchone() == (True,)
    query = statement(timescaledb=has_timescaledb)
    groups = (SETTINGS, ("SAVEPOINT kapman_check", CLOCK, query, CLOCK), ("ROLLBACK TO SAVEPOINT kapman_check",))
    _, begun, given, ended = pipeline(connection, groups)[1]
    if given.error:
        words = [given.error.diag.message_primary or str(given.error)]
        if isinstance(given.error, errors.LockNotAvailable):
            words = ["could not see everything, and did not wait", *tables_locked_against_reading(connection), *words]
        return _Schema(failure="; ".join(words), gone=isinstance(given.error, errors.InternalError_))
    return _Schema(composed(given.rows), ended.rows[0][0] - begun.rows[0][0])


def _run(
    connection: Connection, files: tuple[CheckFile, ...], chosen: tuple[CheckFile, ...]
) -> tuple[dict[str, tuple[Check, ...]], bool]:
    """Return the checks by file, and whether an object went away while it was read.

    Files that name objects run first, then those that judge what no check names: they are handed all names, or none if
    a file of the structure suite gave none.
    """
    foreign = {str(name): str(reason) for _, name, reason in connection.execute(UNTRUSTED_CODE).fetchall()}
    refused = {file.name: failure for file in files if (failure := _refusal(file, foreign))}
    judging = [file for file in chosen if file.judges_others]
    naming = [file for file in (files if judging else chosen) if not file.judges_others]
    found, gone = _ask(connection, naming, SETTINGS, refused)
    if judging:
        checks = [check for checks in found.values() for check in checks]
        complete = all(check.location is None for check in checks if check.file.startswith("structure/"))
        names = json.dumps([check.name for check in checks]).replace("'", "''") if complete else ""
        judged, gone_since = _ask(connection, judging, (f"SET LOCAL {DECLARED} = '{names}'",), refused)
        return found | judged, gone or gone_since
    return found, gone


def _ask(
    connection: Connection, files: list[CheckFile], settings: tuple[str, ...], refused: dict[str, Check]
) -> tuple[dict[str, tuple[Check, ...]], bool]:
    """Return files' checks, and whether an object went away; the files run in one round trip, each in a savepoint."""
    sound = [file for file in files if file.name not in refused]
    groups = [settings]
    for file in sound:
        groups.append(("SAVEPOINT kapman_check", CLOCK, CURSOR + file.text, "FETCH ALL FROM kapman_check", CLOCK))
        groups.append(("ROLLBACK TO SAVEPOINT kapman_check",))
    answers = dict(zip((file.name for file in sound), pipeline(connection, groups)[1::2], strict=True))
    failures = {type(answer[-1].error) for answer in answers.values()}
    holders = tables_locked_against_reading(connection) if errors.LockNotAvailable in failures else ()
    found = {
        file.name: (refused[file.name],) if file.name in refused else _checks(file, answers[file.name], holders)
        for file in files
    }
    return found, errors.InternalError_ in failures


def _refusal(file: CheckFile, foreign: dict[str, str]) -> Check | None:
    """Return the failure of a file that cannot be run: its text is flawed, or it would run another role's code."""
    if file.flaw:
        return file.failure(*file.flaw)
    for match in READS.finditer(file.text):
        name = re.sub(r'["\s]', "", match[1])
        if name in foreign:
            return file.failure(
                f"not run: {name} depends on {foreign[name]}, and what is another role's would run with your rights",
                _location(file.path, file.text, match.start(1)),
                expected="to read tables without running another role's code",
            )
    return None


def _checks(file: CheckFile, answers: list[Answer], holders: tuple[str, ...]) -> tuple[Check, ...]:
    """Return the rows that a file gave as checks, or the one check that says why it gave none.

    The answers are those to SAVEPOINT, to a look at the clock, to DECLARE, to FETCH, and to the clock again.
    """
    _, begun, declared, given, ended = answers
    if given.error:
        expected = SHAPE
        says = given.error.diag
        words = [says.message_primary or str(given.error)]
        if isinstance(given.error, errors.SyntaxError) and not says.statement_position:
            words = ["the file holds more than one statement"]
        if isinstance(given.error, errors.LockNotAvailable):
            expected = "to see everything without waiting for a lock"
            words = ["could not see everything, and did not wait", *holders, *words]
        words += [word for word in (says.message_detail, says.message_hint) if word]
        offset = int(says.statement_position or 0) - 1 - len(CURSOR) if declared.error else 0
        location = _location(file.path, file.text, max(0, offset))
        return (file.failure("; ".join(words), location, expected=expected),)
    columns = tuple(zip(given.columns, map(_type, given.types), strict=True))
    if columns != COLUMNS:
        return (file.failure(f"the columns are {', '.join(' '.join(column) for column in columns)}"),)
    if not given.rows:
        return (file.failure("the query returned no rows"),)
    for number, row in enumerate(given.rows, 1):
        if row[0] is None or row[1] is None:
            return (file.failure(f"{'check_name' if row[0] is None else 'passed'} is NULL in row {number}"),)
    seconds = (ended.rows[0][0] - begun.rows[0][0]) / len(given.rows)
    return tuple(
        Check(file.name, name, passed, expected, actual, seconds) for name, passed, expected, actual in given.rows
    )


def _type(number: int) -> str:
    """Return the name of a type of PostgreSQL's own."""
    known = psycopg.adapters.types.get(number)
    return known.name if known else f"of type {number}"


def _location(path: Path, text: str, offset: int) -> Location:
    """Return the position of a character of a file's text, counted from 0."""
    before = text[:offset]
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return Location(shown_path(path), line, column, text.split("\n")[line - 1].rstrip("\r"))


def _read(path: Path, name: str) -> CheckFile:
    try:
        raw = path.read_bytes()
    except OSError as error:
        return CheckFile(
            path, name, "", (f"cannot read the file: {error.strerror}", Location(shown_path(path), 1, 1, ""))
        )
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        offset = len(error.object[: error.start].decode("utf-8"))
        location = _location(path, raw.decode("utf-8", "replace"), offset)
        return CheckFile(path, name, "", (f"the file is not UTF-8: byte 0x{raw[error.start]:02x}", location))
    if "\0" in text:
        return CheckFile(path, name, "", ("the file has a NUL character", _location(path, text, text.index("\0"))))
    if not text.strip():
        return CheckFile(path, name, text, ("the file is empty", _location(path, text, 0)))
    return CheckFile(path, name, text)
