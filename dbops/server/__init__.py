"""The embedded server: PostgreSQL with TimescaleDB from local programs, in a directory of its own."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dbops import settings
from dbops.errors import Interrupted, ServerError, count
from dbops.events import Message, Report, ignore, step
from dbops.server import access, packages
from dbops.server.cluster import EMBEDDED, TESTS, Cluster, Postmaster, has_ended, postmaster
from dbops.server.directory import Layout, claim, discard, locked, open_regular, remove, tail, unusable_directory
from dbops.server.find import OLDEST, Installation, find_installations
from dbops.server.packages import OTHER_WAYS
from dbops.settings import ANY_PORT, NO_PORT, Target

POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Embedded:
    """Where the embedded server is or would be, and where to look for PostgreSQL's programs.

    One that is not `durable` is for tests: it is fast, and what it holds is of no value.
    """

    layout: Layout
    search_path: str = ""
    durable: bool = True

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Embedded:
        """Return the embedded server that the settings name."""
        return cls(Layout(settings.server_directory(environ)), environ.get("PATH", ""))

    def for_tests(self) -> Embedded:
        """Return the server for tests that belongs to this one."""
        return Embedded(self.layout.for_tests(), self.search_path, durable=False)

    def installations(self) -> tuple[Installation, ...]:
        """Return the usable installations, the preferred one first."""
        return find_installations(self.search_path)

    def fitting(self) -> Installation | None:
        """Return the installation to start the server with: one of the version that made the data, if there is any."""
        layout = self.layout
        return next((each for each in self.installations() if not layout.made or each.major == layout.major), None)

    def unusable(self) -> ServerError:
        """Return why no installation fits, and what to do: install one, keep the data, or start anew."""
        found, layout = self.installations(), self.layout
        major = layout.major
        if not layout.made:
            return ServerError(
                "PostgreSQL 15 or newer with TimescaleDB is not installed",
                where="this machine",
                hint=f"Run `invoke server.install`. {OTHER_WAYS}",
            )
        anew = "To start without it, run `invoke server.destroy`, then `invoke server.up`."
        if major is None:
            return ServerError(
                "the data directory is damaged: PG_VERSION does not hold a version",
                where=str(layout.data / "PG_VERSION"),
                hint="To keep the data, write the major version of the PostgreSQL that made it into that file, "
                f"or restore the directory from a backup. {anew}",
            )
        there = " and ".join(str(installation.major) for installation in found)
        if not found and major >= OLDEST:
            keep = f"Run `invoke server.install`, or install PostgreSQL {major} with TimescaleDB yourself."
        else:
            keep = (
                f"To keep the data, install PostgreSQL {major} with TimescaleDB; or dump the databases with it, "
                "or run its pg_upgrade, as docs/upgrade.md says."
            )
        return ServerError(
            f"the data directory was made by PostgreSQL {major}, and "
            f"{f'only PostgreSQL {there} is' if there else 'it is not'} installed with TimescaleDB",
            where=str(layout.data),
            hint=f"{keep} {anew}",
        )

    def cluster(self, installation: Installation) -> Cluster:
        """Return the server as an installation starts and stops it."""
        configuration = EMBEDDED if self.durable else EMBEDDED + TESTS
        return Cluster(self.layout, installation, self.durable, configuration)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What there is: state is `not installed`, `no data`, `stopped`, `running` or `unusable`; size in bytes.

    `problem` says why no server can start on the data, `address` how to reach the database that was asked for on a
    server that runs. `tests` is the server for tests, if there is one.
    """

    state: str
    directory: Path
    installation: Installation | None = None
    running: Postmaster | None = None
    address: Target | None = None
    size: int = 0
    problem: str = ""
    tests: ServerStatus | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """Whether a server was running."""

    stopped: bool


@dataclass(frozen=True, slots=True)
class LogLines:
    """Lines of the server's log, without their newlines."""

    lines: tuple[str, ...]


@contextmanager
def _changing(server: Embedded, task: str, report: Report) -> Iterator[None]:
    """Hold the lock of a server's directory while the body changes what is there.

    An interruption says how the server stands, and which task goes on from there. Raises ServerError for what the file
    system refuses, as a full disk does.
    """
    try:
        with locked(server.layout, report):
            yield
    except OSError as error:
        raise unusable_directory(server.layout, error) from None
    except Interrupted as interrupt:
        running = postmaster(server.layout.data)
        if running:
            stands = "runs" if running.ready else "is starting or stopping"
        else:
            stands = "is stopped, and its data is kept" if server.layout.made else "has no data directory"
        interrupt.state = f"the embedded server {stands}; `invoke {task}` goes on from there."
        raise


