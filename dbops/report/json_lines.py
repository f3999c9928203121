"""The view for machines: events and errors as JSON, one a line, on stderr; the result as one object on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from rich.console import Console

from dbops.errors import DbopsError
from dbops.events import Event
from dbops.report.base import View, hush, plain, writing

NAMES = {
    "StepStarted": "step_started",
    "Progress": "progress",
    "StepFinished": "step_finished",
    "Message": "message",
    "Statement": "statement",
}


class JsonView(View):
    """Prints JSON only, so that nothing needs to be scraped."""

    def show(self, event: Event) -> None:
        """Print an event as one line."""
        self._line({"event": NAMES[type(event).__name__], **plain(event)})

    def result(self, text: Callable[[Console], None], data: object) -> None:
        """Print the result as one JSON object."""
        with writing():
            _write(plain(data), sys.stdout)

    def header(self, text: Callable[[Console], None], data: object) -> None:
        """Print what is about to happen as one line."""
        self._line({"event": "header", "about": plain(data)})

    def error(self, error: DbopsError) -> int:
        """Print an error as one line and return its exit code."""
        place = error.location
        self._line(
            {
                "event": "error",
                "what": error.what,
                "where": str(place or error.where),
                "source": {"path": place.path, "line": place.line, "column": place.column} if place else None,
                "sqlstate": error.sqlstate or None,
                "hint": error.advice,
                "notes": list(error.notes),
                "exit_code": error.exit_code,
            }
        )
        return error.exit_code

    def interrupted(self, state: str) -> None:
        """Print the interruption as one line."""
        self._line({"event": "interrupted", "state": state})

    def _line(self, fields: dict[str, object]) -> None:
        _write({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}, sys.stderr)


def _write(fields: object, stream: TextIO) -> None:
    try:
        print(json.dumps(fields, ensure_ascii=False), file=stream, flush=True)
    except BrokenPipeError:
        hush(stream)
