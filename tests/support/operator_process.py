"""An operator in a process of its own, that can be made to die at a certain event. Run by tests only."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit

from dbops.database import rebuild
from dbops.events import Event
from dbops.settings import Target
from dbops.verb import running
from tests.support.operators import options


def main() -> None:
    plan = json.loads(sys.stdin.readline())
    target = Target(plan["parameters"], plan["database"], plan["environment"])
    chosen: dict[str, Any] = {name: Path(value) for name, value in plan["options"].items()}

    numbers = itertools.count(1)

    try:
        with running("text", "INFO") as run:

            def watch(event: Event) -> None:
                run.view.event(event)
                line = f"#{next(numbers)} {event}"
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
                if plan["at"] and (plan["at"] == line.split()[0] or plan["at"] in str(event)):
                    os.kill(os.getpid(), signal.Signals[plan["action"]])

            rebuild.rebuild(target, options(yes=True, **chosen), report=watch)
    except Exit as end:
        sys.exit(end.code)


if __name__ == "__main__":
    main()
