"""Run squawk, and keep what it says of migrations after the baseline, of tables that are in use.

What squawk may not look for, and why, is in .squawk.toml.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dbops.errors import UsageError
from dbops.lint import schema
from dbops.lint.findings import SYNTAX_ERROR, Finding
from dbops.migrations.files import label
from dbops.settings import ROOT

# These are about a definition, and hold for new tables too.
DEFINITIONS = {
    "ban-char-field",
    "identifier-too-long",
    "prefer-identity",
    "prefer-timestamp-tz",
    "syntax-error",
}
LIVE = "docs/live-changes.md shows how."
# What to do where squawk does not say it, or says what does not fit here.
DROP = "Drop it when no released client uses it any more, and say so in a waiver."
KEEP = "Keep it, and make a second one of the new name or kind until no released client uses the first."
INSTEAD = {
    "ban-alter-domain-with-add-constraint": "Add the constraint to the tables instead, NOT VALID, and validate it.",
    "ban-alter-identity": "Change it when every released client fits, and say so in a waiver.",
    "ban-create-domain-with-constraint": "Write the constraint at the tables.",
    "ban-drop-generated-expression": "Drop it when every released client gives the value, and say so in a waiver.",
    "ban-set-schema": KEEP,
    "renaming-object": KEEP,
    "adding-required-field": f"Give it a constant DEFAULT, or make it nullable and fill it first. {LIVE}",
    "ban-char-field": "Write text or varchar(n).",
    "ban-drop-database": "Use `invoke db.drop`.",
    "identifier-too-long": "Choose a name of at most 63 bytes.",
    "renaming-column": "Add a column of the new name, fill it, change the clients, drop the old one.",
    "renaming-table": "Keep the name, or leave a view of the old name until no client uses it.",
    "require-concurrent-index-deletion": "Write DROP INDEX CONCURRENTLY, alone in a file with"
    " -- migrate: no-transaction.",
}
# What some rules find, and no client notices: names of constraints and indexes, a default where there was none.
_UNNOTICED = {
    "renaming-object": re.compile(r"ALTER\s+(?:TABLE\b.*\bRENAME\s+CONSTRAINT|INDEX)\b", re.IGNORECASE | re.DOTALL),
    "ban-alter-identity": re.compile(r"ALTER\s+TABLE\b.*\bADD\s+GENERATED\s+BY\s+DEFAULT\b", re.IGNORECASE | re.DOTALL),
}


def program() -> str | None:
    """Return squawk's path: beside this Python, or on PATH."""
    return shutil.which("squawk", path=sysconfig.get_path("scripts")) or shutil.which("squawk")


def check(texts: Mapping[Path, str]) -> Iterator[tuple[Path, Finding]]:
    """Yield what squawk finds in some files, given with their texts: in others than migrations, errors of syntax only.

    Raises UsageError if squawk does not answer.
    """
    by_mode: dict[bool, list[Path]] = {True: [], False: []}
    for path, text in texts.items():
        by_mode[schema.is_transactional(text)].append(path)
    for transactional, paths in by_mode.items():
        for found in _run(paths, transactional=transactional):
            path, rule = Path(found["file"]), str(found["rule_name"])
            # squawk counts lines and columns from 0, and columns in bytes of UTF-8.
            lines = texts[path].splitlines(keepends=True)
            line = lines[found["line"]] if found["line"] < len(lines) else ""
            column = len(line.encode()[: found["column"]].decode(errors="ignore"))
            offset = sum(map(len, lines[: found["line"]])) + column
            if _counts(rule, offset, texts[path], path):
                why = str(found["message"]).strip().replace("\n", " ")
                instead = INSTEAD.get(rule) or (DROP if rule.startswith("ban-drop-") else str(found["help"] or ""))
                place = label(path), found["line"] + 1, column + 1
                yield path, Finding(*place, rule, _sentence(why), _sentence(instead))


def _run(paths: Iterable[Path], *, transactional: bool) -> list[dict[str, Any]]:
    """Return squawk's report of some files; exit code 1 means that it found something."""
    files = [str(path) for path in paths]
    if not files:
        return []
    mode = "--assume-in-transaction" if transactional else "--no-assume-in-transaction"
    command = [program() or "squawk", "--config", str(ROOT / ".squawk.toml"), mode, "--reporter", "json", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
    try:
        report = json.loads(done.stdout)
    except ValueError:
        answer = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise UsageError(f"squawk failed: {answer}", where="squawk", hint="Check .squawk.toml.") from None
    return list(report)


def _counts(rule: str, offset: int, text: str, path: Path) -> bool:
    """Return whether a finding is about a table that an earlier file created, or about any definition at all."""
    if rule == SYNTAX_ERROR:
        return True
    if schema.number(path) <= schema.BASELINE:
        return False
    _, sql = next((s for s in reversed(schema.statements(text)) if s[0] <= offset), (0, ""))
    if rule in _UNNOTICED and _UNNOTICED[rule].match(sql):
        return False
    table = schema.table_of(sql)
    return rule in DEFINITIONS or not table or table in schema.before(path).tables


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
