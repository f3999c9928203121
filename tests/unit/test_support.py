"""The tests' own helpers, where a mistake would make tests pass or fail for the wrong reason."""

from __future__ import annotations

import subprocess
import sys

from dbops.settings import ROOT
from tests.support.servers import Capacity

CHILD = "import signal; print(*(signal.getsignal(n) == signal.SIG_DFL for n in (signal.SIGHUP, signal.SIGQUIT)))"
IN_BETWEEN = f"""
import os, signal, subprocess, sys
from tests.support.processes import give_children_default_signals
give_children_default_signals()
for number in (signal.SIGINT, signal.SIGHUP):
    os.kill(os.getpid(), number)
subprocess.run([sys.executable, "-c", {CHILD!r}])
print(subprocess.run(["sh", "-c", "kill -INT $$"]).returncode)
"""


def test_children_have_default_signals_and_the_tests_themselves_still_ignore_them() -> None:
    command = ["sh", "-c", 'trap "" INT QUIT HUP; exec "$0" -c "$1"', sys.executable, IN_BETWEEN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout.split() == ["True", "True", "-2"], done.stderr


def test_given_server_says_how_many_test_processes_it_has_room_for() -> None:
    stock, roomy = Capacity(worker_processes=8, connections=100), Capacity(worker_processes=70, connections=200)
    assert (stock.processes, roomy.processes) == (1, 6)
    assert stock.describe(1) == "given server: max_worker_processes = 8, max_connections = 100"
    assert "too few for 3 test processes" in stock.describe(3)
    assert "Use -n 1, or raise them to 14 and 90" in stock.describe(3)
