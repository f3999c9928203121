"""How a database that exists stands: its ledger, its label, its collations, what is kept of it."""

from __future__ import annotations

from dataclasses import replace

from dbops import label, postgres
from dbops.database.inspection import newer_timescaledb
from dbops.database.operator import explained, refuse_closed
from dbops.database.properties import Kind, databases, databases_query
from dbops.errors import PreflightError
from dbops.events import Message, Report, ignore
from dbops.migrations.files import Migration
from dbops.migrations.ledger import LedgerStatus, read_status
from dbops.postgres import Connection, sql_file
from dbops.settings import Target

_CHANGED_COLLATIONS = sql_file("dbops.database", "changed_collations")


def status(target: Target, files: tuple[Migration, ...], *, report: Report = ignore) -> LedgerStatus:
    """Return how the target's database compares with the migration files.

    Reports if the database is closed, or another environment's, and which collations have changed. Raises ServerError
    if it cannot be connected to, which names the successor if it was dropped.
    """
    with explained(target), postgres.reader(target) as connection, postgres.reading(connection):
        (answer,) = postgres.ask(connection, [databases_query(target.database)])
        there = {database.name: database for database in databases(answer.fetched())}
        own = there.get(target.database)
        try:
            refuse_closed(own, target)
        except PreflightError as closed:
            report(Message("WARNING", f"{closed.what}. {closed.hint}"))
        for sentence in changed_collations(connection):
            report(Message("WARNING", sentence))
        found = read_status(connection, target, files)
        if found.label and found.label.environment != target.environment:
            said = f"labelled {found.label.environment}, and the environment chosen is {target.environment}"
            report(Message("WARNING", said))
        kept = tuple(
            label.KeptDatabase(database.name, database.marker.since, database.size)
            for database in there.values()
            if database.marker and own and database.is_a(Kind.KEPT, own.name)
            if database.catalog.owner == own.catalog.owner
        )
        return replace(found, newer_timescaledb=newer_timescaledb(connection), kept=kept)


def changed_collations(connection: Connection) -> tuple[str, ...]:
    """Return a sentence for each collation whose version has changed since the connected database's indexes were built.

    Each says what to run; a version that the server cannot tell any more counts as changed.
    """
    return tuple(
        f"{name} had version {version} when its indexes were built, and the server has {actual} now: text may sort in"
        f" another order. Run REINDEX DATABASE {database}, then {remedy}"
        for name, version, actual, remedy, database in connection.execute(_CHANGED_COLLATIONS).fetchall()
    )
