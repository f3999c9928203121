"""The schema as canonical text: the same for the same schema, wherever and whenever it was built."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources

import psycopg
from psycopg.pq import TransactionStatus

from dbops.errors import ServerError
from dbops.postgres import Connection
from dbops.table_locks import holders

Row = tuple[object, ...]
Query = Callable[[str], list[Row]]

QUERIES = ("common", "relations", "parts", "routines", "types", "database", "timescaledb")
TIMESCALEDB = ("timescaledb", "diagram_dimensions")

# Whatever changes how PostgreSQL writes an expression, a name or a constant.
SETTINGS = """
SET LOCAL transaction_read_only = on;
SET LOCAL lock_timeout = '5s';
SET LOCAL search_path = pg_catalog;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
SET LOCAL IntervalStyle = 'postgres';
SET LOCAL bytea_output = 'hex';
SET LOCAL extra_float_digits = 1;
SET LOCAL lc_monetary = 'C';
SET LOCAL lc_numeric = 'C';
SET LOCAL lc_time = 'C';
SET LOCAL quote_all_identifiers = off;
SET LOCAL jit = off;
SET LOCAL max_parallel_workers_per_gather = 0;
"""

NO_CHUNKS = "chunk AS (SELECT NULL::oid AS oid WHERE false)"

# Nothing but its chunks can inherit from a hypertable.
CHUNKS = """chunk AS MATERIALIZED (
    SELECT i.inhrelid AS oid
    FROM pg_inherits AS i
    JOIN pg_class AS p ON p.oid = i.inhparent
    JOIN pg_namespace AS n ON n.oid = p.relnamespace
    JOIN _timescaledb_catalog.hypertable AS h ON h.schema_name = n.nspname AND h.table_name = p.relname
)"""


def schema_text(connection: Connection) -> str:
    """Return the schema of the connected database: one block per object, a line per attribute, ending in a newline.

    Independent of the database's name, locale and time zone, of its owner's name, of oids and of times; reads only.
    """
    blocks: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    with canonical(connection) as query:
        for name in QUERIES:
            for subject, section, number, line in query(name):
                block = blocks[str(subject)]
                if line is not None:
                    block.append((int(str(section)), int(str(number)), str(line)))
    return "\n".join(_block(subject, blocks[subject]) for subject in sorted(blocks))


def fingerprint(text: str) -> str:
    """Return the sha256 of a schema's text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def canonical(connection: Connection) -> Iterator[Query]:
    """Pin what changes PostgreSQL's own wording, read only and in one snapshot, until the block ends.

    Yields what runs a file of `queries/` by its name; those about TimescaleDB give nothing where it is missing.
    """
    outermost = connection.info.transaction_status == TransactionStatus.IDLE
    with _unlocked(connection), connection.transaction(force_rollback=True):
        if outermost:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute(SETTINGS)
        found = connection.execute("SELECT FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
        prelude = _read("prelude").replace("WITH\n", f"WITH\n{NO_CHUNKS if found is None else CHUNKS},\n", 1)

        def query(name: str) -> list[Row]:
            if found is None and name in TIMESCALEDB:
                return []
            return connection.execute(f"{prelude}\n{_read(name)}".encode()).fetchall()

        yield query


@contextmanager
def _unlocked(connection: Connection) -> Iterator[None]:
    """Turn a lock that was not to be had into a ServerError that names the table and the lock's holder."""
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        raise ServerError(
            "the schema cannot be read: another session has locked a table",
            where=f"database {connection.info.dbname}",
            hint="Try again when its transaction is over; `SELECT pg_terminate_backend(PID)` ends a process.",
            notes=holders(connection),
        ) from None


def _read(name: str) -> str:
    return resources.files("dbops.catalog").joinpath("queries", f"{name}.sql").read_text(encoding="utf-8")


def _block(subject: str, lines: list[tuple[int, int, str]]) -> str:
    """Return an object's block: its name takes one line, and no line break within an attribute leaves an empty line."""
    name = subject.replace("\\", "\\\\").replace("\n", "\\n")
    attributes = (line.replace("\n", "\n    > ") for _, _, line in sorted(lines))
    return "".join([f"{name}\n", *(f"    {attribute}\n" for attribute in attributes)])
