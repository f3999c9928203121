"""What Invoke does not handle: signals before a verb runs, words that mean nothing, and the command `kapman`.

`kapman` is `invoke` for this project, from any directory: the same verbs, and a version.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys

# Little is imported before signals are answered.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import NoReturn

    from invoke.collection import Collection
    from invoke.exceptions import ParseError
    from invoke.parser.context import ParserContext
    from invoke.program import Program

    Handler = Callable[[int, FrameType | None], object] | int | None

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FIRST_SIGNAL_CODE = 128
WRONG_USAGE = 2
# What says that an output cannot be written: the disk or the quota is full, the device fails, the reader is gone.
UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EPIPE)
# Invoke's own options that work here; all others would be ignored.
_BEFORE_TASKS = ("collection", "complete", "help", "list", "print-completion-script", "search-root", "version")
_AFTER_TASKS = ("help", "list")
MEANT = {
    "collection": "`invoke db.psql --command SQL` runs a statement.",
    "command-timeout": "Tasks that wait have --timeout.",
    "config": "--format json prints results as JSON.",
    "debug": "--log-level DEBUG shows more.",
    "dry": "`invoke db.rebuild --plan` and `invoke db.migrate --plan` show what would happen, and change nothing.",
    "echo": "--log-level DEBUG shows each statement; --env chooses the environment.",
    "hide": "--log-level WARNING shows only what needs attention.",
    "list-depth": "`invoke --list` shows all tasks.",
    "list-format": "`invoke --list` shows all tasks.",
    "no-dedupe": "Each task runs as often as it is named.",
    "prompt-for-sudo-password": "sudo asks for its password where it needs one.",
    "pty": "--plan shows what would happen.",
    "version": "`kapman --version` shows the version.",
    "warn-only": "The first task that fails ends the command.",
    "write-pyc": "Python keeps its compiled files without it.",
}
# What other tools call an option, and what it is called here.
_CALLED = {"--dry-run": "--plan", "--force": "--yes", "--database-url": "--url", "--environment": "--env"}

_kapman: Program | None = None


def main() -> None:
    """Run the command `kapman`."""
    _prepare_standard_streams()
    end_on_signals()
    from importlib import import_module

    from invoke.program import Program

    from dbops import __version__

    # The verbs import this module.
    namespace = import_module("dbops.tasks").namespace

    class Kapman(Program):
        """Runs the verbs of this package, whatever the working directory is."""

        def parse_collection(self) -> None:
            super().parse_collection()
            prepare(namespace)

        def task_list_opener(self, extra: str = "") -> str:
            return "Available tasks"

    global _kapman
    _kapman = Kapman(namespace=namespace, name="kapman", binary="kapman", binary_names=["kapman"], version=__version__)
    _kapman.run()


def program() -> Program | None:
    """Return the program that runs tasks, with its command line; None where they are called by other code."""
    found = _kapman or getattr(sys.modules.get("invoke.main"), "program", None)
    return found if found is not None and hasattr(found, "core") else None


def prepare(namespace: Collection) -> None:
    """Answer signals from now on, and end the program if its words are not verbs and options of a namespace.

    Does nothing where the verbs are imported and not run from a command line.
    """
    running = program()
    if running is None:
        return
    if running is not _kapman:
        _prepare_standard_streams()
        end_on_signals()
    # A list or a help whose reader is gone ends without a word, as with other programs; a verb says more.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    from invoke.exceptions import ParseError
    from invoke.parser import Parser

    words, core = running.core.unparsed, running.args
    if core.complete.value:
        _complete(running.core.remainder, namespace)
        return
    if running.core.remainder:
        _end_with(f"nothing reads the words behind --: {running.core.remainder}", "Leave them out.")
    asked = core.help.value if isinstance(core.help.value, str) else words[0] if words else ""
    if (asked in namespace.collections and set(words[1:]) <= {"-h", "--help"}) or not (
        words or asked or core.list.value
    ):
        # A collection's name alone, or nothing at all: show what there is.
        core.help._value = None
        core.list.set_value(True, cast=False)
        words.clear()
        return
    if words and words[0] in namespace.task_names and {"-h", "--help"} & set(words):
        # Invoke would take it for the value of an argument without a flag.
        core.help.value = words[0]
        words.clear()
        return
    _refuse_idle(running.core[0], _BEFORE_TASKS + (("list-depth", "list-format") if core.list.value else ()))
    # Invoke copies all options of all verbs before it parses.
    named = [context for context in namespace.to_contexts() if context.name in words]
    try:
        given = Parser(initial=running.initial_context, contexts=named).parse_argv(words)
        if core.help.value and core.help.value not in namespace.task_names:
            raise ParseError(f"No idea what '{core.help.value}' is!")
    except ParseError as error:
        _end_with(*_explained(error, namespace))
    _refuse_idle(given[0], _AFTER_TASKS)
    if not (core.help.value or core.list.value):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _refuse_idle(context: ParserContext, effective: tuple[str, ...]) -> None:
    """End the program if one of Invoke's own options is given that has no effect."""
    for name, argument in context.args.items():
        if argument.got_value and name not in effective:
            flags = ", ".join(f"{'-' * (1 + (len(flag) > 1))}{flag}" for flag in argument.names)
            _end_with(
                f"Invoke's option {flags} has no effect here", MEANT[name].replace("`invoke", f"`{name_of_program()}")
            )


