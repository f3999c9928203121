"""Decide, from an inspection, which consent a loss needs, and whether it was given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dbops.database.inspection import Inspection
from dbops.errors import ConsentError

NONE, ANY, BY_NAME = "none", "any", "by name"


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the operator agreed to: `confirm` is the name given with --confirm, or empty.

    `ask` shows what would be lost and returns the name that was typed, or None where there is no terminal.
    """

    yes: bool = False
    confirm: str = ""
    ask: Callable[[Inspection], str | None] = lambda _: None


NOT_AGREED = Agreement()


@dataclass(frozen=True, slots=True)
class Required:
    """Which consent is needed: NONE, ANY (--yes, a typed name or --confirm) or BY_NAME (--confirm only), and why."""

    kind: str
    reason: str

    def words(self, database: str) -> str:
        """Return how an operator can agree."""
        if self.kind == NONE:
            return f"not needed: {self.reason}"
        if self.kind == BY_NAME:
            return f"--confirm {database}, since {self.reason}"
        return f"--yes, --confirm {database}, or the name typed at a terminal: {self.reason}"


def required(inspection: Inspection) -> Required:
    """Return the consent that dropping the database needs.

    A label that says prod is believed wherever it was written: a copy of a prod database holds its rows too.
    """
    target, impact = inspection.target, inspection.impact
    name, environment = target.database, target.environment
    if not inspection.exists:
        return Required(NONE, f"there is no database {name}")
    if impact.label and impact.label.environment != environment:
        labelled = impact.label.environment
        if not impact.label.native and labelled == "prod":
            return Required(BY_NAME, f"{name} is a copy of another server's prod database")
        if impact.label.native:
            return Required(BY_NAME, f"{name} is a {labelled} database, and the environment chosen is {environment}")
    if impact.label and impact.label.environment == "prod" and not impact.rows:
        return Required(BY_NAME, f"{name} is a prod database")
    if impact.foreign:
        maker = f", seems to be built with {impact.maker}" if impact.maker else ""
        return Required(BY_NAME, f"{name} was not built by this tool: it holds {impact.objects}{maker}")
    if not impact.rows:
        return Required(NONE, "no rows would be lost")
    kind = BY_NAME if environment == "prod" or not impact.readable else ANY
    if not impact.seen:
        return Required(kind, f"{name} may hold rows: {impact.evidence}")
    rows = f"about {impact.estimated_rows:,} rows" if impact.estimated_rows > 1 else "rows"
    return Required(kind, f"{rows} would be lost, among them in {impact.evidence}")


def agree(inspection: Inspection, agreement: Agreement) -> None:
    """Return if the database may be dropped, else raise ConsentError."""
    name = inspection.target.database
    needed = required(inspection)
    if agreement.confirm and agreement.confirm != name:
        raise _missing(
            inspection, f'--confirm names another database: "{agreement.confirm}"', f"Give the name: --confirm {name}."
        )
    if needed.kind == NONE or agreement.confirm:
        return
    if needed.kind == BY_NAME:
        raise _missing(inspection, needed.reason, _by_name_hint(inspection))
    if agreement.yes:
        return
    typed = agreement.ask(inspection)
    if typed is None:
        raise _missing(inspection, needed.reason, f"If that is what you want, add --yes or --confirm {name}.")
    if name not in (typed, typed.strip()):
        what = "the name typed is not the database's name" if typed else "no name was typed"
        raise _missing(inspection, what, "Run the command again if you want to drop it.")


def _by_name_hint(inspection: Inspection) -> str:
    """Return what to do where only --confirm counts; another environment may be what was meant."""
    target, label = inspection.target, inspection.impact.label
    confirm = f"add --confirm {target.database}."
    # On the embedded server another environment is another database.
    if label is None or not label.native or label.environment == target.environment or target.embedded:
        return f"If that is what you want, {confirm}"
    return f"Choose --env {label.environment}; or, to change its environment, {confirm}"


def _missing(inspection: Inspection, what: str, hint: str) -> ConsentError:
    target = inspection.target
    return ConsentError(
        what,
        where=f"{target.database} on {target.server} ({target.environment})",
        hint=hint,
        state="Nothing was dropped.",
    )
