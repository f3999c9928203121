"""Remove the whole embedded server: what would be lost with it, and the consent that this needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dbops import postgres, server
from dbops.database.consent import BY_NAME, NOT_AGREED, Agreement, required_for
from dbops.database.inspection import Impact, look_inside
from dbops.database.properties import Kind, parse_marker
from dbops.errors import ConsentError, Interrupted, ServerError
from dbops.events import Header, Report, ignore
from dbops.settings import SCRATCH_PREFIX

# Databases, and the comments of those that this tool made, as their names and comments say. These hold nothing that is
# not elsewhere, but for one that a rebuild has kept.
_DATABASES = """
SELECT d.datname, CASE
    WHEN (pg_catalog.starts_with(d.datname, %s) OR pg_catalog.starts_with(d.datname, 'kapman_template_'))
        AND pg_catalog.starts_with(c.comment, %s) THEN c.comment END
FROM pg_catalog.pg_database AS d, pg_catalog.shobj_description(d.oid, 'pg_database') AS c (comment)
WHERE d.datname NOT IN ('template0', 'template1')
ORDER BY d.datname
"""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a server holds, by database, in `size` bytes; `unreadable` says why that could not be found out."""

    directory: str
    size: int
    databases: Mapping[str, Impact]
    unreadable: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """Return a line for each database: name, environment, rows."""
        if self.unreadable:
            return (f"its databases could not be listed: {self.unreadable}",)
        lines: list[str] = []
        for name, impact in self.databases.items():
            if not impact.rows:
                rows = "no rows"
            elif not impact.seen:
                rows = f"may hold rows, {impact.evidence}"
            elif impact.estimated_rows > 1:
                rows = f"about {impact.estimated_rows:,} rows"
            else:
                rows = f"rows in {impact.evidence}"
            lines.append(f"{name}: {impact.label.environment if impact.label else 'no environment'}, {rows}")
        return tuple(lines)

    @property
    def to_confirm(self) -> dict[str, str]:
        """Return what has to be given with --confirm, and why --yes is not enough; nothing where it is.

        A database's loss is judged for the environment that it belongs to.
        """
        if self.unreadable:
            return {self.directory: "what it holds is not known"}
        needed = {
            name: required_for(impact, name, impact.label.environment if impact.label else "dev")
            for name, impact in self.databases.items()
        }
        return {name: consent.reason for name, consent in needed.items() if consent.kind == BY_NAME}


@dataclass(frozen=True, slots=True)
class Destroyed:
    """Whether there was a server to remove, and where."""

    removed: bool
    directory: Path


def destroy(embedded: server.Embedded, agreement: Agreement = NOT_AGREED, *, report: Report = ignore) -> Destroyed:
    """Remove the embedded server with all of its databases, if that is agreed to.

    What it holds is reported first. Raises ConsentError, and ServerError for a directory that this tool did not make.
    """
    before = server.status(embedded)
    if size := before.size:
        try:
            loss = find_loss(embedded, size, report=report)
            report(Header(loss))
            assert_agreed(loss, agreement)
        except Interrupted as interrupt:
            left = not before.running and server.status(embedded).running
            runs = " The embedded server is left running." if left else ""
            interrupt.state = f"nothing was removed; `invoke server.destroy` asks again.{runs}"
            raise
    return Destroyed(server.destroy(embedded, report=report), embedded.layout.directory)


def find_loss(embedded: server.Embedded, size: int, *, report: Report = ignore) -> Loss:
    """Return what the embedded server holds; a server that is stopped is started for that, and stopped again."""
    directory = str(embedded.layout.directory)
    try:
        with server.temporarily_up(embedded, report=report) as target:
            with postgres.maintenance(target) as connection:
                rows: list[Any] = connection.execute(_DATABASES, [SCRATCH_PREFIX, postgres.MARKER]).fetchall()
            found = {
                name: look_inside(replace(target, database=name))
                for name, comment in rows
                if comment is None or ((marker := parse_marker(comment)) and marker.kind is Kind.KEPT)
            }
    except ServerError as error:
        return Loss(directory, size, {}, unreadable=error.what)
    # Every server has the database postgres.
    return Loss(directory, size, {name: impact for name, impact in found.items() if name != "postgres" or impact.rows})


def assert_agreed(loss: Loss, agreement: Agreement) -> None:
    """Return if the server may be removed, else raise ConsentError; asks where that is possible."""
    needed, confirm = loss.to_confirm, agreement.confirm
    names = ",".join(needed)
    if confirm and confirm != (names or confirm):
        raise _missing(loss, f'--confirm names something else: "{confirm}"', f"Give --confirm {names}.")
    if names and not confirm:
        why = "; ".join(needed.values())
        raise _missing(loss, f"removing the embedded server was not confirmed: {why}", f"Add --confirm {names}.")
    if agreement.yes or names:
        return
    typed = agreement.ask("Remove it? Type yes:") if agreement.ask else None
    if (typed or "").strip().lower() != "yes":
        raise _missing(
            loss,
            "removing the embedded server's databases was not confirmed",
            "Answer yes on a terminal, or run `invoke server.destroy --yes`.",
        )


def _missing(loss: Loss, what: str, hint: str) -> ConsentError:
    return ConsentError(what, where=loss.directory, hint=hint, state="Nothing was removed.")