def _end_with(what: str, hint: str) -> NoReturn:
    _say(f"error: {' '.join(what.split())}\n  --> the command line\nhint: {hint}")
    sys.exit(WRONG_USAGE)


def _say(text: str) -> None:
    """Print a text on stderr, where that can be written."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        from dbops.report import hush

        hush(sys.stderr)


def name_of_program() -> str:
    """Return what to type before a task, as in `uv run invoke`."""
    import shutil

    running = program()
    typed = running.argv[0] if running and running.argv else "invoke"
    name = os.path.basename(typed)  # noqa: PTH119
    if name == "__main__.py":
        name = "invoke" if shutil.which("invoke") else "python -m invoke"
    elif not shutil.which(name):
        name = typed
    if "UV_RUN_RECURSION_DEPTH" not in os.environ:
        return name
    return f"uv run {name}" if shutil.which("uv") else f"python3 -m uv run {name}"


def _complete(line: str, namespace: Collection) -> None:
    """Print the values of an option that has a few, if one is wanted next, and end; Invoke completes the rest."""
    import shlex

    try:
        words = shlex.split(line)
    except ValueError:
        return
    named = next((word for word in reversed(words) if word in namespace.task_names), None)
    if named is None:
        return
    choices_of = namespace[named].choices_of
    before, last = words[-2:]
    option, equals, _ = last.partition("=")
    begun = not last.startswith("-") and choices_of(before)
    choices = begun or choices_of(option)
    # A whole value is not begun again: what comes next is a task or an option.
    if choices and last not in choices:
        prefix = f"{option}=" if equals and not begun else ""
        sys.stdout.write("".join(f"{prefix}{choice}\n" for choice in choices))
        sys.exit(0)


def _prepare_standard_streams() -> None:
    """Open what the caller has closed of standard input, output and error, as if each were /dev/null.

    What Invoke prints, a list of tasks or a help, is an error if it cannot be written, as the result of a verb is.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is the one that is closed.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))

    def flush() -> None:
        # Python itself does so later, when nothing can be said of what fails.
        try:
            sys.stdout.flush()
        except OSError as error:
            _end_unwritten(OSError, error, None)

    sys.excepthook = _end_unwritten
    atexit.register(flush)


def end_on_signals() -> None:
    """End with a sentence on a signal."""

    def end(number: int, _frame: FrameType | None) -> None:
        # Nothing runs that would have to clean up: this is before, between and after verbs.
        os.write(2, b"interrupted: no task was running.\n")
        os._exit(FIRST_SIGNAL_CODE + number)

    answer_signals(end)


def answer_signals(handler: Handler) -> dict[int, Handler]:
    """Answer signals with a handler, and return the handlers of before; those that the caller ignores stay ignored."""
    found: dict[int, Handler] = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: previous for number, previous in found.items() if previous != signal.SIG_IGN}
    for number in before:
        signal.signal(number, handler)
    return before


def _end_unwritten(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """End the program on an error that nothing handles, in three lines if the output could not be written."""
    from dbops.errors import UsageError
    from dbops.report import writing

    if not isinstance(error, OSError) or error.errno not in UNWRITTEN:
        sys.__excepthook__(kind, error, trace)
        return
    try:
        with writing():
            raise error
    except UsageError as problem:
        _say(problem.render())
        os._exit(problem.exit_code)
    os._exit(0)


def _explained(error: ParseError, namespace: Collection) -> tuple[str, str]:
    """Return what is wrong with a command line, and what to type instead."""
    import difflib
    import re

    binary = name_of_program()
    text = str(error).rstrip("!")
    task = (error.context.name if error.context else None) or "TASK"
    options = f"`{binary} --help {task}` shows the options."
    if missing := re.fullmatch(r"Flag <Argument: ([\w-]+).*> needed value.*", text):
        return f"option --{missing[1].replace('_', '-')} needs a value", options
    if missing := re.fullmatch(r"'(\S+)' did not receive required positional arguments: '(\w+)'", text):
        return f"{missing[1]} needs a {missing[2].upper()}", f"`{binary} --help {missing[1]}` has an example."
    unknown = re.fullmatch("No idea what '(.*)' is", text, re.DOTALL)
    if not unknown:
        return text[0].lower() + text[1:], options
    word = unknown[1].partition("=")[0]
    flags = list(error.context.flags) if error.context else []
    if word.startswith("-"):
        known = [_CALLED[word]] if _CALLED.get(word) in flags else []
        similar = known or difflib.get_close_matches(word, flags, 1)
        meant = f"Did you mean {similar[0]}? " if similar else ""
        return f"unknown option {word}", meant + options
    if word.isdecimal() and "--to" in flags:
        return f'{task} takes no word "{word}"', f"Did you mean `{binary} {task} --to {word[:8]:0>4}`? {options}"
    tasks = list(namespace.task_names)
    similar = difflib.get_close_matches(word, [*tasks, *namespace.collections], 1) or [
        name for name in tasks if difflib.get_close_matches(word, [name.partition(".")[2]])
    ]
    meant = f"Did you mean `{binary} {similar[0]}`? " if similar else ""
    return f'unknown task "{word}"', f"{meant}`{binary} --list` shows all tasks."
