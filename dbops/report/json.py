"""The view for machines: events and errors as JSON, one a line, on stderr; the result as one object on stdout."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from dbops.errors import DbopsError
from dbops.events import Event, Header, Message
from dbops.report import View, drawing, plain, writing
from dbops.report.commands import complete

if TYPE_CHECKING:
    from dbops.catalog.drift import Drift
    from dbops.database.consent import Replacement
    from dbops.database.existing import Rehearsal
    from dbops.database.inspection import Inspection
    from dbops.database.rebuild import RebuildPlan, RebuildResult
    from dbops.database.schema import Checks, Fingerprint
    from dbops.migrations.files import Renumbered
    from dbops.server import ServerStatus
    from dbops.verification import Verification


class JsonView(View):
    """Prints JSON only, so that nothing needs to be scraped."""

    def show_event(self, event: Event) -> None:
        """Print an event as one line."""
        if isinstance(event, Header):
            fields = {"about": _drawn(f"{drawing(event.about)}_header", event.about)}
        else:
            fields = plain(event)
        if isinstance(event, Message):
            fields["text"] = complete(event.text)
        self._line({"event": drawing(event).replace("statement_finished", "statement"), **fields})

    def show_as(self, name: str, found: object) -> None:
        """Print a result as one JSON object: as the function of this name returns it, or its fields."""
        with writing():
            _write(_drawn(name, found), sys.stdout)

    def document(self, name: str, found: object) -> str:
        """Return a result as one JSON object, indented."""
        return json.dumps(_drawn(name, found), ensure_ascii=False, indent=2) + "\n"

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

    def show_interrupted(self, state: str) -> None:
        """Print the interruption as one line."""
        self._line({"event": "interrupted", "state": complete(state)})

    def _line(self, fields: dict[str, object]) -> None:
        _write({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}, sys.stderr)


def _drawn(name: str, found: object) -> Any:
    """Return what JSON has of a result: what the function of this name returns, else its fields."""
    return plain(globals().get(name, plain)(found))


def _write(fields: object, stream: TextIO) -> None:
    # GitHub takes a line with ##[ for a command.
    print(json.dumps(fields, ensure_ascii=False).replace("##[", "##\\u005b"), file=stream, flush=True)


def rebuild_plan(plan: RebuildPlan) -> dict[str, object]:
    """Return what a rebuild would do."""
    found = plan.inspection
    return {
        "began": plain(plan.began),
        **_impact(found),
        "postgresql": found.server.version_text,
        "timescaledb": found.server.timescaledb,
        "preflight": [{**plain(item), "remedy": complete(item.remedy)} for item in plan.conditions],
        "refused": bool(plan.refusals),
        "consent": plain(plan.consent),
        "migrations": [migration.name for migration in plan.migrations],
        "keep": plan.keep,
    }


rebuild_plan_header = rebuild_plan


def replacement_header(found: Replacement) -> dict[str, object]:
    """Return what would be lost."""
    return _impact(found.inspection)


def _impact(found: Inspection) -> dict[str, object]:
    lost = found.impact
    return {
        "database": found.target.database,
        "server": found.target.server,
        "environment": found.target.environment,
        "exists": found.exists,
        "rows_would_be_lost": lost.rows,
        "estimated_rows": lost.estimated_rows,
        "size": found.database.size if found.database else None,
        "sessions": plain(found.sessions),
        "impact": plain(lost) if found.exists else None,
    }


def rebuild_results(results: tuple[RebuildResult, ...]) -> object:
    """Return the last rebuild, and how many there were: all of them have its fingerprint."""
    return {**plain(results[-1]), "repeated": len(results)}


def verification(result: Verification) -> dict[str, object]:
    """Return the result as docs/verify.schema.json describes it."""
    return {
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


def checks(found: Checks) -> dict[str, object]:
    """Return the names of check files, and what each says it is about; and what the schema is compared with."""
    about = [{"name": file.name, "about": file.about} for file in found.files]
    return {"files": about, "compared_with": found.expected.source if found.expected else None}


def rehearsal(found: Rehearsal) -> object:
    """Return what each migration did."""
    return found.migrations


def fingerprint(found: Fingerprint) -> dict[str, object]:
    """Return the fingerprint, and the text if it was asked for."""
    text = {"text": found.text} if found.text else {}
    return {"database": found.database, "fingerprint": found.fingerprint, **text}


def renumbered(found: Renumbered) -> dict[str, object]:
    """Return what was renamed."""
    return {"renamed": [{"from": old, "to": new} for old, new in found.renamed]}


def drift(result: Drift) -> dict[str, object]:
    """Return the result as docs/drift.schema.json describes it."""
    return {"drift": result.found, **plain(result)}


def server_status(found: ServerStatus) -> dict[str, object]:
    """Return what there is of the embedded server; its URL is empty where it does not run."""
    return {
        "state": found.state,
        "problem": found.problem,
        "postgresql": found.installation.version if found.installation else "",
        "timescaledb": found.installation.timescaledb if found.installation else "",
        "programs": found.installation.binaries if found.installation else "",
        "directory": found.directory,
        "pid": found.running.pid if found.running else None,
        "size_bytes": found.size,
        "database_url": found.address.url() if found.address else "",
        "tests": server_status(found.tests) if found.tests else None,
    }
