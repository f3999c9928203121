"""The expected schema as a file in git: canonical text, below two lines that say what it was built from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dbops.errors import UsageError
from dbops.settings import shown_path

HEAD = "# Written by `invoke db.fingerprint --write`: the schema that the migrations build."


@dataclass(frozen=True, slots=True)
class ExpectedSchema:
    """The canonical text that a file holds; `source` is the file, as people read it.

    `built_from` says which migrations built it, in the words that `write` was given; empty if the file does not say.
    """

    source: str
    text: str
    built_from: str = ""


def read_expected(path: Path) -> ExpectedSchema:
    """Return the schema that a file holds; UsageError if it cannot be read or holds no schema."""
    hint = "Restore it from git, or write it with `invoke db.fingerprint --write`."
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"cannot read the expected schema: {reason}", where=shown_path(path), hint=hint) from None
    head = [line for line in content.split("\n", 2)[:2] if line.startswith("# ")]
    text = content.split("\n", len(head))[-1].lstrip("\n")
    if not text.startswith("extension "):
        raise UsageError("the file does not hold the canonical text of a schema", where=shown_path(path), hint=hint)
    return ExpectedSchema(shown_path(path), text, head[1].removeprefix("# ") if len(head) == 2 else "")


def document(text: str, built_from: str) -> str:
    """Return the content of the file for a schema; `built_from` is one line."""
    return f"{HEAD}\n# {built_from}\n\n{text}"
