"""What Invoke does not handle: signals before a verb runs, unknown words, and the command `kapman`.

`kapman` is `invoke` for this project, from any directory: the same verbs, a version, and a message outside a checkout.
"""

from __future__ import annotations

import os
import signal
import sys

# Little is imported before signals are answered.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    from invoke.collection import Collection
    from invoke.exceptions import ParseError
    from invoke.program import Program

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FIRST_SIGNAL_CODE = 128
WRONG_USAGE = 2
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120
TASKS = f"{ROOT}/tasks.py"


def main() -> None:
    """Run the command `kapman`."""
    _end_on_signals()
    if not os.path.isfile(TASKS):  # noqa: PTH113
        sys.stderr.write(
            "error: the verbs are not installed with the package\n"
            f"  --> {TASKS}\n"
            "hint: Run `uv run kapman --list` in a checkout of kapman-dbops.\n"
        )
        sys.exit(WRONG_USAGE)
    from invoke.loader import FilesystemLoader
    from invoke.program import Program

    from dbops import __version__

    class Checkout(FilesystemLoader):
        """Finds this project's verbs, whatever the working directory is."""

        @property
        def start(self) -> str:
            return ROOT

    global _program
    _program = Program(
        name="kapman", binary="kapman", binary_names=["kapman"], version=__version__, loader_class=Checkout
    )
    _program.run()


_program: Program | None = None


def prepare(namespace: Collection) -> None:
    """Answer signals from now on, and end the program if its words are not verbs and options of a namespace.

    Does nothing where the verbs are imported and not run from a command line.
    """
    program = _program or getattr(sys.modules.get("invoke.main"), "program", None)
    if program is None or not hasattr(program, "core"):
        return
    _end_on_signals()
    words = program.core.unparsed
    if program.args.complete.value:
        return
    if words and words[0] in namespace.task_names and {"-h", "--help"} & set(words):
        # Invoke would take it for the value of an argument without a flag.
        program.args.help.value = words[0]
        words.clear()
        return

    from invoke.exceptions import ParseError
    from invoke.parser import Parser

    parser = Parser(initial=program.initial_context, contexts=namespace.to_contexts())
    try:
        parser.parse_argv(words)
    except ParseError as error:
        what, hint = _explained(error, namespace, "kapman" if _program else "invoke")
        sys.stderr.write(f"error: {what}\n  --> the command line\nhint: {hint}\n")
        sys.exit(WRONG_USAGE)


def _end_on_signals() -> None:
    """End with a sentence on a signal; those that the caller ignores stay ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    """End the program while nothing runs that would have to clean up: before, between and after verbs."""
    os.write(2, b"interrupted: no task was running.\n")
    os._exit(FIRST_SIGNAL_CODE + number)


def _explained(error: ParseError, namespace: Collection, binary: str) -> tuple[str, str]:
    """Return what is wrong with a command line, and what to type instead."""
    import difflib
    import re

    text = str(error).rstrip("!")
    task = (error.context.name if error.context else None) or "TASK"
    options = f"`{binary} --help {task}` shows the options."
    if missing := re.fullmatch(r"Flag <Argument: ([\w-]+).*> needed value.*", text):
        return f"option --{missing[1]} needs a value", options
    unknown = re.fullmatch("No idea what '(.*)' is", text)
    if not unknown:
        return text[0].lower() + text[1:], options
    word = unknown[1].partition("=")[0]
    if word.startswith("-"):
        flags = list(error.context.flags) if error.context else []
        similar = difflib.get_close_matches(word, flags, 1)
        meant = f"Did you mean {similar[0]}? " if similar else ""
        return f"unknown option {word}", meant + options
    tasks = list(namespace.task_names)
    similar = difflib.get_close_matches(word, tasks, 1) or [
        name for name in tasks if difflib.get_close_matches(word, [name.partition(".")[2]])
    ]
    meant = f"Did you mean `{binary} {similar[0]}`? " if similar else ""
    return f'unknown task "{word}"', f"{meant}`{binary} --list` shows all tasks."
