"""Scratch databases: made, used and dropped in one go, and found by name if their operator died."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from dbops.errors import DbopsError
from dbops.events import Message, Report, ignore
from dbops.lifecycle import server
from dbops.lifecycle.ddl import create_database, default_properties
from dbops.lifecycle.properties import Properties
from dbops.lock import lock_key, try_lock, unlock
from dbops.postgres import Connection, maintenance, run
from dbops.settings import Target

PREFIX = "kapman_scratch_"
NAME = re.compile(PREFIX + "[0-9a-f]{12}")
LEFTOVERS = """
SELECT datname FROM pg_database
WHERE datname LIKE 'kapman\\_scratch\\_%' AND pg_has_role(datdba, 'USAGE') ORDER BY 1
"""


def new_name() -> str:
    """Return a name that no other scratch database has."""
    return PREFIX + secrets.token_hex(6)


@contextmanager
def claimed(connection: Connection, name: str) -> Iterator[str]:
    """Hold the lock that says that a scratch database's operator is alive; it goes with the session."""
    key = lock_key("scratch", name)
    try_lock(connection, key)
    try:
        yield name
    finally:
        unlock(connection, key)


@contextmanager
def scratch(target: Target, *, properties: Properties | None = None, report: Report = ignore) -> Iterator[Target]:
    """Yield an empty database on the target's server, made from template0, and drop it whatever happens."""
    with maintenance(target) as connection, claimed(connection, new_name()) as name:
        wanted = properties or default_properties(server.read(connection))
        try:
            create_database(connection, name, wanted, report, limit=-1)
            yield replace(target, database=name)
        except BaseException:
            remove_quietly(target, name, report)
            raise
        remove(target, name, report)


def remove(target: Target, name: str, report: Report) -> bool:
    """Drop a scratch database, if it is there, over a connection of its own; False if it can't be dropped."""
    with maintenance(target) as connection:
        for force in (True, False, True, False):
            option = sql.SQL(" WITH (FORCE)" if force else "")
            statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)) + option
            try:
                run(connection, statement, report)
                return True
            except (psycopg.errors.ObjectInUse, psycopg.errors.InsufficientPrivilege) as error:
                trouble = error
        report(Message("WARNING", f"the scratch database {name} could not be dropped: {trouble.diag.message_primary}"))
    return False


def remove_quietly(target: Target, name: str, report: Report) -> None:
    """Drop a scratch database where an error is already on its way, which must not be hidden by another."""
    try:
        remove(target, name, report)
    except DbopsError as error:
        report(Message("WARNING", f"the scratch database {name} is left behind ({error.what}): the next run drops it"))


def sweep(target: Target, report: Report = ignore) -> tuple[str, ...]:
    """Drop the scratch databases that this role may drop and whose operators are dead, and return their names."""
    removed = []
    with maintenance(target) as connection:
        rows: list[Any] = connection.execute(LEFTOVERS).fetchall()
        for name in [row[0] for row in rows if NAME.fullmatch(row[0])]:
            key = lock_key("scratch", name)
            if try_lock(connection, key):
                if remove(target, name, report):
                    removed.append(name)
                unlock(connection, key)
    return tuple(removed)
