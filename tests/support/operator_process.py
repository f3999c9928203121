"""Operators in processes of their own, that can be made to do something to themselves at a certain event.

Tests run this module once. It forks an operator for each line of stdin: no time is lost with imports, and no thread of
the test runner's is copied. A line is JSON: the target, the options, the event, the name of the signal, and the files
for the operator's output. The answers are two lines: the operator's process id, and, at its end, its exit code.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit

from dbops.database import rebuild
from dbops.events import Event
from dbops.settings import Target
from dbops.verb import running
from tests.support.operators import options


def main() -> None:
    for line in sys.stdin:
        plan = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(run(plan))
        print(pid, flush=True)  # noqa: T201
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def run(plan: dict[str, Any]) -> int:
    """Rebuild as one operator and return its exit code."""
    for number, path, mode in ((0, os.devnull, "r"), (1, plan["out"], "w"), (2, plan["err"], "w")):
        with Path(path).open(mode) as file:
            os.dup2(file.fileno(), number)
    try:
        operate(plan)
    except Exit as end:
        return int(end.code)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def operate(plan: dict[str, Any]) -> None:
    """Rebuild as a task does; write each event to stdout, with its number."""
    target = Target(plan["parameters"], plan["database"], plan["environment"])
    chosen: dict[str, Any] = {name: Path(value) if value else None for name, value in plan["options"].items()}
    numbers = itertools.count(1)

    with running("text", "INFO") as view:

        def watch(event: Event) -> None:
            view.view.event(event)
            line = f"#{next(numbers)} {event}"
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            if plan["at"] and (plan["at"] == line.split()[0] or plan["at"] in str(event)):
                os.kill(os.getpid(), signal.Signals[plan["action"]])

        keep = chosen.pop("keep", None) is not None
        rebuild.rebuild(target, options(yes=True, keep=keep, **chosen), report=watch)


if __name__ == "__main__":
    main()
