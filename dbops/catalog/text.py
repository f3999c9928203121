"""The schema as canonical text: the same for the same schema, wherever and whenever it was built."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

import psycopg

from dbops.errors import ServerError
from dbops.postgres import (
    Connection,
    asked_together,
    read_together,
    reading,
    sql_file,
    tables_locked_against_reading,
)

Rows = tuple[Any, ...]

QUERIES = (
    "common",
    "relations",
    "parts",
    "routines",
    "types",
    "database",
    "brought",
    "timescaledb",
    "aggregates",
    "chunks",
)
TIMESCALEDB = ("timescaledb", "aggregates", "chunks", "diagram_dimensions")

# How long to wait for a table that another session has locked, in seconds.
LOCK_TIMEOUT = 5.0
# How often everything is read again when an object was dropped while it was read.
ATTEMPTS = 10

NOTHING = "(SELECT NULL::oid AS oid WHERE false)"
# Parallel workers take longer to start than any of the queries to run.
PREPARE = "SET LOCAL max_parallel_workers_per_gather = 0"
# The names of those in TIMESCALEDB that may give something, a row each.
PRESENT = sql_file("dbops.catalog", "present")
NOTHING_KNOWN = f"known AS {NOTHING}, known_trigger AS {NOTHING}"


def schema_text(connection: Connection) -> str:
    """Return the schema of the connected database: one block per object, a line per attribute, ending in a newline.

    Independent of the database's name, locale and time zone, of its owner's name, of oids and of times. Reads only, in
    the open transaction if there is one. Raises ServerError if a table stays locked.
    """
    (rows,) = read(connection, (QUERIES,))
    return composed(rows)


def schema_asked(connection: Connection, *, timescaledb: bool) -> Callable[[], str]:
    """Have the server read the schema meanwhile, and return what waits for it and returns it as `schema_text` does.

    `timescaledb` is whether the database has that extension. Not in a transaction.
    """
    # Sorted, since the server then finishes its work before it sends a row. Otherwise it would stop in the middle, with
    # its buffer full and nobody reading yet.
    query = (statement(present=TIMESCALEDB if timescaledb else ()) + "ORDER BY 2", ())
    waited = asked_together(connection, [query], lock_timeout=LOCK_TIMEOUT, settings=(PREPARE,))

    def text() -> str:
        (answer,) = waited()
        return schema_text(connection) if answer.error else composed(answer.rows)

    return text


def composed(rows: Rows) -> str:
    """Return the canonical text for the rows that `statement` gives."""
    blocks: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for subject, section, number, line in rows:
        if subject is None:
            continue
        block = blocks[subject]
        if line is not None:
            block.append((section, number, line))
    text = []
    for subject in sorted(blocks):
        # An object's name takes one line, and no line break within an attribute leaves an empty one.
        name = subject.replace("\\", "\\\\").replace("\n", "\\n")
        attributes = (line.replace("\n", "\n    > ") for _, _, line in sorted(blocks[subject]))
        text.append("".join([f"{name}\n", *(f"    {attribute}\n" for attribute in attributes)]))
    return "\n".join(text)


def fingerprint(text: str) -> str:
    """Return the sha256 of a schema's text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def read(connection: Connection, groups: Sequence[Sequence[str]]) -> list[Rows]:
    """Return the rows of each group of files of `queries/`, read in one snapshot; ServerError if a table stays locked.

    The queries of a group are one statement, for which the server plans and evaluates what they share once. Those about
    TimescaleDB give nothing where it is missing. What another session drops meanwhile makes the server fail: everything
    is then read again.
    """
    for _ in range(ATTEMPTS):
        (found,) = read_together(connection, [(PRESENT, ())])
        present = [name for (name,) in found.fetched()]
        queries = [(statement(names, present=present), ()) for names in groups]
        answers = read_together(connection, queries, lock_timeout=LOCK_TIMEOUT, settings=(PREPARE,))
        error = next((answer.error for answer in answers if answer.error), None)
        if error is None:
            return [answer.rows for answer in answers]
        with reading(connection):
            holders = tables_locked_against_reading(connection)
        if not isinstance(error, psycopg.errors.InternalError_):
            break
    if error and not isinstance(error, psycopg.errors.LockNotAvailable):
        raise error
    raise ServerError(
        "the schema cannot be read: another session has locked a table",
        where=f"database {connection.info.dbname}",
        hint="Try again when its transaction is over; `SELECT pg_terminate_backend(PID)` ends a process.",
        notes=holders,
    )


def statement(names: Sequence[str] = QUERIES, *, present: Collection[str]) -> str:
    """Return files of `queries/` as one statement: of those about TimescaleDB, the ones in `present`."""
    known = _query("known") if "timescaledb" in present else NOTHING_KNOWN
    parts = [f"(\n{_query(name)})\n" for name in names if name in present or name not in TIMESCALEDB]
    prelude = _query("prelude").replace("WITH\n", f"WITH\n{known},\n", 1)
    return prelude + "UNION ALL\n".join(parts) if parts else "SELECT WHERE false"


def _query(name: str) -> str:
    return sql_file("dbops.catalog", name)
