"""Decide, from an inspection and from what is not built again, which consent a loss needs, and whether it was given."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace

from dbops.catalog.drift import differences
from dbops.database.inspection import Impact, Inspection
from dbops.errors import ConsentError
from dbops.label import Label
from dbops.migrations.files import first_of
from dbops.migrations.ledger import LedgerStatus
from dbops.settings import Target

Ask = Callable[[str], str | None]
NONE, ANY, BY_NAME = "none", "any", "by name"


@dataclass(frozen=True, slots=True)
class LostObject:
    """An object that the new database has not: as a whole, or those attributes of it that `attributes` are."""

    name: str
    attributes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}: {'; '.join(self.attributes)}" if self.attributes else self.name


@dataclass(frozen=True, slots=True)
class Replacement:
    """What a task is about to do to a database, in words as in Drop, and whether it keeps what it takes away."""

    task: str
    inspection: Inspection
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the operator agreed to: `confirm` is the name given with --confirm, or empty.

    `ask` puts a question and returns what was typed, or None; it is None without a terminal.
    """

    yes: bool = False
    confirm: str = ""
    ask: Ask | None = None


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
            return f"{option(database)}, since {self.reason}"
        return f"--yes, {option(database)}, or the name typed at a terminal: {self.reason}"


def option(name: str) -> str:
    """Return the option that agrees to lose a database, as a shell takes it."""
    return f"--confirm {shlex.quote(name)}"


def lost_objects(old: str, new: str) -> tuple[LostObject, ...]:
    """Return what one canonical text of a schema has and another one has not.

    An attribute that is there with another value, such as a column of another type, is changed and not lost.
    """
    found: list[LostObject] = []
    for item in differences(new, old):
        if item.change == "extra":
            found.append(LostObject(item.name))
        elif item.change == "changed":
            built = {_key(line[1:]) for line in item.lines if line.startswith("-")}
            gone = [line[1:].strip() for line in item.lines if line.startswith("+")]
            if attributes := tuple(line for line in gone if _key(line) not in built and not line.startswith(">")):
                found.append(LostObject(item.name, attributes))
    return tuple(found)


def _key(line: str) -> str:
    """Return what tells an attribute of an object from its others: its kind and its name."""
    words = line.strip().partition(": ")[0].split(" ")
    return line.strip() if words[0] == "grant" else " ".join(words[:2])


def required(inspection: Inspection, lost: tuple[LostObject, ...] = ()) -> Required:
    """Return the consent that replacing or dropping the database needs; `lost` is what is not built again."""
    target = inspection.target
    if not inspection.exists:
        return Required(NONE, f"there is no database {target.database}")
    return required_for(inspection.impact, target.database, target.environment, lost)


def required_for(impact: Impact, name: str, environment: str, lost: tuple[LostObject, ...] = ()) -> Required:
    """Return the consent that losing a database needs, from what is in it, its name and the environment chosen.

    A label that says prod is believed wherever it was written: a copy of a prod database holds its rows too.
    """
    if impact.label and impact.label.environment != environment:
        labelled = impact.label.environment
        if not impact.label.native and labelled == "prod":
            return Required(BY_NAME, f"{name} is a copy of another server's prod database")
        if impact.label.native:
            return Required(BY_NAME, f"{name} is a {labelled} database, and the environment chosen is {environment}")
    if impact.label and impact.label.environment == "prod" and not impact.rows:
        return Required(BY_NAME, f"{name} is a prod database")
    if impact.foreign and impact.has_ledger:
        what = f"no label says which environment {name} belongs to, and it holds {impact.objects}"
        return Required(BY_NAME, what)
    if impact.foreign:
        maker = f", seems to be built with {impact.maker}" if impact.maker else ""
        return Required(BY_NAME, f"{name} was not built by this tool: it holds {impact.objects}{maker}")
    kind = BY_NAME if environment == "prod" or not impact.readable else ANY
    if impact.rows and not impact.seen:
        return Required(kind, f"{name} may hold rows: {impact.evidence}")
    if impact.rows:
        rows = f"about {impact.estimated_rows:,} rows" if impact.estimated_rows > 1 else "rows"
        return Required(kind, f"{rows} would be lost, among them in {impact.evidence}")
    # Who edits a migration and rebuilds ten times an hour is not asked ten times.
    if lost and environment != "dev":
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        return Required(kind, f"the migrations do not build {lost[0]}{more} again")
    return Required(NONE, "no rows would be lost")


