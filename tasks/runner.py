"""What every task shares: the common options, errors as three lines and an exit code, signals.

Nothing heavy is imported before a task runs, so that `invoke --list` and `--help` answer at once.
"""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit
from invoke.tasks import task

if TYPE_CHECKING:
    from dbops.report import View
    from dbops.settings import Settings, Target

COMMON = {
    "url": "Database to work on, as postgresql://user@host:port/name; default: DATABASE_URL, else the embedded server.",
    "env": "Environment: dev, test or prod; default: KAPMAN_ENV, else ENV, else dev.",
    "format": "How results are printed.",
    "log_level": "DEBUG shows each statement with its time, WARNING only what needs attention; default INFO.",
}
DEFAULTS = {"url": "", "env": "", "format": "text", "log_level": "INFO"}
FIRST_SIGNAL_CODE = 128


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a task: its settings, the view that shows events and results, and the format asked for."""

    settings: Settings
    view: View
    format: str = "text"

    @property
    def target(self) -> Target:
        """Return the database to work on."""
        return self.settings.target


@dataclass(frozen=True, slots=True)
class ServerRun:
    """One run of a task about the embedded server, which needs no database and starts nothing by itself."""

    environ: Mapping[str, str] = field(repr=False)
    view: View


def operation(*, formats: tuple[str, ...] = ("text", "json"), **help_texts: str) -> Callable[[Callable[..., Any]], Any]:
    """Make a task of a function that takes a Run and its own options and returns an exit code or None."""

    def decorate(core: Callable[..., int | None]) -> Any:
        def body(_context: Any, url: str, env: str, format: str, log_level: str, **own: Any) -> None:  # noqa: A002
            execute(core, own, _with_database(url, env, format), (format, formats), log_level)

        return _task(core, body, formats, help_texts, tuple(DEFAULTS))

    return decorate


def server_operation(**help_texts: str) -> Callable[[Callable[..., Any]], Any]:
    """Make a task of a function that takes a ServerRun and its own options and returns an exit code or None."""
    formats = ("text", "json")

    def decorate(core: Callable[..., int | None]) -> Any:
        def body(_context: Any, format: str, log_level: str, **own: Any) -> None:  # noqa: A002
            execute(core, own, ServerRun, (format, formats), log_level)

        return _task(core, body, formats, help_texts, ("format", "log_level"))

    return decorate


def _task(
    core: Callable[..., Any],
    body: Callable[..., None],
    formats: tuple[str, ...],
    help_texts: dict[str, str],
    options: tuple[str, ...],
) -> Any:
    """Return the task: the body under the core function's name and docstring, with all options and their help."""
    common = {**COMMON, "format": f"{COMMON['format'][:-1]}: {', '.join(formats)}; default text."}
    wrapped = functools.wraps(core)(body)
    wrapped.__signature__ = _signature(core, options)  # type: ignore[attr-defined]
    return task(help={**help_texts, **{name: common[name] for name in options}})(wrapped)


def _signature(core: Callable[..., Any], options: tuple[str, ...]) -> inspect.Signature:
    """Return the task's signature: a context, the function's own options, the common ones."""
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = list(inspect.signature(core).parameters.values())[1:]
    common = [inspect.Parameter(name, keyword, default=DEFAULTS[name]) for name in options]
    # The common options come before others, so that they keep their short flags in every task.
    needed = [parameter for parameter in own if parameter.default is inspect.Parameter.empty]
    others = [parameter for parameter in own if parameter.default is not inspect.Parameter.empty]
    return inspect.Signature([inspect.Parameter("context", keyword), *needed, *common, *others])


def execute(
    core: Callable[..., int | None],
    own: dict[str, Any],
    prepare: Callable[[Mapping[str, str], View], Any],
    chosen_format: tuple[str, tuple[str, ...]],
    log_level: str,
) -> None:
    """Run one task to its exit code; every error becomes three lines on stderr."""
    from dbops import report, settings
    from dbops.errors import DbopsError, UsageError

    _turn_signals_into_exceptions()
    view = report.plain_view()
    try:
        view = report.view(
            settings.choice("format", *chosen_format),
            settings.choice("log level", log_level, settings.LOG_LEVELS),
        )
        environ = settings.read_environ(os.environ)
        run = prepare(environ, view)
        with view:
            code = core(run, **own) or 0
    except UnicodeError as error:
        problem = UsageError(f"text in a wrong encoding: {error}", where="the options", hint="Use UTF-8 text.")
        code = view.error(problem)
    except DbopsError as error:
        code = view.error(error)
    except KeyboardInterrupt as error:
        code = _interrupted(error, view)
    except OSError as error:
        hint = "Free some space, or write somewhere else, and run the task again."
        code = view.error(UsageError(f"cannot write the output: {error.strerror}", where="standard output", hint=hint))
    if code:
        raise Exit(code=code)


def _interrupted(error: KeyboardInterrupt, view: View) -> int:
    """Say in one line which state an interruption left, and return the exit code."""
    from dbops.errors import Interrupted

    state = " ".join(getattr(error, "__notes__", []))
    view.interrupted(state or "the task did not finish; `invoke db.status` shows how things stand.")
    return FIRST_SIGNAL_CODE + (error.number if isinstance(error, Interrupted) else signal.SIGINT)


def _turn_signals_into_exceptions() -> None:
    """Let SIGTERM and a lost terminal raise an exception, so that everything that runs can clean up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _terminate)


def _terminate(number: int, _frame: FrameType | None) -> None:
    from dbops.errors import Interrupted

    raise Interrupted(number)


def _with_database(url: str, env: str, output_format: str) -> Callable[[Mapping[str, str], View], Run]:
    """Return what makes a Run: it starts the embedded server if no URL is given."""

    def prepare(environ: Mapping[str, str], view: View) -> Run:
        from dbops import settings

        def embedded() -> str:
            from dbops import server

            return server.ensure_running(environ, ask=sys.stdin.isatty(), report=view.event)

        return Run(settings.load(environ, embedded, url=url, env=env), view, output_format)

    return prepare
