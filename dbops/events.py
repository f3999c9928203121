"""What long work reports while it runs, so that the terminal view, the JSON log and tests watch the same thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


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
class Statement:
    """A statement of SQL ran; `seconds` is its time, where it is known."""

    sql: str
    seconds: float | None
    where: str = ""


Event = StepStarted | Progress | StepFinished | Message | Statement
Report = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Drop an event: the default for callers who watch nothing."""