def ensure_running(
    environ: Mapping[str, str], *, for_tests: bool = False, ask: bool = False, report: Report = ignore
) -> Target:
    """Return the maintenance database of the running embedded server; installs and starts it if need be.

    `for_tests` means the server for tests. `ask` lets sudo ask for a password. Raises ServerError, with the other ways
    to get a server, if it cannot.
    """
    server = Embedded.of(environ)
    if not server.layout.made and not server.installations():
        install(server, ask=ask, report=report)
    if not for_tests:
        return access.by_socket(server.layout, up(server, report=report))
    tests = server.for_tests()
    running = postmaster(tests.layout.data)
    if not running or not running.ready:
        if tests.layout.directory.parent == server.layout.directory:
            claim(server.layout)
        claim(tests.layout)
        with locked(tests.layout, report):
            discard_unfit(tests)
        running = up(tests, report=report)
    return access.by_socket(tests.layout, running)


def find_running(environ: Mapping[str, str]) -> Target:
    """Return the maintenance database of the embedded server that runs; makes and starts nothing.

    Raises ServerError, with the task that starts or makes one, if it does not run.
    """
    layout = Embedded.of(environ).layout
    if running := postmaster(layout.data):
        return access.by_socket(layout, running)
    if layout.made:
        raise ServerError(
            "the embedded server does not run",
            where=str(layout.directory),
            hint="Start it with `invoke server.up`.",
        )
    raise ServerError(
        "there is no embedded server, and no other server is named",
        where=str(layout.directory),
        hint=f"`invoke db.rebuild` makes one and builds the database. {OTHER_WAYS}",
    )


def install(server: Embedded, *, ask: bool = False, report: Report = ignore) -> Installation:
    """Install PostgreSQL and TimescaleDB unless they are installed, and return what is installed.

    A TimescaleDB that was built on this machine with other options is built anew, if there is a way to become root.
    `ask` lets sudo ask for a password.
    """
    if found := server.installations():
        if not packages.is_outdated():
            return found[0]
        try:
            packages.become_root(ask=ask)
        except ServerError as error:
            report(Message("WARNING", "TimescaleDB was built here with options that are not used any more", error.what))
            return found[0]
    claim(server.layout)
    with locked(server.layout, report):
        if not server.installations() or packages.is_outdated():
            try:
                packages.install(server.layout.install_log, ask=ask, report=report)
            except Interrupted as interrupt:
                there = "as it was before" if server.installations() else "not installed"
                interrupt.state = (
                    f"TimescaleDB is {there}; packages that apt had finished stay. "
                    "`invoke server.install` continues from there."
                )
                raise
    if found := server.installations():
        return found[0]
    raise ServerError(
        "PostgreSQL and TimescaleDB were installed, but not found afterwards",
        where=str(server.layout.install_log),
        hint=f"Read that log. {OTHER_WAYS}",
    )


def up(server: Embedded, *, port: int | None = None, report: Report = ignore) -> Postmaster:
    """Start the server, making its data directory first if need be, and return it.

    A port (ANY_PORT: a free one) makes it listen on loopback too, now and whenever it is started again, until NO_PORT
    ends that. A running server is restarted for a change of port, unless it has sessions. Whether the port can be used
    is checked first: after a ServerError, a server that was running is still running.
    """
    installation, layout = server.fitting(), server.layout
    if not installation:
        raise server.unusable()
    cluster = server.cluster(installation)
    claim(layout)
    with _changing(server, "server.up", report):
        made = False
        running = cluster.start() if postmaster(layout.data) else None
        listening = running.port if running and running.listens else NO_PORT
        if not running or not (port in (None, listening) or (port == ANY_PORT and running.listens)):
            chosen = access.choose_port(layout, port, report)
            if running:
                if sessions := access.other_sessions(access.by_socket(layout, running)):
                    raise ServerError(
                        f"changing the port needs a restart, which would end {count(sessions, 'session')}",
                        where=str(layout.directory),
                        hint="End them, or run `invoke server.down` first, which ends them too.",
                    )
                cluster.stop()
            version = f"PostgreSQL {installation.version}"
            with step(report, "server", f"starting {version} in {layout.directory}") as outcome:
                made = cluster.initialise(report)
                running = cluster.start(chosen)
                outcome.append(f"{version} runs, {'data directory made' if made else 'data kept'}")
        if running.listens and (made or port is not None):
            access.ensure_password(layout, running)
        if port is not None and running.listens:
            layout.port.write_text(f"{running.port}\n")
        elif port is not None:
            layout.port.unlink(missing_ok=True)
        return running


