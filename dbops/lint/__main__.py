"""Check the SQL of this repository: `python -m dbops.lint [--migrations DIRECTORY] [PATH ...]`.

sqlfluff checks all SQL, with our own rules; squawk the migrations after the baseline; released migrations are
compared with git. Exit code 1 if something is found. With GITHUB_ACTIONS set, findings are printed as GitHub's
annotations too; with CI set, a history that git does not know fails.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from pathlib import Path

from sqlfluff.core import FluffConfig, Linter

from dbops.errors import DbopsError
from dbops.lint import schema, squawk, unchanged
from dbops.lint.findings import UNPARSABLE, Finding, settle
from dbops.migrations import released
from dbops.migrations.files import label
from dbops.settings import ROOT


def findings(paths: list[Path]) -> list[Finding]:
    """Return what sqlfluff and squawk find in files and directories and no waiver allows, ordered by position."""
    sources = [file for path in paths for file in (sorted(path.rglob("*.sql")) if path.is_dir() else [path])]
    texts = {file: file.read_text(encoding="utf-8", errors="replace") for file in sources}
    found: defaultdict[str, list[Finding]] = defaultdict(list)
    linter = Linter(FluffConfig.from_root(extra_config_path=str(ROOT / ".sqlfluff")))
    for directory in linter.lint_paths(tuple(map(str, sources))).paths:
        for linted in directory.files:
            shown = label(Path(linted.path))
            for violation in linted.get_violations():
                rule, name = violation.rule_code(), violation.rule_name()
                why = violation.desc() if rule == UNPARSABLE else f"{violation.desc()} [{name}]"
                found[shown].append(Finding(shown, violation.line_no, violation.line_pos, rule, why))
    live = {file: text for file, text in texts.items() if schema.number(file) > schema.BASELINE}
    for finding in squawk.check(live):
        found[finding.path].append(finding)
    return sorted(item for file in sources for item in settle(label(file), texts[file], found[label(file)]))


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
    failed = False
    try:
        all_findings = findings(chosen.paths)
    except DbopsError as error:
        print(error.render(), file=sys.stderr)  # noqa: T201
        return error.exit_code
    try:
        release = released.find(chosen.migrations)
        all_findings += unchanged.check(chosen.migrations, release)
        print(f"Released migrations: {len(release.names)}, {release.description}.")  # noqa: T201
    except released.UnknownHistoryError as problem:
        failed = bool(os.environ.get("CI"))
        kind = "error" if failed else "warning"
        print(f"{kind}: it is not known whether released migrations are unchanged: {problem}.", file=sys.stderr)  # noqa: T201
    for finding in all_findings:
        print(finding)  # noqa: T201
    if os.environ.get("GITHUB_ACTIONS"):
        for finding in all_findings:
            print(finding.annotation())  # noqa: T201
    print(f"{len(all_findings)} finding{'' if len(all_findings) == 1 else 's'}.")  # noqa: T201
    return 1 if failed or all_findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
