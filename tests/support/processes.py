"""Processes that tests start."""

from __future__ import annotations

import signal

RESTORED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)


def give_children_default_signals() -> None:
    """Let the processes that this one starts have default signals, even where it was started with some ignored.

    `nohup` ignores SIGHUP, and `command &` in a script SIGINT. A signal that is ignored stays so after exec, one that
    has a handler is reset to its default: a handler that does nothing takes the place of ignoring.
    """
    for number in RESTORED:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)
