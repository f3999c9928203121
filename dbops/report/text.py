"""The view for people: live progress on a terminal, plain lines and a heartbeat elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dbops import events
from dbops.errors import DbopsError
from dbops.report.base import View, hush, writing

HEARTBEAT_SECONDS = 5.0
LOG_COLUMNS = 110
LABELS = {"DEBUG": "dim", "INFO": "cyan", "WARNING": "yellow"}


@dataclass(slots=True)
class _Step:
    """The step now at work."""

    name: str
    total: int | None
    started: float
    done: int = 0
    item: str = ""

    def heartbeat(self) -> str:
        """Return how far the step is, for a log."""
        seconds = time.monotonic() - self.started
        count = f"{self.done} of {self.total}, " if self.total else ""
        left = ""
        if self.total and self.done:
            left = f", about {seconds / self.done * (self.total - self.done):.0f} s to go"
        return f"{count}{self.item + ', ' if self.item else ''}{seconds:.0f} s so far{left}"


class TextView(View):
    """Draws on stderr while work runs, and prints results on stdout."""

    def __init__(self, log_level: str) -> None:
        super().__init__(log_level)
        self.err = _console(stderr=True)
        self.out = _console(stderr=False)
        self._step: _Step | None = None
        self._live: Progress | None = None
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None

    def show(self, event: events.Event) -> None:
        """Show an event as a line, or in the live display."""
        with self._lock:
            match event:
                case events.StepStarted():
                    self._begin(event)
                case events.Progress():
                    self._advance(event)
                case events.StepFinished():
                    self.close()
                    self._line("ok", "green", event.step, event.detail, f"{event.seconds:.2f} s")
                case events.Message():
                    where = f"{event.where}: " if event.where else ""
                    self._line(event.level.lower(), LABELS[event.level], "", where + event.text)
                case events.Statement():
                    spent = "" if event.seconds is None else f"{event.seconds * 1000:.1f} ms"
                    self._line("sql", "dim", spent, " ".join(event.sql.split()))

    def result(self, text: Callable[[Console], None], data: object) -> None:
        """Draw the result on stdout."""
        self.close()
        with writing():
            text(self.out)

    def header(self, text: Callable[[Console], None], data: object) -> None:
        """Draw on stderr what is about to happen."""
        self.close()
        text(self.err)

    def error(self, error: DbopsError) -> int:
        """Print an error on stderr, its first word in colour, and return its exit code."""
        self.close()
        rendered = Text(error.render())
        rendered.highlight_regex(r"^error:", "bold red")
        rendered.highlight_regex(r"(?m)^hint:", "bold cyan")
        self.err.print(rendered, soft_wrap=True)
        return error.exit_code

    def interrupted(self, state: str) -> None:
        """Print one line on stderr."""
        self.close()
        self.err.print(Text(f"interrupted: {state}"), soft_wrap=True)

    def ask(self, question: str) -> str | None:
        """Return what is typed at the terminal; None if there is no answer, or the operator would not see the question.

        Whoever redirects stderr does not see what would be lost, so both streams must be a terminal.
        """
        self.close()
        if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
            return None
        self.err.print(Text(question), end=" ", soft_wrap=True)
        try:
            return input()
        except EOFError:
            self.err.print()
            return None
        except KeyboardInterrupt:
            self.err.print()
            raise

    def close(self) -> None:
        """End the live display or the heartbeat."""
        with self._lock:
            heart, self._heart, self._step = self._heart, None, None
            if self._live:
                self._live.stop()
                self._live = None
            self._stop.set()
        if heart and heart is not threading.current_thread():
            heart.join(timeout=1)

    def _begin(self, event: events.StepStarted) -> None:
        self.close()
        self._step = _Step(event.step, event.total, time.monotonic(), item=event.detail)
        if self.err.is_terminal:
            self._live = _progress(self.err, counted=event.total is not None)
            self._live.add_task(event.step, total=event.total, item=event.detail)
            self._live.start()
        else:
            self._stop = threading.Event()
            self._heart = threading.Thread(target=self._beat, args=(self._stop,), daemon=True)
            self._heart.start()

    def _advance(self, event: events.Progress) -> None:
        if self._step:
            self._step.done, self._step.item = event.done, event.item
        if self._live:
            self._live.update(self._live.task_ids[0], completed=event.done, item=event.item)

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            with self._lock:
                if self._step and not stop.is_set():
                    self._line("...", "dim", self._step.name, self._step.heartbeat())

    def _line(self, state: str, style: str, name: str, detail: str, tail: str = "") -> None:
        line = Text.assemble(("  " + state.ljust(7), style), f" {name:<9} " if name else " ", detail)
        if tail:
            line.append(f"  {tail}", "dim")
        self.err.print(line, soft_wrap=True)


class _Console(Console):
    """A console that goes on without a reader: rich would end the whole program where its own line breaks off."""

    def on_broken_pipe(self) -> None:
        """Write the rest to nowhere."""
        hush(cast("TextIO", self.file))


def _console(*, stderr: bool) -> Console:
    """Return a console that wraps nothing narrow in a log and never guesses at colours in text."""
    console = _Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = LOG_COLUMNS
    return console


def _progress(console: Console, *, counted: bool) -> Progress:
    """Return the live line: spinner, step, time so far; if the total is known, a bar, counts and what remains."""
    bar = (BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn(compact=True)) if counted else ()
    return Progress(
        TextColumn(" "),
        SpinnerColumn(),
        TextColumn("    {task.description:<9}"),
        *bar,
        TimeElapsedColumn(),
        TextColumn("{task.fields[item]}", markup=False),
        console=console,
        transient=True,
    )
