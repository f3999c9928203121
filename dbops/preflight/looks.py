"""The preflight itself: every look, and a trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dbops import postgres
from dbops.errors import DbopsError
from dbops.events import Report, ignore
from dbops.lifecycle import properties, server, state
from dbops.lifecycle.create import assert_restored
from dbops.lifecycle.ddl import default_properties
from dbops.lifecycle.properties import Properties
from dbops.lifecycle.recovery import wanted_properties
from dbops.lifecycle.scratch import scratch
from dbops.postgres import Connection
from dbops.preflight.database import has_no_attachments, is_no_template, may_drop, sessions_can_be_ended
from dbops.preflight.model import Finding, Preflight, View, judged
from dbops.preflight.server import TIMESCALEDB, has_timescaledb, is_direct, is_primary, may_create, name_is_free
from dbops.settings import Target


def preflight(
    target: Target,
    state_directory: Path,
    *,
    dropping: bool = True,
    creating: bool = True,
    migrations: Path | None = None,
    report: Report = ignore,
) -> Preflight:
    """Return everything that speaks for or against dropping, creating or both; a directory of migrations is read too.

    A database with the target's properties is created for a moment, and dropped. Raises ServerError if the server
    cannot be reached.
    """
    with postgres.maintenance(target) as connection:
        here = server.read(connection)
        engine: Any = connection.execute(TIMESCALEDB).fetchone()
        found = properties.find(connection, target.database)
        saved, wanted = _state(connection, target, state_directory)
        view = View(connection, target, here, found, wanted, report)
        findings = [name_is_free(view), is_primary(view), is_direct(view), saved]
        if dropping and found:
            findings += [may_drop(view), is_no_template(view), *has_no_attachments(view), sessions_can_be_ended(view)]
        if creating:
            findings += [may_create(view), *has_timescaledb(view)]
        if migrations:
            findings.append(_migrations(migrations))
        if creating and all(finding.passed for finding in findings):
            findings.append(_trial(view))
        return Preflight(tuple(findings), here.version_text, engine[0] if engine else "")


def _state(connection: Connection, target: Target, directory: Path) -> tuple[Finding, Properties]:
    """Return whether properties can be kept, and those that the new database is to have as far as they are known."""
    name = "state directory"
    try:
        state.check_writable(directory)
        return Finding(name, True), wanted_properties(connection, target, directory)
    except DbopsError as error:
        refusal = Finding(name, False, f"{error.what} ({error.where})", error.hint)
    found = properties.find(connection, target.database)
    return refusal, found.properties if found else default_properties(server.read(connection))


def _migrations(directory: Path) -> Finding:
    from dbops.migrations import discover

    try:
        found = discover(directory)
    except DbopsError as error:
        notes = "; ".join((f"{error.what} ({error.location or error.where})", *error.notes))
        return Finding("migration files", False, notes, error.hint)
    return judged("migration files", bool(found), f"there are none in {directory}", "Write one with `invoke db.new`.")


def _trial(view: View) -> Finding:
    """Create a database like the one to be, for a moment: that finds what no look at rights and settings can."""
    name = "properties can be restored"
    steps: tuple[Callable[[str], None], ...] = (
        lambda scratch_name: properties.restore(view.connection, scratch_name, view.wanted, view.report),
        lambda scratch_name: assert_restored(view.connection, view.target, scratch_name, view.wanted),
    )
    try:
        with postgres.translated(view.target), scratch(view.target, properties=view.wanted, report=view.report) as made:
            for step in steps:
                step(made.database)
    except DbopsError as error:
        reason = f"{view.server.role} could not create {view.target.database} again as it is: {error.what}"
        return Finding(name, False, reason, "Connect as a superuser, or take that property away first.")
    return Finding(name, True)
