"""Measure, print one table, and write it down.

python -m bench                  everything: writes docs/benchmarks.md, failed rows named
python -m bench --quick          the rows for everyday use, few runs each, nothing written
python -m bench --only verify    the groups of these names, separated by commas, nothing written
python -m bench --quick --beside PATH
                                 beside ours what another checkout takes, in runs in turn; it has its own .venv
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from bench import jobs, outage, peers, report, scale
from bench.measure import BenchError, Row, say
from bench.setting import Setting, started
from dbops.errors import DbopsError
from dbops.settings import ROOT

GROUPS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "rebuild": jobs.rebuilds,
    "parts": jobs.parts_of_a_rebuild,
    "slow": jobs.slow_rebuild,
    "verify": jobs.verification,
    "outage": outage.outages,
    "rows": jobs.rebuild_of_rows,
    "start": jobs.starting,
    "server": jobs.embedded_server,
    "tests": jobs.databases_for_tests,
    "many": jobs.many_files,
    "scale": scale.schema,
}
QUICK = ("rebuild", "parts", "slow", "verify", "start", "tests")
NEED_PEERS = {"rebuild", "slow"}


def main() -> int:
    """Run the groups that were chosen; the exit code is 1 if a measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rows, few runs, no other tools, nothing written")
    parser.add_argument("--only", default="", metavar="NAMES", help=f"groups to run: {', '.join(GROUPS)}")
    parser.add_argument(
        "--beside", type=Path, metavar="CHECKOUT", help="another checkout to compare with, nothing written"
    )
    options = parser.parse_args()
    chosen = [name for name in options.only.split(",") if name] or list(QUICK if options.quick else GROUPS)
    if unknown := set(chosen) - set(GROUPS):
        parser.error(f"unknown group: {', '.join(sorted(unknown))}")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    others, missing = ((), {}) if options.quick or not NEED_PEERS & set(chosen) else peers.available()
    rows: list[Row] = []
    with started(others, options.quick, options.beside) as setting:
        for name in chosen:
            try:
                for row in GROUPS[name](setting):
                    say(report.line(row))
                    rows.append(row)
            # What a group prepares for its rows failed: those that it has measured stay, the other groups go on.
            except (BenchError, DbopsError, psycopg.Error, OSError, subprocess.SubprocessError) as error:
                say(f"error: {name}: {error}")
                rows.append(Row(name, f"group {name}", {}, failed={"ours": str(error)}))
    print(report.markdown(rows, missing))
    if not (options.quick or options.only or options.beside):
        versions = {
            "Python": platform.python_version(),
            **setting.versions,
            **{peer.name: peer.version for peer in others},
        }
        (ROOT / "docs" / "benchmarks.md").write_text(report.page(rows, missing, versions))
    # Another tool that fails is only named.
    return 1 if any(row.failed.keys() - {peer.name for peer in others} for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
