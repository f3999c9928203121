"""Results that go to a file, or to stdout exactly as they are."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console

from dbops.errors import UsageError

COLUMNS = 110


@contextmanager
def opened(path: str) -> Iterator[Callable[[str], None]]:
    """Empty the file at a path, so that no older result can be taken for this one, and yield what writes it.

    Without a path, the document goes nowhere. Raises UsageError if it cannot be written.
    """
    with _emptied(path) as file:

        def write(document: str) -> None:
            with _refused(path), file:
                file.write(document)

        yield write


def _emptied(path: str) -> TextIO:
    with _refused(path):
        return Path(path or os.devnull).open("w", encoding="utf-8", errors="replace")


@contextmanager
def _refused(path: str) -> Iterator[None]:
    """Turn what the file system says into a UsageError."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write the result: {error.strerror}",
            where=path,
            hint="Give --output a file in a directory that exists, that you may write to, and that has room.",
        ) from None


def drawn(draw: Callable[[Console], None]) -> str:
    """Return what is drawn on a console as plain text."""
    console = Console(file=io.StringIO(), width=COLUMNS, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        draw(console)
    return capture.get()


def print_as_is(document: str, console: Console) -> None:
    """Print a document without wrapping or colouring it."""
    console.file.write(document)
    console.file.flush()
