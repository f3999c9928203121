"""Run check files in one read-only transaction that waits for nobody."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from dbops.errors import Location
from dbops.events import Message, Progress, Report, StepFinished, StepStarted, ignore
from dbops.postgres import Connection, connect, translated
from dbops.settings import Target
from dbops.table_locks import holders
from dbops.verification.files import CheckFile, list_checks, select
from dbops.verification.model import Check, Verification

STEP = "verify"
COLUMNS = (("check_name", "text"), ("passed", "boolean"), ("expected", "text"), ("actual", "text"))
TYPES = {16: "boolean", 25: "text"}
SHAPE = "one query that returns rows of " + ", ".join(f"{name} {kind}" for name, kind in COLUMNS)
LOCK_NOT_AVAILABLE = "55P03"
SYNTAX_ERROR = "42601"

# Nothing is set outside of the transaction, so a transaction pooler may sit in between.
SETTINGS = """
SET LOCAL client_encoding = 'UTF8';
SET LOCAL search_path = pg_catalog;
SET LOCAL row_security = off;
SET LOCAL jit = off;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
SET LOCAL IntervalStyle = 'postgres';
SET LOCAL quote_all_identifiers = off;
SET LOCAL cursor_tuple_fraction = 1;
"""

# The server itself runs a check as a cursor, which admits a single query only, and none that writes.
CURSOR = "DECLARE kapman_check NO SCROLL CURSOR FOR\n"
CLOCK = "SELECT extract(epoch FROM clock_timestamp()); "
TIMED = "CLOSE kapman_check; " + CLOCK + CURSOR


@dataclass(frozen=True, slots=True)
class _Answer:
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[object, ...], ...]
    seconds: float


class _FileError(Exception):
    """A check file is at fault, or could not see what it looks at."""

    def __init__(self, message: str, place: Location, expected: str = SHAPE) -> None:
        super().__init__(message)
        self.place = place
        self.expected = expected


def verify(
    target: Target,
    directory: Path,
    *,
    baseline: bool = False,
    only: tuple[str, ...] = (),
    statement_timeout: float = 30.0,
    lock_timeout: float = 0.2,
    report: Report = ignore,
) -> Verification:
    """Run the check files of a directory, all of them even if some fail, and return every check.

    Reads only, and waits at most `lock_timeout` seconds for a lock. Files that judge what the others name
    (`nothing extra`) run last. Raises UsageError for a suite without files, ServerError without a connection.
    """
    files = list_checks(directory, baseline=baseline)
    chosen = select(files, only)
    started = time.monotonic()
    report(StepStarted(STEP, str(target), len(chosen)))
    with connect(target) as connection, translated(target):
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(SETTINGS)
        connection.execute(f"SET LOCAL statement_timeout = {max(1, round(statement_timeout * 1000))}")
        connection.execute(f"SET LOCAL lock_timeout = {max(1, round(lock_timeout * 1000))}")
        found = run_files(connection, files, chosen, report)
        connection.execute("ROLLBACK")
    checks = tuple(check for file in chosen for check in found[file.name])
    result = Verification(checks, time.monotonic() - started)
    report(_end(result))
    return result


def _end(result: Verification) -> StepFinished | Message:
    """Return the event that closes the step: a step that ended badly is not finished."""
    if result.passed:
        return StepFinished(STEP, result.summary, result.seconds)
    return Message("WARNING", result.summary, STEP)


def run_files(
    connection: Connection, files: tuple[CheckFile, ...], chosen: tuple[CheckFile, ...], report: Report = ignore
) -> dict[str, tuple[Check, ...]]:
    """Return the checks of each chosen file by its name, run inside the open transaction.

    Files that name objects run first, then those that judge what nobody named.
    """
    judging = any(file.judges_others for file in chosen)
    naming = [file for file in (files if judging else chosen) if not file.judges_others]
    found: dict[str, tuple[Check, ...]] = {}
    done = 0
    for file in [*naming, None, *(file for file in chosen if file.judges_others)]:
        if file is None:
            _declare(connection, [check for checks in found.values() for check in checks])
            continue
        if file in chosen:
            report(Progress(STEP, done, file.name))
            done += 1
        found[file.name] = run_file(connection, file)
    return found


def _declare(connection: Connection, checks: list[Check]) -> None:
    """Hand over the names of all checks; nothing, if a file of the structure did not get to say its own."""
    complete = all(check.place is None for check in checks if check.file.startswith("structure/"))
    names = json.dumps([check.name for check in checks]) if complete else ""
    connection.execute("SELECT set_config('dbops.declared', %s, true)", [names])


def run_file(connection: Connection, file: CheckFile) -> tuple[Check, ...]:
    """Return the checks of one file, run inside the open transaction, which stays as it was."""
    try:
        if file.flaw_place:
            raise _FileError(file.flaw, file.flaw_place)
        answer = _ask(connection, file)
        return _checks(file, answer)
    except _FileError as error:
        return (Check(file.name, f"file {file.name}", False, error.expected, str(error), 0.0, error.place),)


def _ask(connection: Connection, file: CheckFile) -> _Answer:
    """Return what the file's query gives, and the time that the server took to plan and run it."""
    connection.execute("SAVEPOINT kapman_check")
    before = CURSOR
    try:
        # Binary results take the extended protocol, in which the server refuses a second statement.
        connection.execute(CURSOR.encode() + file.text.encode(), binary=True)
        before = TIMED
        answer = _timed(connection, file.text)
    except psycopg.Error as error:
        if connection.closed:
            raise
        connection.execute("ROLLBACK TO SAVEPOINT kapman_check")
        raise _blame(connection, file, error, len(before)) from None
    connection.execute("ROLLBACK TO SAVEPOINT kapman_check")
    return answer


