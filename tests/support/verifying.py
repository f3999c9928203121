"""Verification of a directory of check files over a connection of its own, without a ledger."""

from __future__ import annotations

from pathlib import Path

from dbops import postgres
from dbops.catalog import ExpectedSchema
from dbops.events import Report, ignore
from dbops.settings import Target
from dbops.verification import STATEMENT_TIMEOUT, Verification, list_checks, run, select


def verify(
    target: Target,
    directory: Path,
    *,
    expected: ExpectedSchema | None = None,
    baseline: bool = False,
    only: tuple[str, ...] = (),
    statement_timeout: float = STATEMENT_TIMEOUT,
    report: Report = ignore,
) -> Verification:
    """Run the check files of a directory, all of them even if some fail, over a connection of their own.

    `only` names files as for `select`; the rest as for `run`. Raises UsageError for a suite without files and for a
    name in `only` that fits none, ServerError without a connection.
    """
    files, expected = select(list_checks(directory, baseline=baseline), only, expected)
    with postgres.reader(target) as connection:
        return run(
            connection,
            files,
            expected=expected,
            with_schema=expected is not None,
            statement_timeout=statement_timeout,
            report=report,
        )
