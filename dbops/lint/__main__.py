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

from dbops import report
from dbops.errors import DbopsError
from dbops.lint.check import lint
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
    view = report.view("text", "INFO", report.GitHub.of(os.environ))
    try:
        result = lint(chosen.paths, chosen.migrations)
    except DbopsError as error:
        return view.error(error)
    view.show(result)
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