def _timed(connection: Connection, text: str) -> _Answer:
    """Run a query known to be a single one, between two looks at the server's clock, in one round trip."""
    cursor = connection.execute(f"{TIMED}{text}\n; FETCH ALL FROM kapman_check; {CLOCK}".encode())
    answers: list[_Answer] = []
    for _ in cursor.results():
        if cursor.description:
            columns = tuple((c.name, TYPES.get(c.type_code, c.type_display)) for c in cursor.description)
            answers.append(_Answer(columns, tuple(cursor.fetchall()), 0.0))
    begun, answer, ended = answers
    seconds = float(str(ended.rows[0][0])) - float(str(begun.rows[0][0]))
    return _Answer(answer.columns, answer.rows, seconds)


def _blame(connection: Connection, file: CheckFile, error: psycopg.Error, skip: int) -> _FileError:
    """Return the file's failure in the server's words, at the place that the server points to."""
    parts = [error.diag.message_primary or str(error)]
    if error.sqlstate == SYNTAX_ERROR and not error.diag.statement_position:
        parts = ["the file holds more than one statement"]
    expected = SHAPE
    if error.sqlstate == LOCK_NOT_AVAILABLE:
        expected = "to see everything without waiting for a lock"
        parts = ["could not see everything, and did not wait", *holders(connection), *parts]
    parts += [part for part in (error.diag.message_detail, error.diag.message_hint) if part]
    position = int(error.diag.statement_position or 0)
    return _FileError("; ".join(parts), file.place(max(0, position - 1 - skip)), expected)


def _checks(file: CheckFile, answer: _Answer) -> tuple[Check, ...]:
    """Return the rows as checks. Raises _FileError unless they are what a check file must give."""
    if answer.columns != COLUMNS:
        given = ", ".join(f"{name} {kind}" for name, kind in answer.columns)
        raise _FileError(f"the columns are {given}", file.place())
    if not answer.rows:
        raise _FileError("the query returned no rows", file.place())
    for number, row in enumerate(answer.rows, 1):
        if row[0] is None or row[1] is None:
            raise _FileError(f"{'check_name' if row[0] is None else 'passed'} is NULL in row {number}", file.place())
    share = answer.seconds / len(answer.rows)
    return tuple(
        Check(file.name, str(name), passed is True, _text(expected), _text(actual), share)
        for name, passed, expected, actual in answer.rows
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
