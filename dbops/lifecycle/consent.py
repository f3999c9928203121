"""Whether the operator agreed to what will be lost: in proportion to the loss."""

from __future__ import annotations

from collections.abc import Callable

from dbops.errors import ConsentError
from dbops.events import Message, Report, ignore
from dbops.lifecycle.stakes import Stakes

Ask = Callable[[Stakes], str | None]


def nobody(stakes: Stakes) -> str | None:
    """Answer for an operator who is not at a terminal."""
    return None


def agree(stakes: Stakes, *, yes: bool, confirm: str, ask: Ask = nobody, report: Report = ignore) -> None:
    """Return if the database may be lost, else raise ConsentError.

    `confirm` is the name given with --confirm, or nothing; `ask` shows the stakes and returns the name that was
    typed, or None where there is no terminal. In prod, and where nobody can look, only `confirm` counts.
    """
    check_label(stakes, report)
    if confirm and confirm != stakes.database:
        raise _missing(stakes, f'--confirm names "{confirm}"', f"Give the right name: --confirm {stakes.database}.")
    if not stakes.at_stake or confirm:
        return
    if _by_name_only(stakes):
        raise _missing(stakes, _loss(stakes), f"If that is what you want, add --confirm {stakes.database}.")
    if yes:
        return
    typed = ask(stakes)
    if typed is None:
        raise _missing(stakes, _loss(stakes), f"If that is what you want, add --yes or --confirm {stakes.database}.")
    if stakes.database not in (typed, typed.strip()):
        raise _missing(stakes, "the name that was typed is another one", "Run the command again if you meant it.")


def needed(stakes: Stakes) -> str:
    """Return in words how an operator could agree."""
    if not stakes.at_stake:
        return "none: no row is at stake"
    if _by_name_only(stakes):
        return f"--confirm {stakes.database}"
    return f"--yes, --confirm {stakes.database}, or the name typed at a terminal"


def check_label(stakes: Stakes, report: Report = ignore) -> None:
    """Raise ConsentError if the database belongs to another environment than the one chosen."""
    label = stakes.label
    if label is None or label.environment == stakes.environment:
        return
    if not label.native:
        text = f"{stakes.database} is a copy of another server's {label.environment} database: that label is ignored"
        report(Message("WARNING", text))
        return
    if label.environment != "prod" and not stakes.at_stake:
        text = f"{stakes.database} was a {label.environment} database and becomes {stakes.environment}"
        report(Message("WARNING", text))
        return
    what = f"{stakes.database} is a {label.environment} database, and {stakes.environment} was chosen"
    raise _missing(stakes, what, f"If you mean this database, choose --env {label.environment}.")


def _by_name_only(stakes: Stakes) -> bool:
    return stakes.environment == "prod" or not stakes.readable


def _loss(stakes: Stakes) -> str:
    if not stakes.seen:
        return f"{stakes.database} may hold rows: {stakes.evidence}"
    rows = f"about {stakes.estimated_rows:,} rows" if stakes.estimated_rows > 1 else "rows"
    return f"{rows} would be lost, among them in {stakes.evidence}"


def _missing(stakes: Stakes, what: str, hint: str) -> ConsentError:
    where = f"{stakes.database} on {stakes.server} ({stakes.environment})"
    return ConsentError(what, where=where, hint=f"Nothing was dropped. {hint}")
