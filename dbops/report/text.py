"""What people see: the view with the step that runs, and how each result is drawn.

Every task has one look: what it works on, its steps, tables with aligned columns, one line with the result, what to do
next. A line begins with its state in a column of its own; colour only repeats what a word says.
"""

from __future__ import annotations

import io
import re
import shlex
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import IO, TYPE_CHECKING, Literal, TextIO, cast

from rich.console import Console, Group
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dbops import events
from dbops.errors import DbopsError, Interrupted, count
from dbops.report import View, drawing, hush, writing
from dbops.report.commands import complete
from dbops.report.github import GitHub
from dbops.settings import is_scratch_name

if TYPE_CHECKING:
    from rich.live import Live

    from dbops.catalog.drift import Drift, ObjectDrift
    from dbops.database.consent import Replacement
    from dbops.database.existing import Rehearsal, Trial
    from dbops.database.inspection import Inspection
    from dbops.database.preflight import Condition
    from dbops.database.rebuild import CreateResult, DropResult, RebuildPlan, RebuildResult, UndoResult
    from dbops.database.schema import Checks, Diagram, Fingerprint, NewSchema
    from dbops.database.upgrade import UpgradePlan, UpgradeResult
    from dbops.database.wait import Ready
    from dbops.database.whole_server import Destroyed, Loss
    from dbops.lint.check import LintResult
    from dbops.migrations.files import NewFile, Renumbered
    from dbops.migrations.ledger import LedgerStatus
    from dbops.migrations.run import MigrationPlan, MigrationResult
    from dbops.postgres import Session
    from dbops.server import LogLines, ServerStatus, Stopped
    from dbops.server.find import Installation
    from dbops.verification import Verification

HEARTBEAT_SECONDS = 5.0
# The width of a pipe or a file, where text is not wrapped.
UNLIMITED = 10_000
# From these widths on there is room for less important columns, and for long texts beside each other.
WIDE = 100
MIN_TEXT = 24
WIDEST = 160
SHOWN_MIGRATIONS = 20
SHOWN_REBUILDS = 3
SHOWN_TABLES = 12
SHOWN_SESSIONS = 10
STYLES = {
    "ok": "green",
    "FAIL": "bold red",
    "warning": "yellow",
    "info": "cyan",
    "next": "cyan",
    "applied": "green",
    "pending": "cyan",
    "empty": "cyan",
    "unfinished": "bold yellow",
    "missing": "red",
    "extra": "green",
    "changed": "yellow",
    "debug": "dim",
    "sql": "dim",
    "...": "dim",
}
Row = Sequence[str | Text]
ERROR_LINE = re.compile(r"(error: |  --> |  = |hint: )?(.*)")
ERROR_STYLES = {"error: ": "bold red", "hint: ": "bold cyan"}
# A command that a text names, which is not to be broken where it fits into a line.
COMMAND = re.compile("`[^`]*`")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class TextView(View):
    """Draws on stderr while work runs, and prints results on stdout."""

    def __init__(self, log_level: str, github: GitHub) -> None:
        super().__init__(log_level, github)
        self.err = _Console(github, stderr=True)
        self.out = _Console(github)
        # Where stderr is redirected the operator does not see what would be lost.
        self.can_ask = bool(sys.stdin and sys.stderr and sys.stdin.isatty() and sys.stderr.isatty())
        # What the task was said to be and to work on, which its steps and messages need not repeat.
        self._task = self._target = ""
        # The step that runs, and what shows it: a live line on a terminal, else a heartbeat, which prints with the
        # lock.
        self._step: _Step | None = None
        self._display: Live | _Heartbeat | None = None
        self.lock = threading.RLock()
        self.spoke = 0.0

    def show_event(self, event: events.Event) -> None:
        """Show an event as a line, or in the live display."""
        with self.lock:
            self.spoke = time.monotonic()
            match event:
                case events.Began():
                    self.close()
                    self._task = event.task.partition(" ")[0].lower()
                    self._target = f"{event.database} on {event.server}"
                    heading(self.err, event.task, f"{self._target} ({event.environment})")
                case events.Header():
                    self.close()
                    globals()[f"{drawing(event.about)}_header"](event.about, self.err)
                case events.StepStarted():
                    self.close()
                    self._step = _Step(event)
                    if self.err.is_terminal and not self.err.is_dumb_terminal:
                        # rich.live takes a while to import, and only a terminal shows it.
                        from rich.live import Live

                        self._display = Live(console=self.err, transient=True, get_renderable=self._step.live_line)
                    else:
                        self._display = _Heartbeat(self, self._step)
                    self._display.start()
                case events.Progress():
                    if self._step:
                        self._step.done, self._step.item = event.done, event.item
                case events.StepFinished():
                    self.close()
                    # The result of the task says what its own step did.
                    if event.step != self._task:
                        say(self.err, "ok", f"{event.step:<9} {event.detail}  {event.seconds:.2f} s")
                case events.Message():
                    where = f"{event.where}: " if event.where not in ("", self._target) else ""
                    say(self.err, event.level.lower(), where + event.text)
                case events.StatementFinished():
                    spent = "" if event.seconds is None else f"{event.seconds * 1000:.1f} ms"
                    say(self.err, "sql", f"{spent:<9} {' '.join(event.sql.split())}")

    def show_as(self, name: str, found: object) -> None:
        """Draw a result on stdout with the function of this name."""
        self.close()
        with writing():
            globals()[name](found, self.out)

    def document(self, name: str, found: object) -> str:
        """Return a result as it is drawn in a pipe."""
        return drawn(lambda console: globals()[name](found, console))

    def show_error(self, error: DbopsError) -> None:
        """Print an error, its first word in colour."""
        for line in shown(complete(error.render())).split("\n"):
            mark, text = cast("re.Match[str]", ERROR_LINE.fullmatch(line)).groups()
            if mark:
                _flow(self.err, Text(mark, ERROR_STYLES.get(mark, "")), text)
            else:
                unwrapped(self.err, line)

    def show_interrupted(self, state: str) -> None:
        """Print one line on stderr."""
        self.close()
        _flow(self.err, Text("interrupted: "), complete(state))

    def ask(self, question: str) -> str | None:
        """Return what is typed at the terminal; None without an answer, or where there is no terminal."""
        self.close()
        if not self.can_ask:
            return None
        self.err.print(Text(shown(question)), end=" ", soft_wrap=True)
        try:
            return input()
        except EOFError:
            self.err.print()
            return None
        except KeyboardInterrupt as interrupt:
            self.err.print()
            if isinstance(interrupt, Interrupted) and not interrupt.state:
                interrupt.state = "the question was not answered, and nothing was agreed to."
            raise

    def close(self) -> None:
        """End the live line or the heartbeat."""
        with self.lock:
            if self._display:
                self._display.stop()
            self._step = self._display = None


