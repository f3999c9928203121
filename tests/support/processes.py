"""Processes that tests start, and tasks that they run without one."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from unittest import mock

from invoke.main import program

from dbops.settings import ROOT

SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)


def give_children_default_signals() -> None:
    """Let the processes that this one starts have default signals, even where it was started with some ignored.

    `nohup` ignores SIGHUP, and `command &` in a script SIGINT. A signal that is ignored stays so after exec, one that
    has a handler is reset to its default: a handler that does nothing replaces ignoring.
    """
    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


def surroundings(**environ: str) -> dict[str, str]:
    """Return the environment of a task: just what is given, and what any process needs."""
    return {**{key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}, **environ}


def start_invoke(*words: str, **environ: str) -> subprocess.Popen[str]:
    """Start a task in a process of its own, with no input and just the environment that is given."""
    return subprocess.Popen(
        [sys.executable, "-m", "invoke", *words],
        cwd=ROOT,
        env=surroundings(**environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_invoke(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a task to its end and return its output and exit code.

    It runs in this process, which saves the half second that a new one takes to start.
    """
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        alone(surroundings(**environ)),
        open(os.devnull) as nothing,  # noqa: PTH123
        mock.patch.object(sys, "stdin", nothing),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            program.run(["invoke", *words])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def alone(environ: Mapping[str, str]) -> Iterator[None]:
    """Run something in this process as if in one of its own: what is global to a process is put back afterwards."""
    # Rich takes the width of a terminal from any of the process's own streams.
    environ = {"COLUMNS": "80", **environ}
    tasks = sys.modules.get("tasks")
    handlers = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGPIPE)}
    with (
        contextlib.chdir(ROOT),
        mock.patch.dict(os.environ, environ, clear=True),
        mock.patch.object(sys, "dont_write_bytecode", sys.dont_write_bytecode),
        mock.patch.object(sys, "excepthook", sys.excepthook),
    ):
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            # Invoke loads the file anew each time.
            sys.modules.pop("tasks", None)
            if tasks:
                sys.modules["tasks"] = tasks
