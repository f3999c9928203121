"""The values of options: each reader returns the value, or raises UsageError with the option and what it takes."""

from __future__ import annotations

import re

from dbops.errors import UsageError

_UNITS = {"us": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>us|ms|s|min|h|d|)", re.ASCII)
# PostgreSQL keeps timeouts as milliseconds, in an integer of 32 bits.
_SHORTEST, _LONGEST = 0.001, (2**31 - 1) / 1000
# What a port may be besides a number from 1 to 65535.
ANY_PORT, NO_PORT = 0, -1


def empty(option: str) -> UsageError:
    """Return the error of an option, or of a word in its place, that is given and empty."""
    return UsageError(
        f"{option} is empty",
        where=option,
        hint="Give it a value, or leave it out. A variable in the command may not be set.",
    )


def choice(what: str, value: str, allowed: tuple[str, ...], source: str) -> str:
    """Return the value if it is one of those allowed, else raise UsageError; `source` is an option or a variable."""
    if value in allowed:
        return value
    raise UsageError(f'unknown {what} "{shortened(value)}"', where=source, hint=f"Use one of: {', '.join(allowed)}.")


def parse_duration(text: str) -> float:
    """Return a duration such as `30`, `30s`, `1.5min` or `500ms` in seconds, a number alone being seconds.

    0 is no limit. Raises ValueError for anything else.
    """
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError(f'invalid duration "{shortened(text)}": write it as 30s, 500ms, 5min or 2h; 30 is 30 seconds')
    length = float(match["number"]) * _UNITS[match["unit"]]
    if 0 < length < _SHORTEST:
        raise ValueError(f'"{text}" is less than 1ms, which PostgreSQL would round to no limit at all')
    if length > _LONGEST:
        raise ValueError(f'"{shortened(text)}" is longer than PostgreSQL allows: at most 24d, or 0 for no limit')
    return length


def with_unit(text: str) -> str:
    """Return a duration with its unit, as PostgreSQL takes it and people read it; ValueError as `parse_duration`."""
    text = text.strip()
    return f"{text}s" if parse_duration(text) and text[-1].isdigit() else text


def seconds(option: str, value: str) -> float:
    """Return an option's duration in seconds; UsageError if it is not one."""
    try:
        return parse_duration(value)
    except ValueError as error:
        raise UsageError(str(error), where=option, hint=f"Write it as in `{option} 5s`.") from None


def duration(option: str, value: str) -> str:
    """Return an option's duration with its unit; UsageError if it is not one."""
    seconds(option, value)
    return with_unit(value)


def shortened(value: str) -> str:
    """Return a value for a message, cut where it is long."""
    return value if len(value) <= 60 else value[:57] + "..."


def positive_integer(option: str, value: str) -> int:
    """Return an option's positive integer, else raise UsageError."""
    if re.fullmatch(r"[1-9]\d{0,5}", value, re.ASCII):
        return int(value)
    raise UsageError(
        f'{option} must be a positive integer, not "{shortened(value)}"',
        where=option,
        hint=f"Write it as in {option} 3.",
    )


def version(option: str, value: str) -> int:
    """Return the version of a migration that an option names, as in 0007 or 7, else raise UsageError."""
    if re.fullmatch(r"\d{1,9}", value, re.ASCII):
        return int(value)
    raise UsageError(
        f'invalid version "{shortened(value)}"', where=option, hint=f"Give a number, as in `{option} 0007`."
    )


def names(option: str, value: str) -> tuple[str, ...]:
    """Return an option's names, which commas separate; UsageError if there are none."""
    if found := tuple(name.strip() for name in value.split(",") if name.strip()):
        return found
    raise empty(option)


def port_number(option: str, value: str) -> int:
    """Return an option's TCP port: ANY_PORT for `auto`, NO_PORT for `none`. Raises UsageError if it is invalid."""
    words = {"auto": ANY_PORT, "none": NO_PORT}
    if value in words:
        return words[value]
    if re.fullmatch(r"\d{1,5}", value, re.ASCII) and int(value) <= 65535:
        return int(value)
    raise UsageError(
        f'invalid port "{shortened(value)}"',
        where=option,
        hint=f"Use a number up to 65535, `{option} auto` for a free port, or `{option} none` for the socket alone.",
    )
