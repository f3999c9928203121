"""Tasks that install, start, stop and remove the embedded server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tasks.runner import ServerRun, server_operation

if TYPE_CHECKING:
    from rich.console import Console

    from dbops.server import Place, Status

NOT_RUNNING = 3


@server_operation()
def install(run: ServerRun) -> None:
    """Install PostgreSQL 15 and TimescaleDB, unless they are there.

    From the distribution's packages where it has one of TimescaleDB (Debian 13 and newer), on Debian 12 by building
    Debian's signed source. Needs root or sudo. A second run changes nothing.
    """
    from dbops import server

    server.install(_place(run), ask=sys.stdin.isatty(), report=run.view.event)
    _show(run, server.status(_place(run)))


@server_operation(port="Listen on this loopback port too, with a generated password; `auto` chooses a free one.")
def up(run: ServerRun, port: str = "") -> None:
    """Start the embedded server, making its data directory first if there is none, and say how to reach it."""
    from dbops import server

    place = _place(run)
    server.up(place, port=_port(port), report=run.view.event)
    _show(run, server.status(place))


@server_operation()
def down(run: ServerRun) -> None:
    """Stop the embedded server; its data stays."""
    from dbops import server

    ran = server.down(_place(run), report=run.view.event)
    text = "The embedded server is stopped; its data stays." if ran else "The embedded server was not running."
    run.view.result(lambda console: console.print(text), {"stopped": ran})


@server_operation()
def status(run: ServerRun) -> int:
    """Show the embedded server: installed, running, where, how large; exit code 0 if it runs, else 3."""
    from dbops import server

    found = server.status(_place(run))
    _show(run, found)
    return 0 if found.running else NOT_RUNNING


@server_operation(lines="How many lines to show.", follow="Go on showing new lines until Ctrl-C.")
def logs(run: ServerRun, lines: int = 50, follow: bool = False) -> None:
    """Show the end of the embedded server's log."""
    from dbops import server

    place = _place(run)
    _print_lines(run, server.log_lines(place, lines))
    for line in server.follow_log(place) if follow else ():
        _print_lines(run, (line,))


@server_operation(yes="Do not ask.")
def destroy(run: ServerRun, yes: bool = False) -> None:
    """Stop the embedded server and remove its data directory, with every database in it, after consent."""
    from dbops import server
    from dbops.errors import ConsentError

    place = _place(run)
    found = server.status(place)
    if found.size and not yes:
        question = f"Remove the embedded server in {found.directory}, with all of its databases ({_size(found.size)})?"
        answer = run.view.ask(f"{question} Type yes:")
        if answer is None or answer.strip().lower() != "yes":
            raise ConsentError(
                "nobody agreed to lose the embedded server's databases",
                where=str(found.directory),
                hint="Nothing was removed. Answer yes on a terminal, or run `invoke server.destroy --yes`.",
            )
    gone = server.destroy(place, report=run.view.event)
    text = f"Removed {found.directory}." if gone else "There is no embedded server's directory to remove."
    run.view.result(lambda console: console.print(text), {"removed": gone, "directory": found.directory})


def _print_lines(run: ServerRun, lines: tuple[str, ...]) -> None:
    """Print lines of a log as they are."""
    if lines:
        run.view.result(lambda console: console.out("\n".join(lines)), {"lines": lines})


def _place(run: ServerRun) -> Place:
    from dbops import server

    return server.Place.of(run.environ)


def _port(text: str) -> int | None:
    """Return the port that an option asks for: none, 0 for any free one, or its number."""
    from dbops.errors import UsageError

    if not text:
        return None
    if text == "auto" or (text.isascii() and text.isdigit() and int(text) <= 65535):
        return 0 if text == "auto" else int(text)
    raise UsageError(
        f'"{text}" is no port',
        where="--port",
        hint="Use a number up to 65535, or `--port auto` for a free one.",
    )


def _show(run: ServerRun, found: Status) -> None:
    """Print a status: one fact a line, the address as a line that a shell can use."""
    from dbops import settings

    environment = settings.choose_environment(run.environ)
    url = found.address.url(f"kapman_{environment}") if found.address else ""
    facts = {
        "state": found.state,
        "postgresql": found.installation.version if found.installation else "",
        "timescaledb": found.installation.timescaledb if found.installation else "",
        "programs": str(found.installation.binaries) if found.installation else "",
        "directory": str(found.directory),
        "pid": found.running.pid if found.running else None,
        "size_bytes": found.size,
        "database_url": url,
    }

    def text(console: Console) -> None:
        shown = {**facts, "size_bytes": None, "size": _size(found.size) if found.size else "", "database_url": ""}
        for name, value in shown.items():
            if value:
                console.out(f"{name:<12} {value}")
        if url:
            console.out(f"DATABASE_URL='{url}'")

    run.view.result(text, facts)


def _size(size: int) -> str:
    return f"{size / 1_000_000:.0f} MB"
