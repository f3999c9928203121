"""What the operator sees. Only this package knows rich, JSON and JUnit.

Results go to stdout, progress and errors to stderr.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

from dbops.errors import DbopsError, UsageError
from dbops.events import Event
from dbops.report.github import GitHub

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30}
SILENT = 100


class View(AbstractContextManager["View"]):
    """Shows events while a task runs, then its result or its error. Use it as a context manager around the work."""

    # Whether there is a terminal to ask on.
    can_ask = False

    def __init__(self, log_level: str, github: GitHub) -> None:
        self.threshold = LEVELS[log_level]
        self.github = github

    def __exit__(self, *_: object) -> None:
        self.close()

    def event(self, event: Event) -> None:
        """Show an event, if the log level lets it through."""
        if LEVELS[getattr(event, "level", "INFO")] >= self.threshold:
            with self._telling():
                self.show_event(event)

    @abstractmethod
    def show_event(self, event: Event) -> None:
        """Show an event."""

    def show(self, found: object, write: Callable[[str], None] | None = None) -> None:
        """Print a result on stdout as its type is drawn, and show on GitHub what it has for GitHub.

        `write` gets the result as a document.
        """
        name = drawing(found)
        if write:
            write(self.document(name, found))
        self.show_as(name, found)
        getattr(self.github, name, lambda _: None)(found)

    @abstractmethod
    def show_as(self, name: str, found: object) -> None:
        """Print a result with the drawing of this name."""

    @abstractmethod
    def document(self, name: str, found: object) -> str:
        """Return a result as the text of a file, with the drawing of this name."""

    def error(self, error: DbopsError) -> int:
        """Print an error on stderr and return its exit code."""
        self.close()
        with self._telling():
            self.show_error(error)
        self.github.error(error)
        return error.exit_code

    @abstractmethod
    def show_error(self, error: DbopsError) -> None:
        """Print an error on stderr."""

    def interrupted(self, state: str) -> None:
        """Say in one line that the run was interrupted, in which state things are, and what continues."""
        with self._telling():
            self.show_interrupted(state)

    @abstractmethod
    def show_interrupted(self, state: str) -> None:
        """Print on stderr that the run was interrupted."""

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Go on without output where stderr cannot be written: a full disk, a closed terminal."""
        try:
            yield
        except OSError:
            self.threshold = SILENT
            hush(sys.stderr)

    def ask(self, question: str) -> str | None:
        """Return what the operator types, or None if there is no terminal to ask on."""
        return None

    def close(self) -> None:
        """Stop whatever is drawn live."""


def drawing(found: object) -> str:
    """Return the name of what draws a result in `text`, in `json` and on GitHub: its type's, as in rebuild_plan.

    In `json` and on GitHub there is one only where it is more than the fields. Several results of a type end in s.
    """
    several = isinstance(found, tuple)
    kind = type(found[0] if several else found)  # type: ignore[index]
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() + "s" * several


def plain(value: object) -> Any:
    """Return a value as what JSON knows: dataclasses become objects, paths and times strings.

    Fields that repr leaves out are left out here, too. Seconds are rounded to milliseconds.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.repr}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return round(value, 3)
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.as_posix() if isinstance(value, Path) else str(value)


def hush(stream: TextIO) -> None:
    """Discard the rest of a stream whose reader has closed it, as in `invoke db.status | head -1`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def opened(path: str) -> Callable[[str], None]:
    """Empty the file at a path, so that no older result can be taken for this one, and return what writes it.

    Raises UsageError if it cannot be written.
    """
    with _refused(path):
        file = Path(path).open("w", encoding="utf-8", errors="replace")  # noqa: SIM115

    def write(document: str) -> None:
        with _refused(path), file:
            file.write(document)

    return write


@contextmanager
def _refused(path: str) -> Iterator[None]:
    """Turn what the file system says into a UsageError."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write the result: {error.strerror}",
            where=path,
            hint="It takes a file in a directory that exists, that you may write to, and that has room.",
        ) from None


@contextmanager
def writing() -> Iterator[None]:
    """Raise UsageError if a result cannot be written to stdout; without a reader, the rest is discarded."""
    try:
        yield
    except BrokenPipeError:
        hush(sys.stdout)
    except OSError as error:
        # Python tries once more at its end to write what is left.
        hush(sys.stdout)
        raise UsageError(
            f"cannot write the output: {error.strerror}",
            where="standard output",
            hint="Free some space, or write somewhere else, and run the task again.",
        ) from None


def view(output_format: str, log_level: str, github: GitHub | None = None) -> View:
    """Return the view for a format (json, junit, or anything else for people); `github` adds what it shows."""
    github = github or GitHub(active=False)
    if output_format == "json":
        from dbops.report.json import JsonView

        return JsonView(log_level, github)
    if output_format == "junit":
        from dbops.report.junit import JUnitView

        return JUnitView(log_level, github)
    from dbops.report.text import TextView

    return TextView(log_level, github)
