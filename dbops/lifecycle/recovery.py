"""Find out what a dead operator left, and make sense of it."""

from __future__ import annotations

from pathlib import Path

from dbops.events import Message, Report
from dbops.lifecycle import server, state
from dbops.lifecycle.ddl import default_properties
from dbops.lifecycle.fence import lift
from dbops.lifecycle.properties import Properties, find
from dbops.lifecycle.state import State
from dbops.postgres import Connection
from dbops.settings import Target


def reconcile(connection: Connection, target: Target, directory: Path, report: Report) -> State | None:
    """Return the state whose properties are still to be restored, if any.

    A drop that never happened has its fence lifted; a state that belongs to a database which somebody else has
    replaced since is forgotten. Call it under the operator's lock only.
    """
    kept = state.load(directory, server.read(connection).system_identifier, target.database)
    if kept is None:
        return None
    found = find(connection, target.database)
    if found is None or found.invalid:
        return kept
    if found.oid in (kept.old_oid, kept.new_oid):
        if kept.properties.allow_connections and not found.properties.allow_connections:
            _lift(target, report)
        if found.oid == kept.new_oid:
            return kept
    else:
        text = f"{target.database} was created anew by somebody else: the properties saved from before are forgotten"
        report(Message("WARNING", text))
    state.discard(directory, kept)
    return None


def wanted_properties(connection: Connection, target: Target, directory: Path) -> Properties:
    """Return the properties that the target is to have when it is created next: saved, live, or the default ones."""
    here = server.read(connection)
    found = find(connection, target.database)
    kept = state.load(directory, here.system_identifier, target.database)
    if kept and (found is None or found.invalid or found.oid == kept.new_oid):
        return kept.properties
    return found.properties if found else default_properties(here)


def _lift(target: Target, report: Report) -> None:
    """Lift the fence of a drop that never happened."""
    trouble = lift(target, report)
    report(Message("INFO", f"lifted the fence that an interrupted run left around {target.database}"))
    if trouble:
        report(Message("WARNING", trouble))
