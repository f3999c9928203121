"""What long work reports while it runs, so that the terminal view, the JSON log and tests watch the same thing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Began:
    """A task began to work on a database: `task` is its name in words, as in Verify."""

    task: str
    database: str
    server: str
    environment: str


@dataclass(frozen=True, slots=True)
class Header:
    """What a task is about to do, reported before anything is changed; views draw it by the type of `about`."""

    level: ClassVar[str] = "WARNING"
    about: object


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step began: `step` is its short name (drop, create, migrate, ...); `total` counts its items, if known."""

    step: str
    detail: str = ""
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` items of the step are complete; `item` names the one now at work."""

    step: str
    done: int
    item: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step ended well, after its commit; `seconds` is its wall time."""

    step: str
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Message:
    """A line worth showing: `level` is DEBUG, INFO, WARNING; `where` is a file or server, or empty."""

    level: str
    text: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class StatementFinished:
    """A statement of SQL ran; `seconds` is its time, where it is known."""

    level: ClassVar[str] = "DEBUG"
    sql: str
    seconds: float | None
    where: str = ""


Event = Began | Header | StepStarted | Progress | StepFinished | Message | StatementFinished
Report = Callable[[Event], None]


@contextmanager
def step(report: Report, name: str, detail: str = "", total: int | None = None) -> Iterator[list[str]]:
    """Report that a step began and how it ended: as what the body puts into the list it gets, else as the detail."""
    outcome: list[str] = []
    began = time.monotonic()
    report(StepStarted(name, detail, total))
    yield outcome
    report(StepFinished(name, "; ".join(outcome) or detail, time.monotonic() - began))


def ignore(event: Event) -> None:
    """Drop an event: the default for callers who watch nothing."""