class _Step:
    """A step that runs, in words: how many of its items are complete, which one is at work, how long it takes."""

    def __init__(self, step: events.StepStarted) -> None:
        self._step = step
        self._began = time.monotonic()
        self.done, self.item = 0, step.detail

    def words(self, *, item_last: bool = False) -> str:
        """Return it in a line."""
        seconds, total = time.monotonic() - self._began, self._step.total
        counted = [f"{self.done} of {total}"] if total else []
        item = [self.item] if self.item else []
        times = [f"{seconds:.0f} s so far"]
        # In the first seconds an estimate would be a guess.
        if total and self.done and seconds >= HEARTBEAT_SECONDS:
            times.append(f"about {seconds / self.done * (total - self.done):.0f} s to go")
        parts = [*counted, *times, *item] if item_last else [*counted, *item, *times]
        return f"{self._step.step:<9} {', '.join(parts)}"

    def live_line(self) -> Text:
        """Return it for a terminal, which does not wrap it: where it is too long, the name of the item is cut."""
        words = shown(self.words(item_last=True))
        return Text.assemble("  ", ("...", STYLES["..."]), f"     {words}", no_wrap=True, overflow="ellipsis")


class _Heartbeat(threading.Thread):
    """Says in a log how far a step is, whenever nothing was said for a while."""

    def __init__(self, view: TextView, step: _Step) -> None:
        super().__init__(daemon=True)
        self._view, self._step = view, step
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Say nothing more, with the view's lock held."""
        self._stopped.set()

    def run(self) -> None:
        """Speak until it is stopped."""
        pause = HEARTBEAT_SECONDS
        while not self._stopped.wait(pause):
            with self._view.lock:
                pause = HEARTBEAT_SECONDS - (time.monotonic() - self._view.spoke)
                if pause <= 0 and not self._stopped.is_set():
                    pause = HEARTBEAT_SECONDS
                    say(self._view.err, "...", self._step.words())


class _Console(Console):
    """A console that wraps text on a terminal only, and never guesses at colours in text.

    It goes on without a reader: rich would end the whole program where its own line breaks off. On GitHub, no text that
    is drawn on it is a command.
    """

    def __init__(self, github: GitHub, *, stderr: bool = False, file: IO[str] | None = None) -> None:
        self._github = github
        super().__init__(stderr=stderr, file=file, highlight=False, markup=False, emoji=False)
        if not self.is_terminal:
            self.width = UNLIMITED

    @property
    def file(self) -> IO[str]:
        """Return the stream to write to."""
        return self._github.guarded(cast("TextIO", super().file))

    @file.setter
    def file(self, stream: IO[str]) -> None:
        self._file = stream

    def on_broken_pipe(self) -> None:
        """Discard the rest."""
        hush(cast("TextIO", self.file))


# What all drawings are made of


def shown(text: str) -> str:
    """Return a text without control characters, which a terminal would interpret: names and values are not trusted."""
    return CONTROL.sub("\ufffd", text)


def value(text: str | None) -> str:
    """Return a value of SQL for people."""
    return "NULL" if text is None else shown(text)


def does(number: int, verb: str) -> str:
    """Return a verb in the form that a number of things takes."""
    return f"{verb}s" if number == 1 else verb


def heading(console: Console, verb: str, text: str) -> None:
    """Draw what a task works on."""
    _flow(console, Text.assemble((verb, "bold"), " "), text)