def down(server: Embedded, *, report: Report = ignore) -> Stopped:
    """Stop the server, and that for tests."""
    stopped = False
    for each in (server, server.for_tests()):
        if each.layout.ours:
            with _changing(each, "server.down", report):
                stopped |= _stop(each)
    return Stopped(stopped)


def status(server: Embedded, database: str = "") -> ServerStatus:
    """Return what there is, and how to reach a database on it; changes nothing."""
    layout = server.layout
    tests = server.for_tests() if server.durable else None
    of_tests = status(tests) if tests and tests.layout.made else None
    installation = server.fitting()
    if not layout.made:
        state = "no data" if installation else "not installed"
        return ServerStatus(state, layout.directory, installation, tests=of_tests)
    running = postmaster(layout.data)
    return ServerStatus(
        state="running" if running else "stopped" if installation else "unusable",
        directory=layout.directory,
        installation=installation,
        running=running,
        address=replace(access.preferred(layout, running), database=database) if running else None,
        size=layout.size,
        problem="" if installation else server.unusable().what,
        tests=of_tests,
    )


@contextmanager
def temporarily_up(server: Embedded, *, report: Report = ignore) -> Iterator[Target]:
    """Yield the server's maintenance database; a server that is not running is stopped again at the end.

    Raises ServerError if the server cannot be started.
    """
    ran = bool(postmaster(server.layout.data))
    running = up(server, report=report)
    try:
        yield access.by_socket(server.layout, running)
    finally:
        if not ran:
            down(server, report=report)


def destroy(server: Embedded, *, report: Report = ignore) -> bool:
    """Stop the server and remove what this tool made, all data with it; return whether there was anything.

    The server for tests goes too. What stays in the directory is reported. Raises ServerError for a directory that this
    tool did not make. Asking for consent is the caller's part.
    """
    layout = server.layout
    tests = server.for_tests() if server.durable else None
    gone = destroy(tests, report=report) if tests and tests.layout.ours else False
    if not layout.ours:
        if layout.holds_others:
            raise layout.foreign()
        return gone
    with _changing(server, "server.destroy", report):
        _stop(server)
        linked = layout.data.resolve() if layout.data.is_symlink() else None
        kept = remove(layout)
        unusable = layout.unusable()
    for path in kept:
        why = "it may hold data" if path in unusable else "this tool did not make it"
        report(Message("WARNING", f"{path.name} stays: {why}", str(path)))
    if linked:
        report(Message("WARNING", "the data stays: the data directory was a link to it", str(linked)))
    return True


def log_lines(server: Embedded, lines: int) -> LogLines:
    """Return the last lines of the log; none if the server has never run."""
    return LogLines(tail(server.layout.log, lines))


def follow_log(server: Embedded, lines: int) -> Iterator[LogLines]:
    """Yield the last lines of the log one by one, then each line that is added, without end."""
    while not os.path.lexists(server.layout.log):
        time.sleep(POLL_SECONDS)
    with io.TextIOWrapper(open_regular(server.layout.log), errors="replace") as file:
        *added, rest = file.read().split("\n")
        added = added[-lines:]
        while True:
            yield from (LogLines((line,)) for line in added)
            if not added:
                time.sleep(POLL_SECONDS)
            rest += file.read()
            *added, rest = rest.split("\n")


def discard_unfit(tests: Embedded) -> None:
    """Discard the data of a server for tests that no installation can start on, or that was not shut down.

    Without durability it may be damaged after a crash of the machine. The lock must be held.
    """
    layout = tests.layout
    stale = not postmaster(layout.data) and (layout.data / "postmaster.pid").exists()
    if layout.made and (stale or not tests.fitting()) and has_ended(layout.data):
        discard(layout)


def _stop(server: Embedded) -> bool:
    """Stop the server if it runs, with the lock held."""
    if not postmaster(server.layout.data):
        return False
    # Any version's pg_ctl can stop a server.
    found = server.installations()
    if not found:
        raise server.unusable()
    return server.cluster(found[0]).stop()
