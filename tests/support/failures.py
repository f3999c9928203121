"""What each verb says and leaves when its client is killed, and when the server is restarted under it.

    python -m tests.support.failures

prints a table. A verb's session is stopped where it works, so that what happens then happens in the middle.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from dbops import testing
from dbops.server.cluster import Cluster
from dbops.server.directory import Layout
from dbops.settings import ROOT, Target
from tests.support import servers
from tests.support.operators import dsn
from tests.support.servers import TestServer

VERBS = (
    "status",
    "verify",
    "drift",
    "drift --build",
    "fingerprint",
    "migrate",
    "rebuild --yes",
    "drop --yes",
    "create",
)
# The sessions of a verb, the one that works inside the database last: an operator's is there first.
SESSIONS = """
SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'kapman-dbops%' AND pid <> pg_backend_pid()
ORDER BY datname = 'postgres' DESC, backend_start
"""
WITH_TWO = ("drift --build", "migrate", "rebuild --yes")


def main() -> None:
    """Print the table."""
    say = sys.stdout.write
    say("| verb | client killed: sessions gone after | server restarted: exit code, and what is printed |\n")
    say("| --- | --- | --- |\n")
    with servers.throwaway_server() as server:
        for verb in VERBS:
            seconds = killed(server, verb)
            code, printed = restarted(server, verb)
            say(f"| `db.{verb}` | {seconds:.1f} s | {code}: {printed} |\n")
            sys.stdout.flush()


def prepared(server: TestServer, verb: str) -> Target:
    """Return a database for a verb: empty for a migrate, missing for a create, else the baseline."""
    target = server.target(servers.fresh_name())
    if verb == "migrate":
        server.execute(f'CREATE DATABASE "{target.database}" TEMPLATE template0')
    elif verb != "create":
        testing.clone(server.session(), testing.build_template(server.target()), target.database)
    return target


def stopped(server: TestServer, verb: str, target: Target) -> tuple[subprocess.Popen[str], int]:
    """Start a verb, stop its session as soon as it is there, and return the process and the session's."""
    command = [sys.executable, "-m", "invoke", *f"db.{verb}".split()]
    environ = {**os.environ, "DATABASE_URL": dsn(target)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    )
    while process.poll() is None:
        found = server.execute(SESSIONS)
        if len(found) > (verb in WITH_TWO):
            pid = int(str(found[-1][0]))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                return process, pid
        time.sleep(0.002)
    raise AssertionError(f"{verb} ended before it was seen: {process.communicate()}")


def killed(server: TestServer, verb: str) -> float:
    """Return how many seconds after `kill -9` of a verb its sessions are gone."""
    target = prepared(server, verb)
    process, pid = stopped(server, verb, target)
    process.kill()
    process.communicate()
    began = time.monotonic()
    os.kill(pid, signal.SIGCONT)
    while server.execute(SESSIONS) and time.monotonic() < began + 30:
        time.sleep(0.01)
    seconds = time.monotonic() - began
    servers.drop_quietly(server, target.database)
    return seconds


def restarted(server: TestServer, verb: str) -> tuple[int, str]:
    """Return the exit code of a verb under which the server was restarted, and its error with the hint."""
    assert server.directory
    target = prepared(server, verb)
    process, pid = stopped(server, verb, target)
    configuration = servers.LIMITS + servers.PRELOAD
    cluster = Cluster(Layout(Path(server.directory)), servers.local_installation(), False, configuration)
    server.session().close()
    cluster.stop("immediate")
    cluster.start()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    _, said = process.communicate(timeout=120)
    with suppress(psycopg.Error):
        servers.drop_quietly(server, target.database)
    lines = [
        line for line in said.replace(target.database, "kapman_dev").splitlines() if line.startswith(("error", "hint"))
    ]
    return process.returncode, " ".join(lines).replace(str(server.directory), "…")


if __name__ == "__main__":
    main()
