"""Reading the embedded server's log."""

from __future__ import annotations

import time
from collections.abc import Iterator

from dbops.server.system import tail
from dbops.server.verbs import Place

POLL_SECONDS = 0.2


def log_lines(place: Place, lines: int) -> tuple[str, ...]:
    """Return the last lines of the log; none if the server never ran."""
    return tail(place.layout.log, lines)


def follow_log(place: Place) -> Iterator[str]:
    """Yield each line that is added to the log from now on, for ever."""
    place.layout.log.touch(exist_ok=True)
    with place.layout.log.open(errors="replace") as file:
        file.seek(0, 2)
        rest = ""
        while True:
            rest += file.read()
            *lines, rest = rest.split("\n")
            yield from lines
            if not lines:
                time.sleep(POLL_SECONDS)
