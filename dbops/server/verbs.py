"""What an operator does with the embedded server: install, up, down, status, destroy."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dbops import settings
from dbops.errors import ServerError
from dbops.events import Report, StepFinished, StepStarted, ignore
from dbops.server import access
from dbops.server.cluster import Cluster
from dbops.server.find import Installation, find
from dbops.server.installer import OTHER_WAYS
from dbops.server.installer import install as install_packages
from dbops.server.layout import Layout, claim, foreign, locked, remove
from dbops.server.process import Postmaster, postmaster
from dbops.server.system import Account


@dataclass(frozen=True, slots=True)
class Place:
    """Where the embedded server is or would be, and where to look for PostgreSQL's programs."""

    layout: Layout
    search_path: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Place:
        """Return the place that the settings decide."""
        return cls(Layout(settings.server_directory(environ)), environ.get("PATH", ""))

    def installations(self) -> tuple[Installation, ...]:
        """Return the usable installations, the preferred one first."""
        return find(self.search_path)


@dataclass(frozen=True, slots=True)
class Status:
    """What is there: state is `not installed`, `installed` (no data yet), `stopped` or `running`; sizes in bytes."""

    state: str
    directory: Path
    installation: Installation | None = None
    running: Postmaster | None = None
    address: access.Address | None = None
    size: int = 0


def install(place: Place, *, ask: bool = False, report: Report = ignore) -> Installation:
    """Install PostgreSQL and TimescaleDB unless they are there, and return them. `ask` lets sudo ask for a password."""
    if found := place.installations():
        return found[0]
    claim(place.layout)
    with locked(place.layout, report):
        if not place.installations():
            try:
                install_packages(place.layout.install_log, ask=ask, report=report)
            except KeyboardInterrupt as error:
                error.add_note("TimescaleDB is not installed; packages that apt had finished stay.")
                error.add_note("`invoke server.install` continues from there.")
                raise
    if found := place.installations():
        return found[0]
    raise ServerError(
        "PostgreSQL and TimescaleDB were installed, but are not where they should be",
        where=str(place.layout.install_log),
        hint=f"Read that log. {OTHER_WAYS}",
    )


def up(place: Place, *, port: int | None = None, report: Report = ignore) -> Postmaster:
    """Start the server, making its data directory first if need be, and return it.

    A port (0: any free one) makes it listen on loopback too; a server that runs without it is restarted, unless
    sessions would be lost. Without one, a server that runs is left as it is.
    """
    cluster = _cluster(place)
    claim(place.layout)
    with locked(place.layout, report):
        return _start(cluster, port, report)


def down(place: Place, *, report: Report = ignore) -> bool:
    """Stop the server and return whether it ran."""
    if not place.layout.ours:
        return False
    with locked(place.layout, report):
        return _stop(place)


def status(place: Place) -> Status:
    """Return what is there, changing nothing."""
    layout = place.layout
    found = place.installations()
    if not layout.made:
        state = "installed" if found else "not installed"
        return Status(state, layout.directory, found[0] if found else None)
    installation = next((i for i in found if i.major == _major(layout)), None)
    running = postmaster(layout.data)
    return Status(
        state="running" if running else "stopped",
        directory=layout.directory,
        installation=installation,
        running=running,
        address=access.preferred(layout, running) if running else None,
        size=_size(layout.data),
    )


def destroy(place: Place, *, report: Report = ignore) -> bool:
    """Stop the server and remove its directory with all data; return whether there was one.

    Raises ServerError for a directory that this tool did not make. Asking for consent is the caller's part.
    """
    layout = place.layout
    if not layout.directory.exists():
        return False
    if not layout.ours:
        raise foreign(layout)
    with locked(layout, report):
        _stop(place)
        remove(layout)
    return True


def _start(cluster: Cluster, port: int | None, report: Report) -> Postmaster:
    """Bring the server into the wanted state, with the lock held, and return it."""
    layout = cluster.layout
    running = cluster.running() and cluster.start()
    if running and not _serves(running, port):
        _check_idle(layout, running)
        cluster.stop()
        running = None
    if not running:
        chosen = access.free_port() if port == 0 else port
        if chosen:
            access.check_free(chosen)
        began = time.monotonic()
        report(StepStarted("server", f"starting PostgreSQL {cluster.installation.version} in {layout.directory}"))
        made = cluster.initialise(report)
        running = cluster.start(chosen)
        detail = f"PostgreSQL {cluster.installation.version} runs, {'data directory made' if made else 'data kept'}"
        report(StepFinished("server", detail, time.monotonic() - began))
    if running.listens and port is not None:
        access.ensure_password(layout, running)
    return running


def _serves(running: Postmaster, port: int | None) -> bool:
    """Return whether a running server listens as wanted: None is content with anything, 0 with any TCP port."""
    return port is None or (running.listens and port in (0, running.port))


def _check_idle(layout: Layout, running: Postmaster) -> None:
    """Raise ServerError if a restart would end somebody's session."""
    if count := access.other_sessions(layout, running):
        raise ServerError(
            f"a restart would end {count} session{'s' * (count > 1)}; without one the port cannot be changed",
            where=str(layout.directory),
            hint="End them, or run `invoke server.down` first, which ends them too.",
        )


def _cluster(place: Place) -> Cluster:
    """Return the cluster with the programs that fit its data directory; raise ServerError if there are none."""
    found = place.installations()
    wanted = _major(place.layout) if place.layout.made else None
    for installation in found:
        if wanted in (None, installation.major):
            return Cluster(place.layout, installation, Account.current())
    what = f"PostgreSQL {wanted} with TimescaleDB" if wanted else "PostgreSQL 15 or newer with TimescaleDB"
    raise ServerError(
        f"{what} is not installed",
        where="this machine",
        hint=f"Run `invoke server.install`. {OTHER_WAYS}",
    )


def _stop(place: Place) -> bool:
    """Stop the server if it runs, with the lock held."""
    return bool(postmaster(place.layout.data)) and _cluster(place).stop()


def _major(layout: Layout) -> int:
    return int((layout.data / "PG_VERSION").read_text().split(".")[0])


def _size(directory: Path) -> int:
    """Return how many bytes the files in a directory take; files that vanish meanwhile do not count."""
    total = 0
    for parent, _, files in os.walk(directory):
        for name in files:
            try:
                total += (Path(parent) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total
