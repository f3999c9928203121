"""A signal at any moment of a task on the embedded server: one line that says how things stand, and a way on."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pexpect
import pytest
from filelock import FileLock

from dbops import server
from dbops.database import whole_server
from dbops.errors import Interrupted
from dbops.server.cluster import Cluster, postmaster
from dbops.server.directory import Layout
from dbops.settings import ROOT
from tests.support import processes, servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SECONDS = 60
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])


@pytest.fixture
def layout() -> Iterator[Layout]:
    """Return the layout of a server that is not there yet; what runs in the end is stopped."""
    with servers.reachable_directory() as directory:
        found = Layout(directory / "server")
        yield found
        for data in (found.data, *found.unfinished()):
            with suppress(FileNotFoundError):
                Cluster(Layout(data.parent), servers.local_installation()).stop("immediate")


def with_data(layout: Layout) -> None:
    """Give a server the data directory that initdb makes."""
    layout.directory.mkdir()
    servers.copy_data_directory(layout)
    layout.marker.touch()


def interrupted(
    layout: Layout, number: signal.Signals, moment: Callable[[str], bool], *words: str, prefix: tuple[str, ...] = ()
) -> str:
    """Run a task, send it a signal at a moment that is told by what it has said, and return its last line.

    The words of `prefix` become the task in the same process. SIGINT goes to its process group, as Ctrl-C on a terminal
    does, SIGTERM to the task alone.
    """
    said = layout.directory.parent / "said"
    with said.open("w") as errors:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "invoke", *words],
            cwd=ROOT,
            env=processes.surroundings(KAPMAN_SERVER_DIR=str(layout.directory)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + SECONDS
        while not moment(said.read_text()):
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.001)
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        process.wait(SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + number, said.read_text()
    assert "Traceback" not in said.read_text()
    lines = said.read_text().splitlines()
    assert [line for line in lines if line.startswith("interrupted: ")] == lines[-1:]
    return lines[-1]


def goes_on(layout: Layout, task: str, *words: str) -> str:
    """Run the task again to its end and return what it prints."""
    done = processes.run_invoke(task, *words, KAPMAN_SERVER_DIR=str(layout.directory))
    assert done.returncode == 0, done.stderr
    return done.stdout


@SIGNALS
def test_first_up_that_is_interrupted_amid_initdb_leaves_no_data_directory(
    layout: Layout, number: signal.Signals
) -> None:
    begun = lambda said: any((path / "base").exists() for path in layout.unfinished())  # noqa: E731
    last = interrupted(layout, number, begun, "server.up")
    assert last == ("interrupted: the embedded server has no data directory; `invoke server.up` goes on from there.")
    assert not layout.data.exists()
    goes_on(layout, "server.up")
    assert postmaster(layout.data)
    assert layout.unfinished() == ()


@SIGNALS
def test_up_that_is_interrupted_while_the_server_starts_says_whether_it_runs(
    layout: Layout, number: signal.Signals
) -> None:
    with_data(layout)
    last = interrupted(layout, number, lambda said: (layout.data / "postmaster.pid").exists(), "server.up")
    stands = r"(runs|is starting or stopping|is stopped, and its data is kept)"
    assert re.fullmatch(rf"interrupted: the embedded server {stands}; `invoke server.up` goes on from there\.", last)
    goes_on(layout, "server.up")
    running = postmaster(layout.data)
    assert running
    assert running.ready


STOPPED = "the embedded server is stopped, and its data is kept"
WAITING = {
    "server.up": f"{STOPPED}; `invoke server.up` goes on from there.",
    "server.down": f"{STOPPED}; `invoke server.down` goes on from there.",
    "server.destroy": "nothing was removed; `invoke server.destroy` asks again.",
}


@SIGNALS
@pytest.mark.parametrize("task", WAITING)
def test_task_that_is_interrupted_while_it_waits_for_another_changes_nothing(
    layout: Layout, number: signal.Signals, task: str
) -> None:
    with_data(layout)
    with FileLock(layout.lock):
        last = interrupted(layout, number, lambda said: "waiting for another server command" in said, task)
    assert last == f"interrupted: {WAITING[task]}"
    assert layout.made
    assert not postmaster(layout.data)


@SIGNALS
def test_down_that_is_interrupted_while_the_server_stops_can_be_repeated(
    layout: Layout, number: signal.Signals
) -> None:
    with_data(layout)
    pid = server.up(server.Embedded(layout, os.environ["PATH"])).pid

    def is_asked_to_stop(_said: str) -> bool:
        pending = re.search(r"ShdPnd:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
        return pending is not None and int(pending[1], 16) & 1 << signal.SIGINT - 1 > 0

    # It can do what it is asked for only after the interruption.
    os.kill(pid, signal.SIGSTOP)
    try:
        last = interrupted(layout, number, is_asked_to_stop, "server.down")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert last == "interrupted: the embedded server runs; `invoke server.down` goes on from there."
    goes_on(layout, "server.down")
    assert not postmaster(layout.data)
    assert layout.made


@pytest.mark.parametrize("key", ["\x03", "SIGTERM"])
def test_question_of_destroy_that_is_interrupted_removes_nothing(layout: Layout, key: str) -> None:
    with_data(layout)
    environ = processes.surroundings(KAPMAN_SERVER_DIR=str(layout.directory), TERM="dumb")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "invoke", "server.destroy"],
        cwd=str(ROOT),
        env=environ,
        encoding="utf-8",
        timeout=SECONDS,
    )
    try:
        child.expect("yes")
        child.send(key) if key == "\x03" else child.kill(signal.SIGTERM)
        child.expect(pexpect.EOF)
        said = child.before or ""
    finally:
        child.close()
    assert "interrupted: nothing was removed; `invoke server.destroy` asks again." in " ".join(said.split())
    assert "Traceback" not in said
    assert child.exitstatus == (130 if key == "\x03" else 143)
    assert layout.made
    assert not postmaster(layout.data)


@SIGNALS
def test_removal_that_is_interrupted_is_completed_by_the_next(layout: Layout, number: signal.Signals) -> None:
    with_data(layout)
    many = layout.data / "base" / "many"
    many.mkdir()
    for count in range(20_000):
        (many / str(count)).touch()
    renamed = lambda said: not layout.data.exists()  # noqa: E731
    last = interrupted(layout, number, renamed, "server.destroy", "--yes")
    assert last == (
        "interrupted: the embedded server has no data directory; `invoke server.destroy` goes on from there."
    )
    assert layout.unfinished() != ()
    assert "Removed" in goes_on(layout, "server.destroy", "--yes")
    assert not layout.directory.exists()


def test_directory_whose_marker_is_removed_already_is_no_foreign_one(layout: Layout) -> None:
    layout.directory.mkdir()
    layout.lock.touch()
    assert "There is no embedded server to remove." in goes_on(layout, "server.destroy")


APT = """#!/bin/sh
trap 'echo "apt-get ended its step"; exit 100' TERM INT
touch {begun}
sleep 60 &
wait
"""


@SIGNALS
def test_install_that_is_interrupted_lets_apt_end_its_step(layout: Layout, number: signal.Signals) -> None:
    layout.directory.mkdir()
    begun = layout.directory.parent / "begun"
    apt = layout.directory.parent / "apt-get"
    apt.write_text(APT.format(begun=begun))
    apt.chmod(0o755)
    # A machine without PostgreSQL, for this process alone.
    hide = f'mount -t tmpfs none /usr/lib/postgresql && mount --bind {apt} "$(command -v apt-get)" && exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-c", hide, "sh")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be hidden here")
    last = interrupted(layout, number, lambda said: begun.exists(), "server.install", prefix=prefix)
    assert last == (
        "interrupted: TimescaleDB is not installed; packages that apt had finished stay. "
        "`invoke server.install` continues from there."
    )
    assert layout.install_log.read_text().endswith("apt-get ended its step\n")


@SIGNALS
def test_psql_that_is_interrupted_before_the_server_answers_has_changed_nothing(
    layout: Layout, number: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d"
        silent.settimeout(0)
        peers: list[socket.socket] = []

        def connected(_said: str) -> bool:
            with suppress(BlockingIOError):
                peers.append(silent.accept()[0])
            return bool(peers)

        last = interrupted(layout, number, connected, "db.psql", "--url", url)
    assert last == "interrupted: nothing was changed: the task only reads."
    for peer in peers:
        peer.close()


def test_server_that_an_interrupted_destroy_has_started_is_named(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_data(layout)
    embedded = server.Embedded(layout, os.environ["PATH"])

    def started(*_arguments: object, **_options: object) -> None:
        server.up(embedded)
        raise Interrupted

    monkeypatch.setattr(whole_server, "find_loss", started)
    said = []
    for _ in range(2):
        with pytest.raises(Interrupted) as caught:
            whole_server.destroy(embedded)
        said.append(caught.value.state)
    kept = "nothing was removed; `invoke server.destroy` asks again."
    assert said == [f"{kept} The embedded server is left running.", kept]
