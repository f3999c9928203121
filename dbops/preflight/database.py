"""What must hold for the database that is there to be dropped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from dbops.lifecycle.sessions import Session, sessions
from dbops.preflight.model import Finding, View, judged

# A job of TimescaleDB's runs as the superuser, and is over in a moment.
PATIENCE_SECONDS = 3.0
PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = %s ORDER BY 1"
SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = %s ORDER BY 1"
SUBSCRIPTIONS = """
SELECT s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = %s ORDER BY 1
"""
MAY_OWN = "SELECT pg_has_role(%s, 'USAGE')"


def may_drop(view: View) -> Finding:
    """Return whether this role may drop the database."""
    assert view.found  # noqa: S101
    owner = view.found.properties.owner
    row: Any = view.connection.execute(MAY_OWN, [owner]).fetchone()
    return judged(
        "right to drop",
        view.server.superuser or bool(row[0]),
        f"{view.target.database} belongs to {owner}, and {view.server.role} may not drop it",
        f"Connect as {owner} or as a superuser.",
    )


def is_no_template(view: View) -> Finding:
    """Return whether the database is not marked as a template."""
    name = view.target.database
    return judged(
        "no template",
        not (view.found and view.found.template),
        f"{name} is marked as a template",
        f'If it is none, run ALTER DATABASE "{name}" IS_TEMPLATE false.',
    )


def has_no_attachments(view: View) -> Iterator[Finding]:
    """Yield what blocks a drop, or would silently go with it."""
    kinds = (
        ("prepared transactions", PREPARED, "Commit or roll back each: COMMIT PREPARED '...' in that database."),
        ("replication slots", SLOTS, "Drop each when nobody reads from it: SELECT pg_drop_replication_slot('...')."),
        ("subscriptions", SUBSCRIPTIONS, "Drop each, connected to that database: DROP SUBSCRIPTION ..."),
    )
    for kind, query, remedy in kinds:
        rows: list[Any] = view.connection.execute(query, [view.target.database]).fetchall()
        names = ", ".join(str(row[0]) for row in rows)
        yield judged(f"no {kind}", not rows, f"there are {kind} in {view.target.database}: {names}", remedy)


def sessions_can_be_ended(view: View) -> Finding:
    """Return whether this role may end every session in the database, once jobs had time to end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (left := _unendable(view)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return judged(
        "sessions can be ended",
        not left,
        f"{view.server.role} may not end " + "; ".join(str(session) for session in left),
        "Ask their owners to disconnect, or connect as a superuser or as a member of pg_signal_backend.",
    )


def _unendable(view: View) -> list[Session]:
    inside = sessions(view.connection, view.target.database)
    return [session for session in inside if not session.endable]
