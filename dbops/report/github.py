"""What GitHub Actions shows beside the log: errors at their line of a file, and tables in the summary of a step.

See "Workflow commands for GitHub Actions" in GitHub's documentation.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from dbops.errors import DbopsError, Interrupted, Location
from dbops.report.commands import complete

if TYPE_CHECKING:
    from dbops.catalog.drift import Drift
    from dbops.database.rebuild import RebuildPlan
    from dbops.lint.check import LintResult
    from dbops.migrations.run import MigrationPlan
    from dbops.verification import Verification

# GitHub shows no more errors than this of one step.
SHOWN_ERRORS = 10
# A line begins after a carriage return too.
_COMMANDS = re.compile(r"((?:^|(?<=\r))\s*(?=::)|##(?=\[))", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class GitHub:
    """One step of a workflow; `summary` is the file to append Markdown to, empty if there is none.

    Shows nothing unless it is `active`.
    """

    summary: str = ""
    active: bool = True

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> GitHub:
        """Return the step that the environment tells of, which is not active outside of GitHub Actions."""
        return cls(environ.get("GITHUB_STEP_SUMMARY", ""), environ.get("GITHUB_ACTIONS") == "true")

    def guarded(self, stream: TextIO) -> TextIO:
        """Return what to write text to that is not ours: the stream itself, if it is one that GitHub does not read."""
        if not self.active or stream.isatty():
            return stream
        try:
            is_file = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
        except (OSError, ValueError):
            is_file = False
        return stream if is_file else cast("TextIO", Log(stream))

    def run(self, arguments: Sequence[str], environ: Mapping[str, str], *, last: bool) -> int:
        """Run a program that prints text of others, and return its exit code; what GitHub reads of it is guarded.

        Where GitHub reads nothing and this is the `last` thing to do, the program takes this one's place. Else Ctrl-C
        at a terminal is left to the program, as psql cancels a statement and goes on.
        """
        streams = (sys.stdout, sys.stderr)
        if last and all(self.guarded(stream) is stream for stream in streams):
            os.execve(arguments[0], [*arguments], dict(environ))  # noqa: S606
        out, err = (None if self.guarded(stream) is stream else subprocess.PIPE for stream in streams)
        before = signal.getsignal(signal.SIGINT)
        with subprocess.Popen(arguments, env=environ, stdout=out, stderr=err) as child:  # noqa: S603
            piped = zip((child.stdout, child.stderr), streams, strict=True)
            threads = [Thread(target=Log(stream).copy, args=(pipe,)) for pipe, stream in piped if pipe]
            for thread in threads:
                thread.start()
            try:
                if sys.stdin.isatty():
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
                for thread in threads:
                    thread.join()
                code = child.wait()
            except Interrupted as interrupt:
                child.terminate()
                for thread in threads:
                    thread.join(1)
                interrupt.state = f"{Path(arguments[0]).name} was ended; what it had committed stays."
                raise
            finally:
                signal.signal(signal.SIGINT, before)
        # Ended by a signal: as a shell has it.
        return code if code >= 0 else 128 - code

    def error(self, error: DbopsError) -> None:
        """Show an error, at its line if it has one."""
        notes = "".join(f"\n{note}" for note in error.notes)
        text = complete(f"{error.what}{notes}\nhint: {error.advice}")
        self._command("error", text, "kapman-dbops", error.location)

    def verification(self, result: Verification) -> None:
        """Show the failed checks as errors, those of parts of a missing table last, and all of them as a table."""
        parts = result.failed_parts
        for check in sorted(result.failed, key=parts.__contains__)[:SHOWN_ERRORS]:
            path = check.file if check.change else f"db/verify/{check.file}"
            location = check.location or Location(path, 1, 1, "")
            text = f"expected {_value(check.expected)}, actual {_value(check.actual)}"
            self._command("error", text, check.name, location)
        rows = [(check.file, check.name, _value(check.expected), _value(check.actual)) for check in result.failed]
        self._append(f"db.verify: {result.summary}", ("file", "check", "expected", "actual"), rows)

    def lint_result(self, result: LintResult) -> None:
        """Show each finding of lint at its line."""
        for finding in result.findings:
            self._command("error", complete(finding.message), finding.rule, finding.location)

    def drift(self, result: Drift) -> None:
        """Show the objects that differ as a table, and their diff."""
        verdict = "drift" if result.found else "no drift"
        rows = [(item.change, item.name) for item in result.objects]
        diff = "\n".join(line for item in result.objects for line in item.lines)
        self._append(f"db.drift: {verdict} in {result.target}", ("change", "object"), rows, diff)

    def migration_plan(self, plan: MigrationPlan) -> None:
        """Show the migrations that would run as a table."""
        rows = [
            (item.name, str(item.statements), item.locks or "not declared", item.lock_timeout) for item in plan.pending
        ]
        heading = f"db.migrate --plan: {len(rows)} to apply to {plan.database} on {plan.server}"
        self._append(heading, ("migration", "statements", "locks", "lock timeout"), rows)

    def rebuild_plan(self, plan: RebuildPlan) -> None:
        """Show the conditions of the preflight as a table."""
        rows = [
            ("ok" if item.passed else "FAIL", item.name, complete(f"{item.reason} {item.remedy}".strip()))
            for item in plan.conditions
        ]
        verdict = "would be refused" if plan.refusals else "is possible"
        heading = f"db.rebuild --plan: a rebuild of {plan.inspection.target} {verdict}"
        self._append(heading, ("state", "condition", "reason"), rows)

    def _append(self, heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]], diff: str = "") -> None:
        """Append a table to the summary; a summary that cannot be written does not fail the step."""
        lines = [f"### {_cell(heading)}", ""]
        if rows:
            lines += [_row(columns), _row(["---"] * len(columns)), *(_row(map(_cell, row)) for row in rows), ""]
        if diff:
            # Backquotes that are more than any in the text cannot be closed by it.
            lines += ["````````diff", diff.replace("`" * 8, "'" * 8), "````````", ""]
        if not (self.active and self.summary):
            return
        try:
            with Path(self.summary).open("a", encoding="utf-8", errors="replace") as file:
                file.write("\n".join(lines) + "\n")
        except OSError as error:
            self._command("warning", f"cannot write the step summary: {error.strerror}")

    def _command(self, name: str, message: str, title: str = "", location: Location | None = None) -> None:
        """Print a workflow command; on stderr, which GitHub reads too, so that stdout stays the result's."""
        if not self.active:
            return
        properties = {"title": title} if title else {}
        if location:
            properties |= {"file": location.path, "line": str(location.line), "col": str(location.column)}
        given = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in properties.items())
        sys.stderr.write(f"::{name}{' ' if given else ''}{given}::{_escaped(message)}\n")
        sys.stderr.flush()


class Log:
    """A stream that GitHub reads, to which text can be written that is not ours.

    GitHub takes a line for a command that begins with `::`, spaces aside, or has `##[` anywhere. See ActionCommand.cs
    of actions/runner 2.3.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text without commands: a backslash is put into what would be one."""
        self._stream.write(_COMMANDS.sub(r"\1\\", text))
        return len(text)

    def copy(self, source: IO[bytes]) -> None:
        """Copy the lines that a program prints, without commands; it learns that the reader is gone, as without us."""
        for line in source:
            text = _COMMANDS.sub(r"\1\\", line.decode("utf-8", "surrogateescape"))
            try:
                self._stream.buffer.write(text.encode("utf-8", "surrogateescape"))
                self._stream.buffer.flush()
            except OSError:
                from dbops.report import hush

                hush(self._stream)
                source.close()
                return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _escaped(text: str, more: str = "") -> str:
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _value(value: str | None) -> str:
    return "NULL" if value is None else value


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Return a text as Markdown shows it literally in a cell of a table."""
    return re.sub(r"[\\`*_\[\]<>|~#&]", lambda found: f"&#{ord(found[0])};", " ".join(text.split()))
