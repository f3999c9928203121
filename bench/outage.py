"""For how long a database cannot be connected to while it is replaced, as a client in a tight loop sees it.

`python -m bench.outage ADDRESS` is that client: it connects until its stdin ends, and prints the longest time between a
refusal and the next success, in seconds.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psycopg

from bench.measure import Row, Run
from bench.setting import INVOKE, Setting
from dbops.settings import ROOT
from tests.support.operators import Clients

# Some 500 MB: 6.5 million rows of 72 bytes each, with what a page adds.
FILL = """
CREATE TABLE public.filler AS SELECT n, repeat('x', 40) AS text FROM generate_series(1, 6500000) AS n
"""
NAME = "outage"
VERBS = ("db.drop", "db.create", "db.migrate", "db.verify")


def outages(setting: Setting) -> Iterator[Row]:
    """Replace a database of 500 MB with eight reconnecting sessions: by a rebuild, and by the four steps alone."""
    jobs = {
        "outage": ("db.rebuild, outage with 8 sessions and 500 MB", ["db.rebuild", "--yes"]),
        "outage-steps": (f"{' '.join(VERBS)}, outage", ["db.drop", "--yes", *VERBS[1:]]),
    }
    setting.invoke("db.rebuild", database=NAME)()
    for key, (job, words) in jobs.items():
        runs = []
        for _ in range(setting.rounds(7)):
            with setting.connect(NAME) as connection:
                connection.execute(FILL)
            runs.append(Run(_seen(setting, words)))
        yield Row(key, job, {"ours": runs})


def _seen(setting: Setting, words: list[str]) -> float:
    """Return for how many seconds a client was refused while a task ran."""
    watcher = subprocess.Popen(
        [sys.executable, "-m", "bench.outage", setting.server.url(NAME)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout
    watcher.stdout.readline()
    with Clients(setting.server.target(NAME)):
        subprocess.run(
            [INVOKE, *words, "--url", setting.server.url(NAME)],
            cwd=ROOT,
            env=setting.environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
        time.sleep(0.5)
    return float(watcher.communicate(timeout=60)[0])


def main() -> None:
    """Connect in a tight loop, and print for how long that was refused."""
    done = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    longest = 0.0
    refused: float | None = None
    said = False
    while not done.is_set():
        began = time.monotonic()
        try:
            psycopg.connect(sys.argv[1]).close()
        except psycopg.OperationalError:
            refused = refused or began
            continue
        if not said:
            print("in", flush=True)
            said = True
        if refused is not None:
            longest, refused = max(longest, time.monotonic() - refused), None
    print(longest)


if __name__ == "__main__":
    main()
