"""Verification: run the check files and compare the schema with the expected one, without waiting for locks.

All of it happens in one read-only transaction, in one snapshot. A check file is one query with the columns of COLUMNS;
a file that gives anything else, or nothing, is a failed check. So is each object that is not as in the expected schema.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg import errors

from dbops.catalog.drift import differences, objects
from dbops.catalog.expected import ExpectedSchema
from dbops.catalog.text import ATTEMPTS, PRESENT, composed, statement
from dbops.errors import Location, UsageError, count
from dbops.events import Progress, Report, StepFinished, StepStarted, ignore
from dbops.migrations.files import InvalidFileError, first_of, read_sql
from dbops.migrations.sqlsplit import location_at
from dbops.postgres import (
    UNTRUSTED_CODE,
    Answer,
    Connection,
    ask,
    pipeline,
    reading,
    tables_locked_against_reading,
)
from dbops.settings import shown_path

STEP = "verify"
# The setting that tells files which tables they must not read, as a JSON object of names and reasons.
UNTRUSTED = "dbops.untrusted"
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
# What lets the role read everything, whatever it inherits from its other memberships until then.
READING_GRANTED = """
SELECT pg_catalog.format('%sGRANT pg_read_all_data TO %I', CASE WHEN NOT r.rolinherit THEN
       pg_catalog.format('ALTER ROLE %I INHERIT; ', r.rolname) ELSE '' END, r.rolname)
FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user
"""
SETTINGS = ("SET LOCAL cursor_tuple_fraction = 1", "SET LOCAL max_parallel_workers_per_gather = 0")
READS = re.compile(r'\b(?:FROM|JOIN)\s+(?:ONLY\s+)?("?\w+"?\s*\.\s*"?\w+"?)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Check:
    """One row of a check file, or why the file gave none.

    `file` is relative to the directory of checks; `seconds` is this row's share of the time that the server
    spent on the file; `location` is set when the file itself is at fault; None in a text is SQL's NULL. Of an object of
    the expected schema, `file` is where that schema is kept, and `change` is missing, extra or changed if it failed.
    """

    file: str
    name: str
    passed: bool
    expected: str | None
    actual: str | None
    seconds: float = 0.0
    location: Location | None = None
    change: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """Every check of one run, in the order of the files, then of the objects of the expected schema.

    `seconds` is the wall time of the run, `schema` the canonical text of the schema as it was read with the checks;
    empty if it was not, or could not be, read. `advice` is what to do about what failed, by cause. `server` says where
    the run was, and `began` when (UTC).
    """

    checks: tuple[Check, ...]
    seconds: float
    schema: str = field(default="", repr=False)
    advice: tuple[str, ...] = ()
    server: str = ""
    began: datetime | None = None

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
        failed, checks = len(self.failed), count(len(self.checks), "check")
        return f"{failed} of {checks} failed" if failed else f"{checks} passed"

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the first checks that failed, a sentence each, for an error."""
        return first_of(tuple(f"{check.name}: expected {check.expected}, is {check.actual}" for check in self.failed))

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
        where = location or location_at(self.text, 0, shown_path(self.path))
        return Check(self.name, f"file {self.name}", False, expected, what, 0.0, where)

    def refusal(self, untrusted: dict[str, str]) -> Check | None:
        """Return the failure of a file that cannot be run: its text is flawed, or it would run another role's code.

        `untrusted` are the tables whose reading would, each with the reason.
        """
        if self.flaw:
            return self.failure(*self.flaw)
        for match in READS.finditer(self.text):
            name = re.sub(r'["\s]', "", match[1])
            if name in untrusted:
                return self.failure(
                    f"not run: {name} depends on {untrusted[name]}, and what is another role's would run with your"
                    " rights",
                    location_at(self.text, match.start(1), shown_path(self.path)),
                    expected="to read tables without running another role's code",
                )
        return None

    def checks(self, answers: list[Answer], holders: tuple[str, ...], granted: str) -> tuple[Check, ...]:
        """Return the rows that the file gave as checks, or the one check that says why it gave none.

        The answers are those to SAVEPOINT, to a look at the clock, to DECLARE, to FETCH, and to the clock again.
        `holders` are the sessions that hold locks on tables, `granted` is what lets the role read everything.
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
            if isinstance(given.error, errors.InsufficientPrivilege):
                words.append(f"as a superuser, run {granted}")
            offset = int(says.statement_position or 0) - 1 - len(CURSOR) if declared.error else 0
            location = location_at(self.text, offset, shown_path(self.path))
            return (self.failure("; ".join(words), location, expected=expected),)
        known = [(psycopg.adapters.types.get(number), number) for number in given.types]
        types = [found.name if found else f"of type {number}" for found, number in known]
        columns = tuple(zip(given.columns, types, strict=True))
        if columns != COLUMNS:
            return (self.failure(f"the columns are {', '.join(' '.join(column) for column in columns)}"),)
        if not given.rows:
            return (self.failure("the query returned no rows"),)
        for number, row in enumerate(given.rows, 1):
            if row[0] is None or row[1] is None:
                return (self.failure(f"{'check_name' if row[0] is None else 'passed'} is NULL in row {number}"),)
        seconds = max(0.0, ended.rows[0][0] - begun.rows[0][0]) / len(given.rows)
        return tuple(
            Check(self.name, name, passed, expected, actual, seconds) for name, passed, expected, actual in given.rows
        )


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
        for path in paths:
            name = f"{suite}/{path.name}"
            try:
                text = read_sql(path)
                flaw = None if text.strip() else ("the file is empty", location_at(text, 0, shown_path(path)))
                files.append(CheckFile(path, name, text, flaw))
            except InvalidFileError as problem:
                at = problem.location or Location(shown_path(path), 1, 1, "")
                files.append(CheckFile(path, name, "", (f"the file {problem}", at)))
    return tuple(files)


def select(
    files: tuple[CheckFile, ...], only: tuple[str, ...], expected: ExpectedSchema | None = None
) -> tuple[tuple[CheckFile, ...], ExpectedSchema | None]:
    """Return the named files (`tables`, `structure/tables` or `structure/tables.sql`), or all without names.

    `schema` names the comparison with the expected schema, which is returned only if it is to be made. Raises
    UsageError for a name that fits nothing.
    """
    chosen: set[str] = set()
    for name in only:
        bare = name.removesuffix(".sql")
        found = {file.name for file in files if bare in (file.name.removesuffix(".sql"), file.path.stem)}
        if not found and not (name == SCHEMA_CHECK and expected):
            raise UsageError(
                f'no check file is called "{name}"',
                where="--only",
                hint="Run `invoke db.verify --list` for the names; files of the baseline suite need --empty.",
            )
        chosen |= found
    compares = not only or SCHEMA_CHECK in only
    return tuple(file for file in files if not only or file.name in chosen), expected if compares else None


def run(
    connection: Connection,
    files: tuple[CheckFile, ...],
    *,
    expected: ExpectedSchema | None = None,
    with_schema: bool = True,
    statement_timeout: float = STATEMENT_TIMEOUT,
    report: Report = ignore,
) -> Verification:
    """Run check files and compare the schema over a connection, in its open transaction if there is one.

    Reads only; `statement_timeout` holds for each file, in seconds. Without `expected` the schema is read, but not
    compared; without `with_schema` it is not read either. Everything travels in one round trip, each file with a
    savepoint of its own.
    """
    started = time.monotonic()
    report(StepStarted(STEP, connection.info.dbname, len(files) + bool(expected)))
    for _ in range(ATTEMPTS):
        with reading(connection, statement_timeout=statement_timeout, lock_timeout=LOCK_TIMEOUT):
            queries = [(UNTRUSTED_CODE, ()), (PRESENT, ()), (READING_GRANTED, ())]
            code, present, granted = (answer.fetched() for answer in ask(connection, queries))
            untrusted = {str(name): str(reason) for _, name, reason in code}
            refused = {file.name: failure for file in files if (failure := file.refusal(untrusted))}
            sound = [file for file in files if file.name not in refused]
            reasons = json.dumps(untrusted).replace("'", "''")
            groups: list[tuple[str, ...]] = [(*SETTINGS, f"SET LOCAL {UNTRUSTED} = '{reasons}'")]
            asked: list[tuple[str, ...]] = [(CURSOR + file.text, "FETCH ALL FROM kapman_check") for file in sound]
            if with_schema:
                asked.append((statement(present=[name for (name,) in present]),))
            for statements in asked:
                groups.append(("SAVEPOINT kapman_check", CLOCK, *statements, CLOCK))
                groups.append(("ROLLBACK TO SAVEPOINT kapman_check",))
            answers = pipeline(connection, groups)[1::2]
            failures = {type(answer[-1].error) for answer in answers}
            holders = tables_locked_against_reading(connection) if errors.LockNotAvailable in failures else ()
        # Another session dropped an object while it was read.
        if errors.InternalError_ not in failures:
            break
    schema, compared = _compared(answers.pop(), expected, holders) if with_schema else ("", ())
    given = iter(answers)
    checks: list[Check] = []
    for file in files:
        checks += (refused[file.name],) if file.name in refused else file.checks(next(given), holders, granted[0][0])
    for number, name in enumerate([*(file.name for file in files), *([expected.source] if expected else [])]):
        report(Progress(STEP, number, name))
    result = Verification((*checks, *compared), time.monotonic() - started, schema)
    # The caller reports failed checks.
    if result.passed:
        report(StepFinished(STEP, result.summary, result.seconds))
    return result


def _compared(
    answers: list[Answer], expected: ExpectedSchema | None, holders: tuple[str, ...]
) -> tuple[str, tuple[Check, ...]]:
    """Return the schema, and a check for each object that is in it or in the expected one; one if it cannot be read.

    The answers are those to SAVEPOINT, to a look at the clock, to the query for the schema, and to the clock again.
    """
    _, begun, given, ended = answers
    source = expected.source if expected else SCHEMA_CHECK
    if given.error:
        words = [given.error.diag.message_primary or str(given.error)]
        if isinstance(given.error, errors.LockNotAvailable):
            words = ["could not see everything, and did not wait", *holders, *words]
        return "", (Check(source, SCHEMA_CHECK, False, "to read the schema without waiting", "; ".join(words)),)
    schema = composed(given.rows)
    if expected is None:
        return schema, ()
    differing = {item.name: item for item in differences(expected.text, schema)}
    names = sorted({*objects(expected.text), *differing})
    seconds = max(0.0, ended.rows[0][0] - begun.rows[0][0]) / len(names)
    checks = []
    for name in names:
        item = differing.get(name)
        if item is None:
            checks.append(Check(source, name, True, AS_EXPECTED, AS_EXPECTED, seconds))
            continue
        # Of an object that is in both schemas, the lines that differ.
        built, live = (
            "\n".join(line[1:].removeprefix("    ") for line in item.lines if line[0] == sign) for sign in "-+"
        )
        actual = "missing" if item.change == "missing" else live or NOTHING
        checks.append(Check(source, name, False, built or NOTHING, actual, seconds, change=item.change))
    return schema, tuple(checks)
