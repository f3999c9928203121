"""Operators that die at a chosen event. Run by tests in a process of its own, which forks one operator per line of
stdin: no time is lost with imports, and no thread of the test runner's is copied.

A line is JSON: the target, the options, the directory that is the operator's home, and the number of the event at
which the operator kills itself, 0 for never. The answer is a line of JSON: exit status, events that were reported.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

from dbops.database import rebuild
from dbops.events import Event
from dbops.settings import Target
from tests.support.operators import options


def main() -> None:
    for line in sys.stdin:
        plan = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            os.environ["HOME"] = plan["home"]
            try:
                operate(plan, writing)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            events = pipe.read().splitlines()
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "events": events}), flush=True)  # noqa: T201


def operate(plan: dict[str, object], writing: int) -> None:
    """Rebuild as one operator, who writes each event to a pipe."""
    parameters, chosen, last = plan["parameters"], plan["options"], plan["last"]
    assert isinstance(parameters, dict)
    assert isinstance(chosen, dict)
    migrations, checks = Path(chosen["migrations"]), Path(chosen["checks"])
    seen = 0

    def watch(event: Event) -> None:
        nonlocal seen
        seen += 1
        os.write(writing, (str(event).replace("\n", " ") + "\n").encode())
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)

    target = Target(parameters, str(plan["database"]))
    agreed = options(
        confirm=target.database,
        migrations=migrations,
        checks=checks,
        schema=Path(chosen["schema"]) if chosen["schema"] else None,
    )
    rebuild.rebuild(target, agreed, report=watch)


if __name__ == "__main__":
    main()
