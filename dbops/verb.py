"""What every verb of `invoke` has: the common options, settings, progress, errors, signals, an exit code."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task

from dbops.cli import FIRST_SIGNAL_CODE, SIGNALS

# Heavy modules are imported when a verb runs, not when Invoke lists them.
if TYPE_CHECKING:
    from dbops.errors import DbopsError
    from dbops.report import View
    from dbops.settings import Target

FORMATS = ("text", "json")
URL = "Database to work on, as postgresql://user@host:port/name; default: DATABASE_URL, else the embedded server."
ENV = "Environment: dev, test or prod; default: KAPMAN_ENV, else ENV, else dev."
LOG_LEVEL = "DEBUG shows each statement with its time, WARNING only what needs attention; default INFO."
# Short flags mean the same in every verb that has them.
SHORT = {"yes": "y", "url": "u", "env": "e", "plan": "p", "follow": "f", "lines": "n"}


class Verb(Task):  # type: ignore[type-arg]
    """A task whose body takes a Run, and options, each with its help as the annotation: `Annotated[str, "help"]`.

    All verbs have --format, which is one of `formats`, and --log-level. Those whose body has a parameter `target` have
    --url and --env too, and get the database that these name.
    """

    def __init__(self, body: Callable[..., None], name: str | None = None, formats: tuple[str, ...] = FORMATS) -> None:
        super().__init__(body, name=name, positional=())
        self.formats = formats
        self.own = dict(inspect.signature(body).parameters)
        del self.own["run"]
        self.on_database = self.own.pop("target", None) is not None

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Return the options as Invoke parses them."""
        formats = f"{', '.join(self.formats[:-1])} or {self.formats[-1]}"
        options = [_argument(name, own.annotation.__metadata__[0], own.default) for name, own in self.own.items()]
        if self.on_database:
            options += [_argument("url", URL, None), _argument("env", ENV, None)]
        options.append(_argument("format", f"How results are printed: {formats}; default text.", "text"))
        options.append(_argument("log_level", LOG_LEVEL, "INFO"))
        return options

    def __call__(
        self,
        context: Context,
        *,
        format: str,
        log_level: str,
        url: str | None = None,
        env: str | None = None,
        **own: Any,
    ) -> None:
        """Run the body with the values of its own options."""
        with running(format, log_level, formats=self.formats) as run:
            if self.on_database:
                own["target"] = run.choose(url, env)
            self.body(run, **own)


def _argument(name: str, text: str, default: object) -> Argument:
    """Return an option; one without a default value is given by its position."""
    positional = default is inspect.Parameter.empty
    return Argument(
        names=(name.replace("_", "-"), *SHORT.get(name, "")),
        attr_name=name if "_" in name else None,
        kind=bool if isinstance(default, bool) else str,
        default=None if positional else default,
        help=text,
        positional=positional,
    )


@dataclass(slots=True)
class Run:
    """One run of a verb: the view that shows events and results, and the exit code, which a verb may set.

    `details` is whether the log level is DEBUG; a verb sets `quiet` if an interruption is how it ends.
    """

    view: View
    environ: Mapping[str, str] = field(repr=False)
    format: str
    details: bool
    target: Target | None = None
    quiet: bool = False
    code: int = 0

    def choose(self, url: str | None, env: str | None) -> Target:
        """Return the database to work on; starts the embedded server if neither an option nor a variable names one."""
        from dbops import settings

        # libpq reads it too, and would add the service's parameters to those of a URL.
        os.environ.pop("PGSERVICE", None)

        def embedded() -> str:
            from dbops import server

            return server.ensure_running(self.environ, ask=sys.stdin.isatty(), report=self.view.event)

        self.target = settings.choose_target(self.environ, embedded, url=url, env=env)
        return self.target


@contextmanager
def running(format: str, log_level: str, *, formats: tuple[str, ...] = FORMATS) -> Iterator[Run]:
    """Run the body of a verb: any error becomes a message on stderr and an exit code.

    `formats` are those that the verb knows. Raises Exit, for Invoke, unless the exit code is 0.
    """
    from dbops import report, settings
    from dbops.errors import DbopsError, Interrupted, UsageError

    details = log_level == "DEBUG"
    view = report.view(format, "WARNING", report.GitHub.of(os.environ))
    run = Run(view, {}, format, details)
    with _handling(_interrupt):
        try:
            settings.choice("format", format, formats, "--format")
            settings.choice("log level", log_level, tuple(report.LEVELS), "--log-level")
            view.threshold = report.LEVELS[log_level]
            run.environ = settings.read_environ(os.environ)
            with view:
                yield run
            code = run.code
        except UnicodeError as error:
            problem = UsageError(f"text in a wrong encoding: {error}", where="the options", hint="Use UTF-8 text.")
            code = view.error(problem)
        except DbopsError as error:
            code = view.error(error)
        except Interrupted as interrupt:
            if not run.quiet:
                default = "the task did not finish; `invoke db.status` shows how things stand."
                view.interrupted(interrupt.state or default)
            code = FIRST_SIGNAL_CODE + interrupt.number
        except Exception as error:
            code = view.error(_unforeseen(error, run))
    if code:
        raise Exit(code=code)


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle signals, a lost terminal among them, in the body; those that the caller ignores stay ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """Raise an exception, so that everything that runs can clean up."""
    from dbops.errors import Interrupted

    raise Interrupted(number)


def _unforeseen(error: Exception, run: Run) -> DbopsError:
    """Return an exception that nothing expected as an error: what and where, and for details the traceback."""
    from dbops.errors import UnforeseenError
    from dbops.postgres import redact
    from dbops.settings import ROOT

    target = run.target
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT / "dbops")] or frames
    text = traceback.format_exception_only(error)[-1].strip()
    lines = "".join(traceback.format_exception(error)).splitlines()
    # Without a target it is not known what the password is that must not be shown.
    shown = redact(text, target) if target else type(error).__name__
    return UnforeseenError(
        f"unexpected error: {shown}",
        where=f"{ours[-1].filename}:{ours[-1].lineno}",
        notes=tuple(redact(line, target) for line in lines) if run.details and target else (),
        hint="This is a bug. `invoke db.status` shows how the database stands; please report the command, this"
        " message, and the traceback that --log-level DEBUG adds.",
    )