def say(console: Console, state: str, text: str) -> None:
    """Draw a line with its state in the first column, wrapped below itself."""
    _flow(console, Text.assemble("  ", (state, STYLES.get(state, "bold red")), " " * (8 - len(state))), complete(text))


def facts(console: Console, found: dict[str, str], *, indent: int = 2, width: int = 12) -> None:
    """Draw names, in a column of a width, and values, one a line."""
    for name, text in found.items():
        _flow(console, Text(f"{' ' * indent}{name:<{width}} ", "dim"), text)


def table(console: Console, columns: dict[str, str], rows: Iterable[Row], *, indent: int = 2) -> None:
    """Draw rows below headings, without padding at the end of a line; one fact a line where the terminal is too narrow.

    `columns` maps headings to `left`, `right`, or `text`, which is wrapped where it does not fit. The lines of a text
    after its first are indented. Without rows there is no table.
    """
    cells = [[Text(shown(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
    if not cells:
        return
    needed = [
        MIN_TEXT if kind == "text" else max(len(name), *(len(row[number]) for row in cells))
        for number, (name, kind) in enumerate(columns.items())
    ]
    headed = any(name.strip() for name in columns)
    if indent + sum(needed) + 2 * len(needed) > console.width:
        width = max(map(len, columns)) + 1
        for row in cells:
            found = {name: cell for name, cell in zip(columns, row, strict=True) if cell}
            if headed:
                for number, (name, cell) in enumerate(found.items()):
                    _flow(console, Text(f"{' ' * indent}{' ' if number else '-'} {name:<{width}} "), cell)
            else:
                first, *others = found.values()
                prefix = Text(" " * indent) + first + "  "
                _flow(console, prefix, "  ".join(cell.plain for cell in others))
        return
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=headed, header_style="bold")
    for name, kind in columns.items():
        justify: Literal["left", "right"] = "right" if kind == "right" else "left"
        grid.add_column(name, justify=justify, no_wrap=kind != "text", overflow="fold")
    for row in cells:
        # The lines of a cell after the first are indented, also where they are wrapped.
        lines = (cell.split("\n") for cell in row)
        grid.add_row(*(Group(first, *(Padding(line, (0, 0, 0, 2)) for line in rest)) for first, *rest in lines))
    options = console.options.update_width(max(1, console.width - indent))
    for segments in console.render_lines(grid, options, pad=False):
        line = Text(" " * indent).append_text(Text.assemble(*((part.text, part.style or "") for part in segments)))
        line.rstrip()
        console.print(line, soft_wrap=True)


def _flow(console: Console, prefix: Text, text: str | Text) -> None:
    """Draw a text behind a prefix, on a terminal wrapped at words so that it stays beside the prefix."""
    lines = shown(str(text)).split("\n")
    if console.width < UNLIMITED:
        room = max(20, console.width - len(prefix) - 1)
        # Within a command only where it is longer than a line.
        joined = (COMMAND.sub(lambda c: c[0].replace(" ", "\0") if len(c[0]) <= room else c[0], line) for line in lines)
        wrapped = (textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False) or [""] for line in joined)
        lines = [part.replace("\0", " ") for parts in wrapped for part in parts]
    for number, line in enumerate(lines):
        whole = Text.assemble(prefix if number == 0 else " " * len(prefix), line)
        whole.rstrip()
        console.print(whole, soft_wrap=True)


def unwrapped(console: Console, text: str, style: str = "") -> None:
    """Draw lines that are broken nowhere, such as those of a diff."""
    console.print(Text(shown(text), style), soft_wrap=True)


def print_as_is(document: str, console: Console) -> None:
    """Print a document without wrapping or colouring it."""
    console.file.write(document)
    console.file.flush()


def drawn(draw: Callable[[Console], None]) -> str:
    """Return what is drawn on a console as plain text."""
    console = _Console(GitHub(active=False), file=io.StringIO())
    with console.capture() as capture:
        draw(console)
    return capture.get()


# db.rebuild, db.drop, db.create, db.wait


def rebuild_plan_header(found: RebuildPlan, console: Console, *, planned: bool = False) -> None:
    """Draw in four lines what a rebuild is about to work on, and below them what would be lost."""
    inspection = found.inspection
    server = inspection.server
    version = server.version_text.partition(" ")[0]
    numbers = [migration.name.partition("_")[0] for migration in found.migrations]
    about = {
        "engine": f"PostgreSQL {version}, TimescaleDB {server.timescaledb or 'missing'}; role {server.role}",
        "migrations": f"{len(numbers):,}, from {numbers[0]} to {numbers[-1]}" if numbers else "none that can be read",
    }
    heading(console, "Rebuild", f"{inspection.target} ({inspection.target.environment})")
    facts(console, about)
    _impact(inspection, console, kept=found.keep, would=planned or found.check)


def rebuild_plan(found: RebuildPlan, console: Console) -> None:
    """Draw what a rebuild would do, and every condition of the preflight."""
    rebuild_plan_header(found, console, planned=True)
    _conditions(found.conditions, console)
    if found.consent.kind != "none":
        facts(console, {"consent": found.consent.words(found.inspection.target.database)})
    if found.refusals:
        say(console, "FAIL", "a rebuild would be refused; nothing was changed")
        return
    swap = "swap it in" if found.inspection.exists else "put it in place"
    steps = ["build a new database beside", "migrate it", "verify it", swap]
    if found.inspection.exists:
        steps.append("keep the old one" if found.keep else "drop the old one")
    say(console, "ok", f"a rebuild would {', '.join(steps)}; nothing was changed")
    name = shlex.quote(found.inspection.target.database)
    agreed = f" --confirm {name}" if found.consent.kind == "by name" else ""
    say(console, "next", f"`invoke db.rebuild --check` tries all but the swap, `invoke db.rebuild{agreed}` does it")


def _conditions(found: tuple[Condition, ...], console: Console) -> None:
    for condition in found:
        more = "" if condition.passed else f": {condition.reason}. {condition.remedy}"
        say(console, "ok" if condition.passed else "FAIL", condition.name + more)


def replacement_header(found: Replacement, console: Console) -> None:
    """Draw which database a task is about to take away, and what would be lost."""
    target = found.inspection.target
    heading(console, found.task, f"{target} ({target.environment})")
    _impact(found.inspection, console, kept=found.keep)


def _impact(found: Inspection, console: Console, *, kept: bool, would: bool = False) -> None:
    """Draw what would be lost; `kept` is whether it is kept, `would` whether nothing of that happens now."""
    lost = found.impact
    if not (lost.rows or lost.foreign):
        name = found.target.database
        why = f"{name} has no rows" if found.exists else f"there is no database {name}"
        facts(console, {"impact": f"{'no rows' if found.exists else 'nothing'} would be lost: {why}"})
    else:
        what = "replaces, and keeps:" if kept else "deletes, for good:"
        what = f"A rebuild {what}" if would else f"This {what}"
        unwrapped(console, what, "bold red")
        about = {}
        if lost.label:
            about["label"] = lost.label.environment
        size = found.database.size if found.database else None
        about["size"] = "unknown" if size is None else decimal(size)
        if lost.foreign:
            about["objects"] = lost.objects + (f"; seems to be built with {lost.maker}" if lost.maker else "")
        about["rows"] = "none"
        if lost.rows and not lost.seen:
            about["rows"] = f"unknown: {lost.evidence}"
        elif lost.rows:
            # The server may have no estimate.
            several = lost.estimated_rows > 1
            about["rows"] = f"about {lost.estimated_rows:,}" if several else f"some, seen in {lost.evidence}"
        facts(console, about)
        # The tables that hold rows; those that seem empty are counted in one line.
        filled = [item for item in lost.tables if item.estimated_rows]
        named = filled[:SHOWN_TABLES] or lost.tables[:SHOWN_TABLES]
        rows = [(item.name, f"{item.estimated_rows:,}", decimal(item.size), item.newest or "") for item in named]
        table(console, {"table": "text", "rows, about": "right", "size": "right", "newest": "left"}, rows)
        if more := len(lost.tables) - len(named):
            what = "more table" if len(filled) > len(named) else "empty table"
            _flow(console, Text("  "), f"and {count(more, what)}")
    _sessions("connected now", found.sessions, console)


def _sessions(what: str, sessions: tuple[Session, ...], console: Console) -> None:
    if sessions:
        facts(console, {what: count(len(sessions), "session")})
    for session in sessions[:SHOWN_SESSIONS]:
        _flow(console, Text("    "), str(session))
    if len(sessions) > SHOWN_SESSIONS:
        _flow(console, Text("    "), f"and {len(sessions) - SHOWN_SESSIONS:,} more")


def rebuild_results(results: tuple[RebuildResult, ...], console: Console) -> None:
    """Draw the summary of each rebuild."""
    for result in results:
        _sessions("ended", result.ended, console)
        found = {
            "rows": f"{result.rows:,}" + ("" if result.rows else ": no ingestion has run"),
            "fingerprint": result.fingerprint,
        }
        if result.checked:
            found["consent"] = result.consent.words(result.database)
        facts(console, found)
        did = f"{count(result.migrations, 'migration')} applied, {count(result.checks, 'check')} passed"
        if result.checked:
            said = f"a rebuild of {result.database} works: {did} in {result.seconds:.2f} s; nothing was changed"
        else:
            said = f"{result.database} is rebuilt in {result.seconds:.2f} s: {did}{_outage(result.unavailable)}"
        say(console, "ok", said)
        _kept(result.kept, console)
    if len(results) > 1:
        say(console, "ok", f"{len(results):,} rebuilds, one fingerprint")
    if results[-1].checked:
        say(console, "next", "`invoke db.rebuild` does it")
    elif not results[-1].rows:
        say(console, "next", "run ingestion; `invoke db.verify` checks the schema at any time")


def _outage(seconds: float | None) -> str:
    """Return for how long the name was not available, if there was a database."""
    return "" if seconds is None else f"; it was not available for {seconds * 1000:.0f} ms"


def _kept(name: str, console: Console) -> None:
    if name:
        say(console, "info", f"the old database is kept as {name}: `invoke db.undo` puts it back")


def undo_result(result: UndoResult, console: Console) -> None:
    """Draw what an undo did."""
    _sessions("ended", result.ended, console)
    replaced = "the database that was kept" if is_scratch_name(result.replaced) else f"what {result.replaced} was"
    say(console, "ok", f"{result.database} is {replaced}{_outage(result.unavailable)}")
    _kept(result.kept, console)


def drop_result(result: DropResult, console: Console) -> None:
    """Draw what a drop did."""
    _sessions("ended", result.ended, console)
    done = f"{result.database} is dropped in {result.seconds:.2f} s"
    if is_scratch_name(result.database):
        say(console, "ok", f"{done}: no database is kept any more")
        return
    if not result.existed:
        say(console, "ok", f"{result.database} did not exist: nothing was dropped")
    elif result.successor:
        say(console, "ok", f"{done}; the empty database {result.successor} keeps its properties")
    else:
        say(console, "ok", f"{done}, and its properties with it")
    say(console, "next", "`invoke db.create` creates it again, empty")


def create_result(result: CreateResult, console: Console) -> None:
    """Draw what a create did."""
    kept = "the properties that it had before" if result.kept else "the server's default properties"
    if result.created:
        say(console, "ok", f"{result.database} is created with {kept}")
    elif result.opened:
        say(console, "ok", f"{result.database} was left closed by an interrupted run: it is open now, with {kept}")
    else:
        say(console, "ok", f"{result.database} exists: nothing was created")
    say(console, "next", "`invoke db.migrate` applies what is pending")


def ready(found: Ready, console: Console) -> None:
    """Draw that a server is ready."""
    engine = f"PostgreSQL {found.postgresql}, TimescaleDB {found.timescaledb}"
    say(console, "ok", f"{found.server} is ready after {found.seconds:.1f} s: {engine}")


# db.upgrade


def upgrade_plan(found: UpgradePlan, console: Console) -> None:
    """Draw what an update of TimescaleDB would do, and every condition for it."""
    upgrade_plan_header(found, console)
    _conditions(found.conditions, console)
    if any(not condition.passed for condition in found.conditions):
        say(console, "FAIL", "an update would be refused; nothing was changed")
    elif found.current:
        say(console, "ok", "the database has the version that is installed: there is nothing to update")
    else:
        say(console, "ok", "an update would verify, update, verify; nothing was changed")
        say(console, "next", "`invoke db.upgrade` does it" + (" with --yes" if found.sessions else ""))


def upgrade_plan_header(found: UpgradePlan, console: Console) -> None:
    """Draw which versions there are, and the sessions that an update would end."""
    heading(console, "Upgrade", f"{found.database} on {found.server} ({found.environment})")
    facts(console, {"TimescaleDB": found.before, "installed": found.after or "none"})
    if not found.current:
        _sessions("to be ended", found.sessions, console)


def upgrade_result(result: UpgradeResult, console: Console) -> None:
    """Draw what an update did."""
    _sessions("ended", result.ended, console)
    if result.before == result.after:
        say(console, "ok", "the database has the version that is installed: nothing was done")
        return
    updated = f"{result.database} is updated from {result.before} to {result.after} in {result.seconds:.2f} s"
    say(console, "ok", f"{updated}, {count(result.checks, 'check')} passed afterwards")
    say(console, "next", "`invoke db.drift` compares the schema with a fresh build of the new version")


# db.migrate, db.status


def migration_plan(found: MigrationPlan, console: Console) -> None:
    """Draw what db.migrate would run."""
    _pending(found, console)
    more = f"; {found.later:,} more stay pending, beyond --to" if found.later else ""
    say(console, "ok", f"{found.applied:,} applied, {len(found.pending):,} to apply{more}")
    if found.pending:
        say(console, "next", "`invoke db.migrate --check` tries it and rolls back; `invoke db.migrate` applies it")


def trial(found: Trial, console: Console) -> None:
    """Draw what db.migrate would run, how long it took, and what it did before it was rolled back."""
    _pending(found.plan, console, {migration.name: migration.seconds for migration in found.result.applied})
    _done(found.result, console)


def _pending(found: MigrationPlan, console: Console, seconds: Mapping[str, float] | None = None) -> None:
    """Draw the files of a plan, with the seconds of each if they were tried, and what its transactions mean."""
    rows: list[Row] = []
    for migration in found.pending:
        limits = migration.lock_timeout
        if migration.statement_timeout != "0":
            limits += f", statement {migration.statement_timeout}"
        rows.append(
            [
                "alone" if migration.transaction is None else str(migration.transaction),
                f"{migration.name}\n{migration.locks or 'locks not declared'}",
                f"{migration.statements:,}",
                f"{migration.size:,}" if seconds is None else f"{seconds.get(migration.name, 0):.3f}",
                limits,
            ]
        )
    if not rows:
        return
    columns = {"tx": "right", "migration and its locks": "text", "statements": "right"}
    last = "bytes" if seconds is None else "seconds"
    table(console, {**columns, last: "right", "lock timeout": "left"}, rows)
    alone = len([migration for migration in found.pending if migration.transaction is None])
    beside = f", and {count(alone, 'file')} outside of any" if alone else ""
    transactions = f"in {count(found.transactions, 'transaction')}{beside}: a failure keeps what came before"
    whole = not alone and found.transactions == 1
    say(console, "info", "all in one transaction: all or nothing" if whole else transactions)
    for warning in found.warnings:
        say(console, "warning", warning)


def new_file(found: NewFile, console: Console) -> None:
    """Draw the path of the next migration."""
    print_as_is(f"{found.path}\n", console)


def renumbered(found: Renumbered, console: Console) -> None:
    """Draw which migrations were renamed."""
    lines = [f"{old.name} -> {new.name}\n" for old, new in found.renamed] or [
        f"{found.name} is the last file already.\n"
    ]
    print_as_is("".join(lines), console)


def rehearsal(found: Rehearsal, console: Console) -> None:
    """Draw what pending migrations lock, rewrite and scan, statement by statement."""
    from dbops.migrations.locks import described

    rows = []
    free = 0
    for migration in found.migrations:
        for statement in migration.statements:
            if not (statement.locks or statement.rewritten or statement.scanned):
                free += 1
                continue
            effects = [described(statement.locks)]
            effects += [f"rewrites {table}" for table in statement.rewritten]
            effects += [f"scans {table}" for table in statement.scanned]
            number = migration.name.partition("_")[0]
            rows.append([f"{number}:{statement.line}", "\n".join(effects), f"{statement.seconds * 1000:.1f}"])
    table(console, {"file:line": "left", "locks on existing tables": "text", "ms": "right"}, rows)
    if free:
        say(console, "info", f"{count(free, 'statement')} {does(free, 'lock')} no existing table")
    several = len([migration for migration in found.migrations if migration.problem]) > 1
    for migration in found.migrations:
        # What is wrong with one alone, the error says that follows.
        if migration.problem and several:
            say(console, "warning", f"{migration.name}: {migration.problem}")
        for line in migration.unmeasured:
            where = f"{migration.name}:{line}"
            say(console, "warning", f"{where} may lock more where there are rows: the scratch database has none")
    if not found.migrations:
        say(console, "ok", "no migration is pending: nothing was measured")
        return
    say(console, "ok", f"{count(len(found.migrations), 'pending migration')} measured in a scratch database")


def ledger_status(found: LedgerStatus, console: Console) -> None:
    """Draw how ledger and files compare."""
    labelled = f"; labelled {found.label.environment}" if found.label else ""
    # As the session has it: the header names what was asked for, which may be several hosts.
    facts(console, {"engine": f"{found.server}: {found.engine}{labelled}"})
    wide = console.width >= WIDE
    columns = {"state": "left", "migration": "text", "applied, UTC": "left", "by": "left"}
    rows: list[list[str | Text]] = []
    for item in found.items:
        entry = item.entry
        checksum = entry.checksum if entry else item.migration.checksum if item.migration else ""
        ms = "" if entry is None or entry.duration_ms is None else f"{entry.duration_ms:,}"
        details = [ms, checksum[:12]] if wide else []
        state: list[str | Text] = [Text(item.state, STYLES.get(item.state, "bold red")), item.name]
        when = [entry.when, entry.applied_by] if entry else ["", ""]
        rows.append([*state, *when, *details])
    table(console, {**columns, **({"ms": "right", "checksum": "left"} if wide else {})}, rows)
    for item in found.items:
        if item.explanation:
            say(console, "warning", f"{item.name} is {item.state}: {item.explanation}")
    for problem in found.problems:
        say(console, "warning", problem)
    for kept in found.kept:
        size = f", {decimal(kept.size)}" if kept.size is not None else ""
        say(console, "info", f"{kept.name} is kept since {kept.since}{size}: `invoke db.undo` puts it back")
    if found.newer_timescaledb:
        text = f"TimescaleDB {found.newer_timescaledb} is installed on the server: `invoke db.upgrade` updates to it"
        say(console, "info", text)
    rebuilds = found.label.rebuilds if found.label else ()
    if len(rebuilds) > SHOWN_REBUILDS:
        say(console, "info", f"the last {SHOWN_REBUILDS} of {len(rebuilds)} rebuilds:")
    for rebuild in rebuilds[-SHOWN_REBUILDS:]:
        say(console, "info", f"rebuilt {rebuild}")
    if found.label and not found.label.native:
        text = f"labelled {found.label.environment} by another server: this database is a copy"
        say(console, "warning", text)
    elif found.has_ledger and found.label is None:
        say(console, "warning", "label: missing; the next `invoke db.migrate` writes it")
    if found.unknown_relation:
        text = f"{found.unknown_relation} exists without a ledger: `invoke db.migrate` refuses such a database"
        say(console, "warning", text)
    elif not found.has_ledger:
        say(console, "info", "no ledger: no migration has been applied")
    say(console, "ok" if found.consistent else "FAIL", f"{found.database}: {found.summary}")
    if found.unknown_relation:
        say(console, "next", "correct the database's name in DATABASE_URL, if it is not the one that is meant")
    elif not found.consistent:
        say(console, "next", "restore the files as they were applied, or run `invoke db.rebuild`")
    elif found.pending:
        say(console, "next", "`invoke db.migrate` applies what is pending")


def migration_result(result: MigrationResult, console: Console) -> None:
    """Draw what a run did."""
    if result.applied:
        if len(result.applied) > SHOWN_MIGRATIONS:
            say(console, "info", f"the last {SHOWN_MIGRATIONS} of {len(result.applied):,}:")
        rows = [
            (migration.name, f"{migration.statements:,}", f"{migration.seconds:.3f}")
            for migration in result.applied[-SHOWN_MIGRATIONS:]
        ]
        table(console, {"migration": "text", "statements": "right", "seconds": "right"}, rows)
    _done(result, console)


def _done(result: MigrationResult, console: Console) -> None:
    """Draw in a line what a run did, and what comes next."""
    what = "applied and rolled back" if result.rolled_back else "applied"
    did = f"{len(result.applied):,} {what} in {result.seconds:.2f} s" if result.applied else "nothing to apply"
    say(console, "ok", f"{result.database}: {did}, {result.before:,} applied before, {result.pending:,} pending")
    if result.rolled_back and result.applied:
        say(console, "next", "`invoke db.migrate` applies it")
    elif result.applied and not result.pending:
        say(console, "next", "`invoke db.verify` checks the schema")


# db.verify, db.drift


def verification(result: Verification, console: Console) -> None:
    """Draw the failed checks by file, then each file with its counts."""
    tables = {check.name.removeprefix("table ") for check in result.checks if re.fullmatch(r"table \S+", check.name)}
    if len(tables) > 1 and tables == result.missing_tables:
        _nothing_applied(console, f"the {len(tables)} tables", _counted(result))
        return
    parts = result.failed_parts
    telling = [check for check in result.failed if check not in parts]
    fates = {
        "missing": "is in {}, but does not exist",
        "extra": "exists, but is not in {}",
        "changed": "differs from {}:",
    }
    headings = ("check", "expected", "actual")
    for file, group in groupby(telling, key=lambda check: check.file):
        say(console, "FAIL", file)
        others = []
        for check in group:
            if not check.change:
                others.append(check)
                continue
            label = Text.assemble("    ", (f"{check.change:<8}", STYLES[check.change]), " ")
            _flow(console, label, f"{check.name} {fates[check.change].format(file)}")
            if check.change == "changed":
                _differing((*_signed("-", check.expected), *_signed("+", check.actual)), console, indent=6)
        cells = [(shown(check.name), value(check.expected), value(check.actual)) for check in others]
        width = 4 + sum(2 + max(map(len, column)) for column in zip(headings, *cells, strict=True))
        if width <= min(console.width, WIDEST) and not any("\n" in cell for row in cells for cell in row):
            table(console, dict.fromkeys(headings, "left"), cells, indent=4)
        else:
            for name, expected, actual in cells:
                _flow(console, Text("    "), name)
                facts(console, {"expected": expected, "actual": actual}, indent=6, width=9)
        for location in (check.location for check in others if check.location):
            unwrapped(console, f"  --> {location}\n{location.excerpt()}\n")
    for name, number in Counter(parts.values()).items():
        fail = f"{count(number, 'check')} of its parts {does(number, 'fail')} too"
        say(console, "FAIL", f"{name} is missing, and so {fail}")
    if telling:
        console.print()
    rows = []
    for name, group in groupby(result.checks, key=lambda check: check.file):
        checks = tuple(group)
        passed = sum(check.passed for check in checks)
        state = "ok" if passed == len(checks) else "FAIL"
        counted = f"{passed:,} passed" + (f", {len(checks) - passed:,} failed" if passed < len(checks) else "")
        seconds = sum(check.seconds for check in checks)
        rows.append((Text(f"{state:<6}", STYLES[state]), name, counted, Text(f"{seconds * 1000:.1f} ms", "dim")))
    table(console, {"": "left", " ": "text", "  ": "left", "   ": "right"}, rows)
    say(console, "ok" if result.passed else "FAIL", _counted(result))
    for line in result.advice:
        say(console, "next", line)


def _nothing_applied(console: Console, expected: str, counted: str = "") -> None:
    """Draw that nothing of what is expected is there: the database is new, or another one is meant."""
    say(console, "FAIL", f"none of {expected} exists: no migration has been applied")
    if counted:
        say(console, "FAIL", counted)
    say(console, "next", "correct the name in DATABASE_URL, or apply the migrations with `invoke db.migrate`")


def _counted(result: Verification) -> str:
    server = sum(check.seconds for check in result.checks)
    return f"{result.summary} in {result.seconds:.2f} s, {server * 1000:.0f} ms of it in the server"


def lint_result(result: LintResult, console: Console) -> None:
    """Draw the findings of lint, one a line, what was not looked at, and a line that sums up."""
    for finding in result.findings:
        say(console, "FAIL", str(finding))
    for note in result.notes:
        say(console, "warning" if result.complete else "FAIL", note)
    released = f"; released: {result.released}" if result.released else ""
    found = f"{count(len(result.findings), 'finding')} in {count(result.files, 'file')}"
    say(console, "ok" if result.passed else "FAIL", f"{found}{released}")


def checks(found: Checks, console: Console) -> None:
    """Draw the names of check files and of the comparison, and what each is about."""
    rows = [(file.name, file.about or (file.flaw[0] if file.flaw else "")) for file in found.files]
    if found.expected:
        rows.append(("schema", f"Each object of the database is as in {found.expected.source}"))
    table(console, {"file": "left", "about": "text"}, rows)


def drift(result: Drift, console: Console) -> None:
    """Draw the differences, object by object, then one line that sums them up."""
    if result.empty and result.objects:
        _nothing_applied(console, count(len(result.objects), "object"))
        return
    if result.found:
        unwrapped(console, f"--- {result.source}\n+++ {result.target}", "bold")
    _objects(result.objects, console)
    for name in result.disagreements:
        say(console, "warning", f"the ledger disagrees with the files: {name}")
    if result.pending:
        why = "compared without what is pending" if result.built else "not applied yet"
        say(console, "pending", f"{why}: {', '.join(result.pending)}")
    if not result.found:
        same = f"the schema is as in {result.source} (fingerprint {result.actual_fingerprint[:12]})"
        say(console, "ok", f"no drift: {same}")
        return
    kinds = ", ".join(f"{n} {change}" for change, n in sorted(Counter(i.change for i in result.objects).items()))
    number = len(result.objects)
    say(console, "FAIL", f"drift: {count(number, 'object')} {does(number, 'differ')} ({kinds})")
    for line in result.advice:
        say(console, "next", line)


def _objects(found: tuple[ObjectDrift, ...], console: Console) -> None:
    """Draw objects that differ, each with its lines."""
    for item in found:
        heading(console, item.change, item.name)
        _differing(item.lines, console)


def _differing(lines: tuple[str, ...], console: Console, indent: int = 0) -> None:
    """Draw lines of a diff in its colours."""
    for line in lines:
        colour = {"+": "green", "-": "red"}.get(line[:1], "")
        unwrapped(console, " " * indent + line, colour)


def _signed(sign: str, text: str | None) -> tuple[str, ...]:
    """Return the lines of a text with a sign before each, none for what is not there."""
    from dbops.verification import NOTHING

    return tuple(f"{sign} {line}" for line in (text or "").split("\n") if text != NOTHING)


def new_schema(found: NewSchema, console: Console) -> None:
    """Draw how the file with the expected schema changes."""
    _objects(found.objects, console)
    say(console, "ok", f"{found.path} is written: {count(len(found.objects), 'object')} changed")
    console.out(found.fingerprint)
    if found.objects:
        say(console, "next", "look at the difference, commit it; `invoke db.diagram` writes docs/schema.md")


def fingerprint(found: Fingerprint, console: Console) -> None:
    """Draw the fingerprint, or the text that is hashed."""
    print_as_is(found.text or f"{found.fingerprint}\n", console)


def diagram(found: Diagram, console: Console) -> None:
    """Draw where the page was written to."""
    print_as_is(f"Written: {found.output}\n", console)


# server


def installation(found: Installation, console: Console) -> None:
    """Draw what is installed, and where."""
    engine = f"PostgreSQL {found.version} with TimescaleDB {found.timescaledb}"
    print_as_is(f"{engine} is installed in {found.binaries}.\n", console)


def server_status(found: ServerStatus, console: Console) -> None:
    """Draw what there is of the embedded server, one fact a line, and the address as lines that a shell can use."""
    programs, tests = found.installation, found.tests
    lines = {
        "state": found.state,
        "problem": found.problem,
        "postgresql": programs.version if programs else "",
        "timescaledb": programs.timescaledb if programs else "",
        "programs": str(programs.binaries) if programs else "",
        "directory": str(found.directory),
        "pid": str(found.running.pid) if found.running else "",
        "size": decimal(found.size) if found.size else "",
        "tests": f"a server for tests, {tests.state}, {decimal(tests.size)} in {tests.directory}" if tests else "",
    }
    facts(console, {name: text for name, text in lines.items() if text})
    if found.address:
        console.out(f"DATABASE_URL='{found.address.url()}'")
        console.out(f"psql '{found.address.url()}'")


def stopped(found: Stopped, console: Console) -> None:
    """Draw whether a server was stopped."""
    said = "is stopped; its data stays" if found.stopped else "was not running"
    print_as_is(f"The embedded server {said}.\n", console)


def loss_header(found: Loss, console: Console) -> None:
    """Draw what would be lost with the whole server."""
    unwrapped(console, f"The embedded server in {found.directory} ({decimal(found.size)}) holds:")
    for line in found.lines or ("no databases",):
        _flow(console, Text("  "), line)


def destroyed(found: Destroyed, console: Console) -> None:
    """Draw what was removed."""
    said = (
        f"Removed the embedded server in {found.directory}."
        if found.removed
        else "There is no embedded server to remove."
    )
    print_as_is(f"{said}\n", console)


def log_lines(found: LogLines, console: Console) -> None:
    """Draw lines of a log as they are."""
    print_as_is("".join(f"{line}\n" for line in found.lines), console)
