"""A physical standby of a test server, as pg_basebackup makes it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from dbops.server.cluster import Account, Cluster
from dbops.server.directory import Layout
from tests.support import servers
from tests.support.servers import TestServer

REPLICATION = "local replication all trust\n"
CAUGHT_UP = "SELECT pg_last_wal_replay_lsn() >= '{}'"


@contextmanager
def standby_of(primary: TestServer) -> Iterator[TestServer]:
    """Start a standby that streams from a throwaway server; stop it and remove everything at the end."""
    assert primary.directory
    account, installation = Account.current(), servers.local_installation()
    access = Layout(primary.directory).access
    if REPLICATION not in access.read_text():
        access.write_text(access.read_text() + REPLICATION)
        primary.execute("SELECT pg_reload_conf()")
    with servers.reachable_directory() as directory, servers.outlived_by(servers.LAST_WILL, directory):
        # Replay waits so long for a reader's snapshot: less than by default, which is 30 s.
        configuration = f"{servers.LIMITS}{servers.PRELOAD}max_standby_streaming_delay = 5s\n"
        cluster = Cluster(Layout(directory), installation, durable=False, configuration=configuration)
        account.own(directory)
        program = installation.binaries / "pg_basebackup"
        options = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync", f"--pgdata={cluster.layout.data}")
        done = account.run(program, *options, f"--dbname={primary.url('postgres')}")
        assert done.returncode == 0, done.stdout
        try:
            port = cluster.start().port
            yield TestServer({"host": str(cluster.layout.socket), "port": str(port), "user": "postgres"}, directory)
        finally:
            cluster.stop("immediate")


def wait_for(standby: TestServer, primary: TestServer, *, timeout: float = 60.0) -> float:
    """Wait until a standby has all that its primary has written by now, and return how many seconds that took."""
    [[position]] = primary.execute("SELECT pg_current_wal_flush_lsn()")
    began = time.monotonic()
    while standby.execute(CAUGHT_UP.format(position)) != [(True,)]:
        assert time.monotonic() - began < timeout, f"the standby does not get to {position}"
        time.sleep(0.02)
    return time.monotonic() - began
