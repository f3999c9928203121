"""Create a database that nobody enters before it is ready, with the properties that its predecessor had."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg import sql

from dbops.errors import PreflightError, ServerError
from dbops.events import Report, ignore
from dbops.lifecycle import server, state
from dbops.lifecycle.ddl import create_database, default_properties
from dbops.lifecycle.properties import FENCED, Properties, differences, find, restore
from dbops.lifecycle.recovery import reconcile
from dbops.lifecycle.scratch import claimed, new_name, remove_quietly
from dbops.lifecycle.state import State
from dbops.lock import OperatorLock
from dbops.postgres import Connection, maintenance, run
from dbops.settings import Target

RENAME_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class CreateResult:
    """What a create did: `created` is False where the database was there; `restored` where it got saved properties.

    `kept_out` says in words whom the fence kept out while it was up.
    """

    database: str
    server: str
    environment: str
    created: bool
    restored: bool
    kept_out: str
    seconds: float


def create(lock: OperatorLock, state_directory: Path, *, fenced: bool = False, report: Report = ignore) -> CreateResult:
    """Create the locked database from template0, unless it is there.

    It gets the properties that a drop has saved, else the server's defaults; with `fenced` they come into force,
    and others may enter, only when `open_up` is called. A database that an interrupted run left fenced is opened.
    """
    target = lock.target
    began = time.monotonic()
    with maintenance(target) as connection:
        lock.assert_held()
        before = reconcile(connection, target, state_directory, report)
        found = find(connection, target.database)
        if found and found.invalid:
            raise _invalid(target)
        here = server.read(connection)
        if found is None:
            _make(connection, target, state_directory, before, here, report)
        kept_out = "all but superusers" if here.superuser else f"all but superusers and members of {here.role}"
    if not fenced and (before or found is None):
        open_up(lock, state_directory, report=report)
    return CreateResult(
        database=target.database,
        server=target.server,
        environment=target.environment,
        created=found is None,
        restored=before is not None,
        kept_out=kept_out,
        seconds=time.monotonic() - began,
    )


def open_up(lock: OperatorLock, state_directory: Path, *, report: Report = ignore) -> None:
    """Give a fenced database its properties and let others in, in one moment; ServerError if one does not fit."""
    target = lock.target
    with maintenance(target) as connection:
        lock.assert_held()
        kept = state.load(state_directory, server.read(connection).system_identifier, target.database)
        if kept is None:
            return
        restore(connection, target.database, kept.properties, report)
        assert_restored(connection, target, target.database, kept.properties)
        state.discard(state_directory, kept, report)


def assert_restored(connection: Connection, target: Target, database: str, wanted: Properties) -> None:
    """Raise ServerError if a database does not have the properties that it should have."""
    found = find(connection, database)
    different = differences(found.properties, wanted) if found else ("existence",)
    if different:
        raise ServerError(
            f"{target.database} came back with another {', '.join(different)}",
            where=str(target),
            hint="Its properties are still kept: set them by hand, or run `invoke db.create` to try again.",
        )


def _make(
    connection: Connection, target: Target, directory: Path, before: State | None, here: server.Server, report: Report
) -> None:
    """Make the database under a name that nobody knows, fence it, write down its oid, give it its name."""
    plan = before or State(here.system_identifier, target.database, default_properties(here))
    with claimed(connection, new_name()) as name:
        try:
            create_database(connection, name, plan.properties, report, limit=0 if here.superuser else -1)
            run(connection, sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), FENCED), report)
            if not here.superuser:
                closed = sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
                run(connection, closed, report)
            found = find(connection, name)
            state.save(directory, replace(plan, new_oid=found.oid if found else None))
            _rename(connection, target, name, report)
        except BaseException:
            remove_quietly(target, name, report)
            raise


def _rename(connection: Connection, target: Target, name: str, report: Report) -> None:
    """Give the new database its name; whatever looks into it for a moment is waited for."""
    statement = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(target.database))
    for _ in range(RENAME_ATTEMPTS - 1):
        with suppress(psycopg.errors.ObjectInUse):
            run(connection, statement, report)
            return
    run(connection, statement, report)


def _invalid(target: Target) -> PreflightError:
    return PreflightError(
        f"{target.database} is half dropped: an interrupted drop left it, and it can only be dropped",
        where=str(target),
        hint="Run `invoke db.drop` or `invoke db.rebuild`.",
    )
