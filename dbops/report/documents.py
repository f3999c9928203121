"""Results that go to a file, or to stdout exactly as they are."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from rich.console import Console

from dbops.errors import UsageError

COLUMNS = 110


def opened(path: str) -> TextIO:
    """Return the file at a path, emptied, so that no older result can be taken for this one; without a path, nowhere.

    Raises UsageError if it cannot be written.
    """
    try:
        return Path(path or os.devnull).open("w", encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(
            f"cannot write the result: {error.strerror}",
            where=path,
            hint="Give --output a file in a directory that exists and that you may write to.",
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
