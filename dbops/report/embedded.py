"""What the verbs of the embedded server show."""

from __future__ import annotations

from rich.console import Console
from rich.filesize import decimal

from dbops.report.base import View
from dbops.server import Status


def status(found: Status, url: str, console: Console) -> None:
    """Draw one fact a line, and the address as lines that a shell can use."""
    data = status_data(found, url)
    shown = {**data, "size_bytes": None, "size": decimal(found.size) if found.size else "", "database_url": ""}
    for name, value in shown.items():
        if value:
            console.out(f"{name:<12} {value}")
    if url:
        console.out(f"DATABASE_URL='{url}'")
        console.out(f"psql '{url}'")


def status_data(found: Status, url: str) -> dict[str, object]:
    """Return the same for machines."""
    return {
        "state": found.state,
        "postgresql": found.installation.version if found.installation else "",
        "timescaledb": found.installation.timescaledb if found.installation else "",
        "programs": str(found.installation.binaries) if found.installation else "",
        "directory": str(found.directory),
        "pid": found.running.pid if found.running else None,
        "size_bytes": found.size,
        "database_url": url,
    }


def question(found: Status) -> str:
    """Return what an operator at a terminal is asked before a server is removed."""
    size = decimal(found.size)
    return f"Remove the embedded server in {found.directory}, with all of its databases ({size})? Type yes:"


def log_lines(lines: tuple[str, ...], view: View) -> None:
    """Print lines of a log as they are."""
    if lines:
        view.result(lambda console: console.out("\n".join(lines)), {"lines": lines})
