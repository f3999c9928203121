"""Find out what a dead operator left, and make sense of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dbops.events import Message, Report
from dbops.lifecycle import server, state
from dbops.lifecycle.ddl import default_properties
from dbops.lifecycle.fence import lift
from dbops.lifecycle.properties import Found, Properties, find
from dbops.lifecycle.state import State
from dbops.postgres import Connection
from dbops.settings import Target


def reconcile(connection: Connection, target: Target, directory: Path, report: Report) -> State | None:
    """Return the state whose properties are still to be restored, if any.

    A drop that never happened has its fence lifted; a state that belongs to a database which somebody else has
    replaced since is forgotten; a fence without a state gives way to the defaults. Call it under the operator's
    lock only.
    """
    here = server.read(connection).system_identifier
    kept = state.load(directory, here, target.database)
    found = find(connection, target.database)
    if found is None or found.invalid:
        return kept
    if kept and found.oid in (kept.old_oid, kept.new_oid):
        return _continue(target, directory, kept, found, report)
    if kept:
        text = f"{target.database} was created anew by somebody else: the properties saved from before are forgotten"
        report(Message("WARNING", text))
        state.discard(directory, kept, report)
    return _adopt(target, directory, here, found, report) if found.fenced else None


def _continue(target: Target, directory: Path, kept: State, found: Found, report: Report) -> State | None:
    """Put a database in order that a dead operator of this machine was at."""
    if kept.properties.allow_connections and not found.properties.allow_connections:
        _lift(target, report)
    if found.oid == kept.new_oid:
        return kept
    state.discard(directory, kept, report)
    return None


def _adopt(target: Target, directory: Path, identifier: str, found: Found, report: Report) -> State:
    """Make a state for a database that a dead operator left fenced who kept its properties somewhere else."""
    text = (
        f"{target.database} was left fenced by a run on another machine, or with another KAPMAN_STATE_DIR, "
        "where its settings, rights and limit are kept: it gets PostgreSQL's defaults"
    )
    report(Message("WARNING", text))
    if not found.properties.allow_connections:
        _lift(target, report)
    adopted = State(identifier, target.database, replace(found.properties, allow_connections=True), new_oid=found.oid)
    state.save(directory, adopted)
    return adopted


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
