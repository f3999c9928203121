"""Two schemas as canonical text, compared object by object."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from dbops.catalog.text import fingerprint

STEP = "drift"
IN_EVERY_DATABASE = ("extension ", "schema public")


@dataclass(frozen=True, slots=True)
class ObjectDrift:
    """An object that is not as built: `change` is missing, extra or changed; `lines` begin with - as built, + as is."""

    name: str
    change: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """How a live schema differs from an expected one, which `source` describes.

    `built` names the migrations of a fresh build: those that the ledger says are applied, or all if there is no
    ledger. `pending` and `disagreements` are what else the ledger says, `advice` is what to do, by cause. Fingerprints
    are sha256 in hexadecimal. `empty` is whether the live schema has nothing but what every new database has.
    """

    target: str
    source: str
    objects: tuple[ObjectDrift, ...]
    expected_fingerprint: str
    actual_fingerprint: str
    built: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    disagreements: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    empty: bool = field(default=False, repr=False)

    @property
    def found(self) -> bool:
        """Return whether anything differs."""
        return bool(self.objects) or self.expected_fingerprint != self.actual_fingerprint


def differences(expected: str, actual: str) -> tuple[ObjectDrift, ...]:
    """Return the objects whose blocks differ between two texts of `schema_text`, by name."""
    if expected == actual:
        return ()
    built, live = _blocks(expected), _blocks(actual)
    found = []
    for name in sorted(built.keys() | live.keys()):
        before, after = built.get(name, []), live.get(name, [])
        if before != after:
            lines = [
                line for line in list(difflib.unified_diff(before, after, lineterm="", n=0))[2:] if line[:2] != "@@"
            ]
            change = "changed" if before and after else "missing" if before else "extra"
            found.append(ObjectDrift(name, change, tuple(lines)))
    return tuple(found)


def objects(text: str) -> tuple[str, ...]:
    """Return the names of the objects in a text of `schema_text`, in its order."""
    return tuple(_blocks(text))


def compare_texts(target: str, source: str, expected: str, actual: str) -> Drift:
    """Return how two canonical texts differ."""
    return Drift(
        target,
        source,
        differences(expected, actual),
        fingerprint(expected),
        fingerprint(actual),
        empty=all(name.startswith(IN_EVERY_DATABASE) for name in _blocks(actual)),
    )


def _blocks(text: str) -> dict[str, list[str]]:
    blocks = (block.strip("\n").split("\n") for block in text.split("\n\n") if block.strip())
    return {lines[0]: lines for lines in blocks}
