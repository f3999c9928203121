"""Check the SQL of this repository: `python -m dbops.lint [--migrations DIRECTORY] [PATH ...]`.

The runner's own refusals, our rules, sqlfluff and squawk; released migrations are compared with git. Exit code 1 if
something is found. With GITHUB_ACTIONS set, findings are printed as GitHub's annotations too; with CI set, a history
that git does not know fails.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dbops.errors import DbopsError
from dbops.lint.check import check
from dbops.report.github import GitHub
from dbops.settings import ROOT


def main(arguments: list[str]) -> int:
    """Print what is found; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dbops.lint", description=__doc__.split("\n")[0])
    parser.add_argument("paths", nargs="*", type=Path, default=[ROOT / "db"], help="SQL files and directories")
    parser.add_argument(
        "--migrations",
        type=Path,
        default=ROOT / "db" / "migrations",
        help="directory whose released files must not change",
    )
    chosen = parser.parse_args(arguments)
    try:
        report = check(chosen.paths, chosen.migrations)
    except DbopsError as error:
        print(error.render(), file=sys.stderr)  # noqa: T201
        return error.exit_code
    for note in report.notes:
        print(f"{'warning' if report.complete else 'error'}: {note}.", file=sys.stderr)  # noqa: T201
    if report.released:
        print(f"Released migrations: {report.released}.")  # noqa: T201
    for finding in report.findings:
        print(finding)  # noqa: T201
    GitHub.of(os.environ).lint(report)
    count = len(report.findings)
    print(f"{count} finding{'' if count == 1 else 's'}.")  # noqa: T201
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
