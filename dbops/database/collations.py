"""Collations by which the server sorts in another way than before, as after an upgrade of its system's libraries."""

from __future__ import annotations

from dbops.postgres import Connection, sql_file

_CHANGED = sql_file("dbops.database", "changed_collations")


def changed_collations(connection: Connection) -> tuple[str, ...]:
    """Return a sentence for each collation whose version has changed since the connected database's indexes were built.

    Each says what to run; a version that the server cannot tell any more counts as changed.
    """
    return tuple(
        f"{name} had version {version} when its indexes were built, and the server has {actual} now: text may sort in"
        f" another order. Run REINDEX DATABASE {database}, then {remedy}"
        for name, version, actual, remedy, database in connection.execute(_CHANGED).fetchall()
    )
