"""Released migrations are immutable: compare the directory with what git knows as released."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from dbops.lint.findings import Finding
from dbops.lint.schema import number
from dbops.migrations import files, released
from dbops.migrations.released import Release
from dbops.settings import shown_path

NEXT = "Restore it, and write the change as a new migration: `invoke db.new NAME`."


def findings(directory: Path, release: Release) -> Iterator[Finding]:
    """Yield what contradicts that released files are unchanged and new ones are numbered above them."""
    if not release.names:
        return
    here = {path.name: path for path in directory.glob("*.sql")}
    new = {name: path for name, path in here.items() if name not in release.names}
    for name in released.changed_names(directory, release):
        shown = shown_path(directory / name)
        before = _normalised(released.content(directory, release, name))
        if name in here:
            after = _normalised(here[name].read_bytes())
            if after != before:
                why = f"This file is released ({release.description}) and was edited; comments count."
                old, new_lines = before.splitlines(), after.splitlines()
                same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new_lines, strict=False)))
                yield Finding(shown, max(1, min(same + 1, len(new_lines))), 1, "released-edited", why, NEXT)
        else:
            copy = next((n for n, path in new.items() if _normalised(path.read_bytes()) == before), "")
            what = f"was renamed to {copy}" if copy else "was removed"
            yield Finding(
                shown, 1, 1, "released-removed", f"{name} is released ({release.description}) and {what}.", NEXT
            )
    highest = max((number(Path(name)) for name in release.names), default=0)
    for name, path in sorted(new.items()):
        if 0 < number(path) <= highest:
            why = f"A new migration must be numbered above {highest:04}, the last released one ({release.description})."
            renumber = f"Run `invoke db.new --renumber {name}`."
            yield Finding(shown_path(path), 1, 1, "released-number", why, renumber)


def _normalised(content: bytes) -> str:
    """Return a text as its checksum sees it; what is not UTF-8 is compared all the same."""
    try:
        return files.normalise(content)
    except UnicodeDecodeError:
        return content.decode("latin-1")
