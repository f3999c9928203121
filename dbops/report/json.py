"""The view for machines: events and errors as JSON, one a line, on stderr; the result as one object on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from dbops.errors import DbopsError
from dbops.events import Event, Message
from dbops.report import Found, View, hush, plain, writing
from dbops.report.commands import complete

if TYPE_CHECKING:
    from rich.console import Console

    from dbops.catalog import ExpectedSchema
    from dbops.catalog.drift import Drift
    from dbops.database.inspection import Inspection
    from dbops.database.rebuild import RebuildPlan, RebuildResult
    from dbops.server import Status
    from dbops.verification import CheckFile, Verification

NAMES = {
    "StepStarted": "step_started",
    "Progress": "progress",
    "StepFinished": "step_finished",
    "Message": "message",
    "Statement": "statement",
}


class JsonView(View):
    """Prints JSON only, so that nothing needs to be scraped."""

    def show_event(self, event: Event) -> None:
        """Print an event as one line."""
        fields = plain(event)
        if isinstance(event, Message):
            fields["text"] = complete(event.text)
        self._line({"event": NAMES[type(event).__name__], **fields})

    def show_as(self, name: str, found: object) -> None:
        """Print a result as one JSON object: as the function of this name returns it, or its fields."""
        with writing():
            _write(plain(globals().get(name, plain)(found)), sys.stdout)

    def result(self, draw: Callable[[Found, Console], None], found: Found, data: object = None) -> None:
        """Print the result as one JSON object."""
        with writing():
            _write(plain(found if data is None else data), sys.stdout)

    def header(self, draw: Callable[[Found, Console], None], found: Found, data: object) -> None:
        """Print what is about to happen as one line."""
        self._line({"event": "header", "about": plain(data)})

    def show_error(self, error: DbopsError) -> None:
        """Print an error as one line."""
        location = error.location
        self._line(
            {
                "event": "error",
                "what": error.what,
                "where": str(location or error.where),
                "source": (
                    {"path": location.path, "line": location.line, "column": location.column} if location else None
                ),
                "sqlstate": error.sqlstate or None,
                "hint": complete(error.advice),
                "notes": [complete(note) for note in error.notes],
                "exit_code": error.exit_code,
            }
        )

    def interrupted(self, state: str) -> None:
        """Print the interruption as one line."""
        self._line({"event": "interrupted", "state": complete(state)})

    def _line(self, fields: dict[str, object]) -> None:
        _write({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}, sys.stderr)


def _write(fields: object, stream: TextIO) -> None:
    try:
        # GitHub takes a line with ##[ for a command.
        print(json.dumps(fields, ensure_ascii=False).replace("##[", "##\\u005b"), file=stream, flush=True)
    except BrokenPipeError:
        hush(stream)


def rebuild_plan(plan: RebuildPlan) -> dict[str, object]:
    """Return what a rebuild would do."""
    found = plan.inspection
    return {
        "began": plain(plan.began),
        **impact(found),
        "postgresql": found.server.version_text,
        "timescaledb": found.server.timescaledb,
        "preflight": [{**plain(item), "remedy": complete(item.remedy)} for item in plan.conditions],
        "refused": bool(plan.refusals),
        "consent": plain(plan.consent),
        "migrations": [migration.name for migration in plan.migrations],
        "keep": plan.keep,
    }


def impact(found: Inspection) -> dict[str, object]:
    """Return what would be lost."""
    lost = found.impact
    return {
        "database": found.target.database,
        "server": found.target.server,
        "environment": found.target.environment,
        "exists": found.exists,
        "rows_would_be_lost": found.rows,
        "estimated_rows": lost.estimated_rows if lost else 0,
        "size": found.database.size if found.database else None,
        "sessions": plain(found.sessions),
        "impact": plain(lost),
    }


def rebuilt(results: tuple[RebuildResult, ...]) -> object:
    """Return the last rebuild, and how many there were: all of them have its fingerprint."""
    return {**plain(results[-1]), "repeated": len(results)}


def verification(result: Verification) -> dict[str, object]:
    """Return the result as docs/verify.schema.json describes it."""
    data: dict[str, object] = plain(
        {
            "passed": result.passed,
            "summary": {
                "total": len(result.checks),
                "passed": len(result.checks) - len(result.failed),
                "failed": len(result.failed),
                "seconds": result.seconds,
            },
            "checks": [*result.failed, *(check for check in result.checks if check.passed)],
            "advice": result.advice,
        }
    )
    return data


def verification_document(result: Verification) -> str:
    """Return the result as the text of a file."""
    return json.dumps(verification(result), ensure_ascii=False, indent=2) + "\n"


def check_files(files: tuple[CheckFile, ...], expected: ExpectedSchema | None) -> dict[str, object]:
    """Return the names of check files, and what each says it is about; and what the schema is compared with."""
    about = [{"name": file.name, "about": file.about} for file in files]
    return {"files": about, "compared_with": expected.source if expected else None}


def drift(result: Drift) -> dict[str, object]:
    """Return the result as docs/drift.schema.json describes it."""
    fields: dict[str, object] = plain(result)
    return {"drift": result.found, **fields}


def server_status(found: Status, url: str) -> dict[str, object]:
    """Return what there is of the embedded server; `url` is empty where it does not run."""
    return {
        "state": found.state,
        "problem": found.problem,
        "postgresql": found.installation.version if found.installation else "",
        "timescaledb": found.installation.timescaledb if found.installation else "",
        "programs": str(found.installation.binaries) if found.installation else "",
        "directory": str(found.directory),
        "pid": found.running.pid if found.running else None,
        "size_bytes": found.size,
        "database_url": url,
        "tests": server_status(found.tests, "") if found.tests else None,
    }
