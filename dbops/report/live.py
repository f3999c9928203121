"""The live line that a terminal shows while a step runs."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from dbops.events import StepStarted

# In the first seconds an estimate would be a guess.
ESTIMATE_SECONDS = 5.0


class _Remaining(ProgressColumn):
    """The time that remains, where it can be estimated: items differ too much for an estimate in the first seconds."""

    def render(self, task: Task) -> Text:
        """Return the estimate, or nothing."""
        known = task.time_remaining and (task.elapsed or 0) > ESTIMATE_SECONDS
        return Text(f"about {task.time_remaining:.0f} s to go" if known else "", "dim", no_wrap=True)


class LiveLine(Progress):
    """A step as one line: spinner, name, time so far; if the total is known, a bar, counts and what remains."""

    def __init__(self, console: Console, step: StepStarted) -> None:
        counted = step.total is not None
        bar = (BarColumn(bar_width=20), MofNCompleteColumn()) if counted else ()
        super().__init__(
            TextColumn(" "),
            SpinnerColumn(),
            TextColumn("    {task.description:<9}"),
            *bar,
            TimeElapsedColumn(),
            *((_Remaining(Column(no_wrap=True)),) if counted else ()),
            TextColumn("{task.fields[item]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            transient=True,
        )
        self._line = self.add_task(step.step, total=step.total, item=step.detail)

    def show(self, done: int, item: str) -> None:
        """Show how many items are complete, and which one is at work."""
        self.update(self._line, completed=done, item=item)
