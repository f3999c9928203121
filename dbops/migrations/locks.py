"""Which locks migrations take: what a file's header says, what a plan warns of, and what a rehearsal measures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dbops.migrations.files import Migration
from dbops.migrations.sqlsplit import stored
from dbops.migrations.statements import WORD, Tokens
from dbops.migrations.tokens import read
from dbops.postgres import Connection, sql_file

# PostgreSQL's lock modes, the weakest first: https://www.postgresql.org/docs/current/explicit-locking.html
MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
_STRONG = MODES.index("SHARE UPDATE EXCLUSIVE") + 1
_FORM = 'write "MODE on schema.table, schema.table; MODE on …", or "none"'
_PART = re.compile(rf"(?P<mode>{'|'.join(sorted(MODES, key=len, reverse=True))})\s+on\s+(?P<tables>.+)", re.IGNORECASE)
_REMARK = re.compile(r"\s*\([^()]*\)")
_TABLE = re.compile(r"[a-z_][a-z0-9_$]*\.[a-z_][a-z0-9_$]*")
_CONSTRAINT = re.compile(rf"(?P<verb>ADD|VALIDATE) CONSTRAINT (?P<constraint>{WORD}) ")


def parse(text: str) -> dict[str, str] | None:
    """Return the strongest mode by table that a `Locks:` header declares; None for no header.

    Remarks in parentheses are ignored. Raises ValueError for an invalid header.
    """
    found: dict[str, str] = {}
    text = _REMARK.sub("", text).strip().rstrip(".")
    if not text:
        return None
    for part in [] if text.lower() == "none" else text.split(";"):
        match = _PART.fullmatch(part.strip())
        tables = [table.strip() for table in match["tables"].split(",")] if match else []
        if match is None or not all(_TABLE.fullmatch(table) for table in tables):
            raise ValueError(f'invalid locks "{part.strip()}": {_FORM}')
        for table in tables:
            found[table] = stronger(" ".join(match["mode"].upper().split()), found.get(table))
    return found


def stronger(mode: str, other: str | None) -> str:
    """Return the stronger one of two modes."""
    return mode if other is None or MODES.index(mode) > MODES.index(other) else other


def undeclared(header: str, measured: Mapping[str, str]) -> str:
    """Return what a `Locks:` header leaves out of the locks by table; empty if it declares them all."""
    try:
        declared = parse(header)
    except ValueError as error:
        return str(error)
    if declared is None:
        return "its header declares no locks"
    less = [
        f"{mode} on {table}"
        for table, mode in sorted(measured.items())
        if stronger(mode, declared.get(table)) != declared.get(table)
    ]
    return f"its header does not declare {'; '.join(less)}" if less else ""


def described(locks: Mapping[str, str]) -> str:
    """Return locks by table as a header declares them, the strongest first."""
    modes = [mode for mode in reversed(MODES) if mode in locks.values()]
    parts = (f"{mode} on {', '.join(sorted(t for t, m in locks.items() if m == mode))}" for mode in modes)
    return "; ".join(parts) or "none"


def tables(connection: Connection) -> dict[int, str]:
    """Return the tables of the connected database, with their schemas, by oid."""
    rows: list[Any] = connection.execute(sql_file("dbops.migrations", "tables").encode()).fetchall()
    return dict(rows)


def tables_and_chunks(connection: Connection) -> dict[int, str]:
    """Return those tables by oid, and chunks with the name of the table they belong to."""
    found = tables(connection)
    rows: list[Any] = connection.execute(sql_file("dbops.migrations", "descendants").encode(), [list(found)]).fetchall()
    return {**{child: found[root] for root, child in rows}, **found}


def warnings(batch: tuple[Migration, ...], existing: frozenset[str]) -> Iterator[str]:
    """Yield sentences on what the files of one transaction lock for longer than they need to.

    `existing` are the tables that exist before: the others are not in use yet.
    """
    for position, migration in enumerate(batch):
        later = len(batch) - position - 1
        try:
            declared = parse(migration.header.locks) or {}
        except ValueError:
            continue
        strong = {t: m for t, m in declared.items() if t in existing and MODES.index(m) >= _STRONG}
        if strong and later:
            held = ", ".join(f"{table} ({mode})" for table, mode in sorted(strong.items()))
            files = "1 later file has" if later == 1 else f"{later} later files have"
            yield (
                f"{migration.name} locks {held} until {files} run: use `--commit file`, "
                "or `-- migrate: own-transaction` in its header"
            )
    added: dict[tuple[str, str], str] = {}
    for migration in batch:
        for statement in migration.statements:
            altering = Tokens(read(statement.text, 0) if statement.begins("ALTER", "TABLE") else [])
            table = altering.altered
            found = [(action, match) for action in altering.actions if (match := _CONSTRAINT.match(action.form))]
            for _, match in found:
                name = stored(match["constraint"])
                if match["verb"] == "VALIDATE" and table in existing and (first := added.get((table, name))):
                    yield (
                        f"{migration.name} validates constraint {name} in the transaction in which "
                        f"{first} adds it: the lock of the first is held while the rows are read; use `--commit file`"
                    )
            for action, match in found:
                if match["verb"] == "ADD" and " NOT VALID " in action.form:
                    added[table, stored(match["constraint"])] = migration.name
