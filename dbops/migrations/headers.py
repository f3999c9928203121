"""What a migration says about itself in its leading comment lines, as `-- key: value`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dbops.migrations.statements import leading

_LINE = re.compile(r"--[ \t]*(?P<key>[A-Za-z][A-Za-z_-]*)[ \t]*:[ \t]*(?P<value>.*?)[ \t]*$")
_MORE = re.compile(r"--[ \t]{2,}(?P<value>\S.*?)[ \t]*$")
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>us|ms|s|min|h|d)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SHORTEST = 0.001
_DIRECTIVES = ("migrate", "lock-timeout", "statement-timeout")
DIRECTIVE = re.compile(rf"^[ \t]*--[ \t]*(?:{'|'.join(_DIRECTIVES)})[ \t]*:", re.MULTILINE | re.IGNORECASE)

# What is meant as a directive, and is none.
_NEAR = re.compile(
    r"^(?:[ \t]*--|[ \t]*/\*)?[ \t*]*"
    r"(?:(?:migrate\b\W*)?no\W?transaction[ \t]*(?:\*/)?$|(?:lock|statement)\W?timeout\W{0,3}\d.*$)",
    re.MULTILINE | re.IGNORECASE,
)
_FORMS = "a directive is a line such as `-- migrate: no-transaction` or `-- lock-timeout: 2s`"


@dataclass(frozen=True, slots=True)
class Header:
    """What the runner and the plan take from a file's header; empty where the file says nothing."""

    locks: str = ""
    transactional: bool = True
    lock_timeout: str = ""
    statement_timeout: str = ""


def seconds(duration: str) -> float:
    """Return a duration such as `2s`, `10min` or `0` (no limit) in seconds; ValueError if it is none."""
    if duration.strip() == "0":
        return 0.0
    match = _DURATION.fullmatch(duration.strip())
    if not match:
        raise ValueError(
            f'"{duration}" is no duration: write a number and ms, s, min or h, as in 2s, or 0 for no limit'
        )
    length = float(match["number"]) * _SECONDS[match["unit"]]
    if 0 < length < _SHORTEST:
        raise ValueError(f'"{duration}" is less than 1ms, which PostgreSQL would round to no limit at all')
    return length


def parse(text: str) -> Header:
    """Return the header of a migration's text; ValueError for a directive that cannot be followed."""
    values = _values(text)
    mode = values.get("migrate", "")
    if mode not in ("", "no-transaction"):
        raise ValueError(f'unknown directive "migrate: {mode}": only "migrate: no-transaction" exists')
    for key in ("lock-timeout", "statement-timeout"):
        if key in values:
            seconds(values[key])
    return Header(
        locks=values.get("locks", ""),
        transactional=not mode,
        lock_timeout=values.get("lock-timeout", ""),
        statement_timeout=values.get("statement-timeout", ""),
    )


def _values(text: str) -> dict[str, str]:
    """Return the header's values by key; a line indented by two blanks or more continues the one above."""
    values: dict[str, str] = {}
    last = ""
    for part in leading(text):
        if match := _LINE.match(part):
            last = match["key"].lower().replace("_", "-")
            if last in values and last in _DIRECTIVES:
                raise ValueError(f'the header says "{last}" twice')
            values[last] = match["value"]
        elif near := _NEAR.search(part):
            raise ValueError(f'"{near.group().strip()}" would have no effect: {_FORMS}')
        elif last and (more := _MORE.match(part)):
            values[last] = f"{values[last]} {more['value']}"
        elif part.count("\n") > 1 or not part.isspace():
            last = ""
    return values