def assert_possible(inspection: Inspection, agreement: Agreement) -> None:
    """Raise ConsentError if consent is missing that is needed already, and that cannot be asked for later."""
    name = inspection.target.database
    agree(inspection, replace(agreement, ask=(lambda _: name) if agreement.ask else None))


def agree(inspection: Inspection, agreement: Agreement, lost: tuple[LostObject, ...] = ()) -> None:
    """Return if the database may be lost, else raise ConsentError; asks where that is possible."""
    name = inspection.target.database
    needed = required(inspection, lost)
    if agreement.confirm not in ("", name):
        raise _missing(inspection, _another(agreement.confirm), f"Give the name: {option(name)}.")
    if needed.kind == NONE or agreement.confirm:
        return
    if needed.kind == BY_NAME:
        target, impact, confirm = inspection.target, inspection.impact, f"add {option(name)}."
        own = impact.label if impact.label and impact.label.native else None
        hint = f"If that is what you want, {confirm}"
        if impact.foreign:
            hint = f"Correct the database's name in DATABASE_URL; or, if it is the one to lose, {confirm}"
        elif own and own.environment != target.environment and not target.embedded:
            # On the embedded server another environment is another database.
            hint = f"Choose --env {own.environment}; or, to change its environment, {confirm}"
        raise _missing(inspection, needed.reason, hint, lost)
    if agreement.yes:
        return
    typed = agreement.ask(question(name)) if agreement.ask else None
    if typed is None:
        raise _missing(inspection, needed.reason, f"If that is what you want, add --yes or {option(name)}.", lost)
    if name not in (typed, typed.strip()):
        what = "the name typed is not the database's name" if typed else "no name was typed"
        raise _missing(inspection, what, f"Run the command again, and type {name}, if you want that.")


def assert_labelled(found: LedgerStatus, target: Target, confirm: str = "") -> None:
    """Raise ConsentError if a ledger has no label, unless prod is chosen, or the database's name is given.

    It may be a prod database that was restored without comments: to call it prod is no risk, anything else is.
    """
    chosen, name = target.environment, target.database
    if confirm not in ("", name):
        what, hint = _another(confirm), f"Give the name: {option(name)}."
    elif found.has_ledger and found.label is None and chosen != "prod" and not confirm:
        what = f"{name} has a ledger, and no label that says which environment it belongs to"
        hint = f"If it is a {chosen} database, add {option(name)}; if it is prod, choose --env prod."
    else:
        return
    raise ConsentError(what, where=str(target), hint=hint, state="Nothing was applied.")


def assert_environment(found: Label | None, target: Target, *, restored: bool = False) -> None:
    """Raise ConsentError if a database is labelled as another environment's than the one chosen, and one is prod.

    A label that says prod is believed wherever it was written, any other one only on the server that it names.
    """
    if found is None or found.environment == target.environment:
        return
    if found.environment == "prod" or (found.native and target.environment == "prod"):
        hint = f"`invoke db.rebuild {option(target.database)}` changes its environment."
        if restored:
            hint = f"Choose --env {found.environment}, or restore a copy of a {target.environment} database."
        # On the embedded server another environment is another database.
        elif not target.embedded:
            hint = f"Choose --env {found.environment} to migrate this database; {hint}"
        raise ConsentError(
            f"{target.database} is a {found.environment} database, and the environment chosen is {target.environment}",
            where=str(target),
            hint=hint,
            state="Nothing was changed." if restored else "Nothing was applied.",
        )


def question(database: str) -> str:
    """Return what an operator at a terminal is asked, who has seen what would be lost."""
    return f"Type the database name to confirm ({database}):"


def _another(confirm: str) -> str:
    """Return what to say of a name given with --confirm that is not the database's."""
    return f'--confirm names another database: "{confirm}"'


def _missing(inspection: Inspection, what: str, hint: str, lost: tuple[LostObject, ...] = ()) -> ConsentError:
    target = inspection.target
    return ConsentError(
        what,
        where=f"{target.database} on {target.server} ({target.environment})",
        notes=first_of(tuple(f"not built again: {item}" for item in lost)),
        hint=hint,
        state="Nothing was dropped.",
    )
