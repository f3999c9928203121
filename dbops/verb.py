"""What every verb of `invoke` has: the common options, settings, progress, errors, signals, an exit code."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task

from dbops import cli
from dbops.cli import FIRST_SIGNAL_CODE

# Heavy modules are imported when a verb runs, not when Invoke lists them.
if TYPE_CHECKING:
    from invoke.collection import Collection

    from dbops.errors import DbopsError
    from dbops.events import Report
    from dbops.report import View
    from dbops.report.commands import CommandLine
    from dbops.settings import Target

CHECK_FAILED = 1
FORMATS = ("text", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING")
ENVIRONMENTS = ("dev", "test", "prod")
URL = (
    "Database to work on, as postgresql://user@host:port/name, for all tasks of the command line;"
    " default: DATABASE_URL, PGSERVICE, PGHOST and the like, else the embedded server."
)
ENV = "Environment, for all tasks of the command line: dev, test or prod; default: KAPMAN_ENV, else ENV, else dev."
# Options with which a verb that otherwise reads builds something too.
WORKING = ("build", "check", "write")
LOG_LEVEL = "DEBUG shows each statement, WARNING only what needs attention; default INFO."
# Short flags mean the same in every verb that has them.
SHORT = {"yes": "y", "url": "u", "env": "e", "plan": "p", "follow": "f", "lines": "n", "command": "c"}


class Verb(Task):  # type: ignore[type-arg]
    """A task whose body takes a Run, and options, each with its help as the annotation: `Annotated[str, "help"]`.

    A second annotation is the tuple of all values of an option, or the name of the function in `dbops.settings` that
    reads what is given; the default value is what it would return. All verbs have --format, which is one of `formats`,
    and --log-level. Those whose body has a parameter `target` have --url and --env too, and get the database that these
    name, unless the option `alone` is given, which needs none; `begins` is what is said of it before the body runs, as
    in Verify. A verb that `makes_server` makes and starts the embedded server where no other is named, but for --plan.
    One that only reads has a `deadline` in seconds, which --timeout changes; with --plan its own --timeout is one.
    `apart` names for an option those that would do nothing beside it, and cannot be given with it. `state` says what an
    interruption leaves behind if nothing else does.
    """

    def __init__(
        self,
        body: Callable[..., None],
        name: str | None = None,
        formats: tuple[str, ...] = FORMATS,
        begins: str = "",
        makes_server: bool = False,
        alone: str = "",
        apart: Mapping[str, str] | None = None,
        deadline: int = 0,
        state: str = "",
    ) -> None:
        super().__init__(body, name=name, positional=())
        self.begins = begins
        self.makes_server = makes_server
        self.alone = alone
        self.apart = [(option, other) for option, others in (apart or {}).items() for other in others.split()]
        self.deadline = deadline
        self.state = state
        # What the verb is called on the command line of this project.
        self.known_as = name or body.__name__
        self.own = dict(inspect.signature(body).parameters)
        del self.own["run"]
        self.on_database = self.own.pop("target", None) is not None
        self.choices = {"format": formats, "log_level": LOG_LEVELS} | (
            {"env": ENVIRONMENTS} if self.on_database else {}
        )
        self.readers = {"timeout": "seconds"} if deadline else {}
        for option, own in self.own.items():
            for more in own.annotation.__metadata__[1:]:
                if isinstance(more, str):
                    self.readers[option] = more
                else:
                    self.choices[option] = more

    def __eq__(self, other: object) -> bool:
        """Return False: each verb that is named runs, and Invoke leaves out calls that are equal."""
        return False

    __hash__ = Task.__hash__

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Return the options as Invoke parses them."""
        formats = f"{', '.join(self.choices['format'][:-1])} or {self.choices['format'][-1]}"
        options = [_argument(name, own.annotation.__metadata__[0], own.default) for name, own in self.own.items()]
        if self.on_database:
            options += [_argument("url", URL, ""), _argument("env", ENV, "")]
        if self.deadline:
            options.append(
                _argument("timeout", f"Seconds until it is given up; default {self.deadline}.", self.deadline)
            )
        options.append(_argument("format", f"How results are printed: {formats}; default text.", "text"))
        options.append(_argument("log_level", LOG_LEVEL, "INFO"))
        return options

    def choices_of(self, flag: str) -> tuple[str, ...]:
        """Return the values of an option, as in `--env` or `-e`, if it is one of a few."""
        long = {f"-{short}": name for name, short in SHORT.items()}.get(flag, flag.removeprefix("--"))
        return self.choices.get(long.replace("-", "_"), ())

    def __call__(self, context: Context, *, format: str, log_level: str, **given: Any) -> None:
        """Run the body with the values of its own options; None is the value of one that was not given."""
        line = _CommandLine.of(context)
        with running(format, log_level, formats=self.choices["format"], state=self.state) as run:
            run.last = line.tasks == 1
            from dbops import settings
            from dbops.errors import UsageError
            from dbops.events import Began
            from dbops.report import commands

            url, env = line.target(given) if self.on_database else (None, None)
            commands.use(line.commands(url, env))
            for name, value in given.items():
                if isinstance(value, str) and not value.strip():
                    positional = name in self.own and self.own[name].default is inspect.Parameter.empty
                    raise settings.empty(name.upper() if positional else _flag(name))
                if name in self.choices and value is not None:
                    settings.choice({"env": "environment"}.get(name, name), value, self.choices[name], _flag(name))
                if name in self.readers and value is not None:
                    given[name] = getattr(settings, self.readers[name])(_flag(name), value)
            defaults = {name: own.default for name, own in self.own.items()}
            works = any(given.get(option) for option in WORKING)
            for pair in self.apart:
                # What does nothing beside --plan alone counts where something is built too.
                if pair[0] == "plan" and works and pair[1] not in WORKING:
                    continue
                if all(given[name] not in (None, defaults.get(name)) for name in pair):
                    # What is on by default is given to switch it off.
                    first, second = (_flag(f"no_{name}" if defaults.get(name) is True else name) for name in pair)
                    raise UsageError(
                        f"{first} and {second} cannot be given together",
                        where=f"{first} {second}",
                        hint="Leave one of the two out.",
                    )
            if context.config.run.dry:
                raise UsageError(
                    "Invoke's dry run does not reach the tasks of this project",
                    where="--dry",
                    hint=cli.MEANT["dry"],
                )
            own = {name: default if given[name] is None else given[name] for name, default in defaults.items()}
            if self.on_database:
                own["target"] = None
                if not own.get(self.alone):
                    target = own["target"] = run.choose(url, env, make=self.makes_server and not own.get("plan"))
                    commands.use(line.commands(url, env, target.source))
                    if self.begins:
                        run.report(Began(self.begins, target.database, target.server, target.environment))
            limit: AbstractContextManager[None] = nullcontext()
            if (self.deadline or own.get("plan")) and not works:
                # It only reads: its connections end when its time is up.
                from dbops.postgres import deadline

                timeout = own.get("timeout", given.get("timeout"))
                limit = deadline(self.deadline if timeout is None else timeout)
            with limit:
                self.body(run, **own)


def verbs(collection: Collection) -> Iterator[tuple[str, Verb]]:
    """Return the verbs in a collection, by the names that they have there."""
    for name in collection.task_names:
        verb = collection[name]
        if isinstance(verb, Verb):
            yield name, verb


def _argument(name: str, text: str, default: object) -> Argument:
    """Return an option; one without a default value is given by its position.

    One that is empty by default, or read, has None, so that what is given and empty is an error.
    """
    positional = default is inspect.Parameter.empty
    return Argument(
        names=(name.replace("_", "-"), *SHORT.get(name, "")),
        attr_name=name if "_" in name else None,
        kind=bool if isinstance(default, bool) else str,
        default=None if positional or default == "" or not isinstance(default, bool | str) else default,
        help=text,
        positional=positional,
    )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True, slots=True)
class _CommandLine:
    """All verbs of the command line that runs, with what they are called here and their options.

    `tasks` counts the words that name one, be it a verb or a task of another project.
    """

    tasks: int = 0
    verbs: tuple[tuple[str, Verb, Mapping[str, Any]], ...] = ()
    names: Mapping[str, Verb] = field(default_factory=dict)

    @classmethod
    def of(cls, context: Context) -> _CommandLine:
        """Return the command line that a verb's context belongs to, which is empty where other code calls the verb."""
        program = cli.program()
        if program is None or getattr(program, "config", None) is not context.config:
            return cls()
        tasks = [(task.name or "", program.collection[task.name], task.as_kwargs) for task in program.tasks]
        return cls(
            len(tasks),
            tuple((name, verb, given) for name, verb, given in tasks if isinstance(verb, Verb)),
            dict(verbs(program.collection)),
        )

    def target(self, own: Mapping[str, str | None]) -> tuple[str | None, str | None]:
        """Return --url and --env, which hold for all verbs wherever they are given; UsageError if they differ."""
        from dbops.errors import UsageError

        found: dict[str, str | None] = {}
        for option in ("url", "env"):
            values = {given.get(option): name for name, _, given in self.verbs} | {own[option]: ""}
            values.pop(None, None)
            if len(values) > 1:
                raise UsageError(
                    "the tasks of one command line work on one database, but two are named",
                    where=_flag(option),
                    hint=f"Give {_flag(option)} once, for all tasks, or run one command for each database.",
                )
            found[option] = next(iter(values), None)
        return found["url"], found["env"]

    def commands(self, url: str | None = None, env: str | None = None, source: str = "DATABASE_URL") -> CommandLine:
        """Return how to complete the commands that texts name, for the words that name the database."""
        from dbops.report.commands import CommandLine
        from dbops.settings import target_words

        return CommandLine(
            program=cli.name_of_program(),
            target=target_words(url, env),
            source=source,
            names={verb.known_as: name for name, verb in self.names.items()},
            on_database=frozenset(verb.known_as for verb in self.names.values() if verb.on_database),
        )


@dataclass(slots=True)
class Run:
    """One run of a verb: the view that shows events and results, and the exit code, which a verb may set.

    `last` is whether nothing else is to run after it; a verb sets `quiet` if an interruption is how it ends.
    """

    view: View
    environ: Mapping[str, str] = field(repr=False)
    last: bool = False
    target: Target | None = None
    quiet: bool = False
    code: int = 0

    @property
    def report(self) -> Report:
        """Return what shows the events of a task."""
        return self.view.event

    @property
    def ask(self) -> Callable[[str], str | None] | None:
        """Return what puts a question at a terminal; None where there is no terminal to ask on."""
        return self.view.ask if self.view.can_ask else None

    def show(self, found: object, *, passed: bool = True, write: Callable[[str], None] | None = None) -> None:
        """Show a result, and end with exit code 1 unless it `passed`; `write` gets it as a document."""
        self.view.show(found, write)
        if not passed:
            self.code = CHECK_FAILED

    def choose(self, url: str | None, env: str | None, *, make: bool = True) -> Target:
        """Return the database to work on.

        Where neither an option nor a variable names one it is the embedded server's, which is made and started only if
        `make`.
        """
        from dbops import settings
        from dbops.events import Message

        def embedded() -> Target:
            from dbops import server

            if make:
                return server.ensure_running(self.environ, ask=sys.stdin.isatty(), report=self.report)
            return server.find_running(self.environ)

        for text in getattr(self.environ, "unread", ()):
            self.report(Message("WARNING", text))
        self.target = settings.choose_target(self.environ, embedded, url=url, env=env)
        if self.target.embedded and (unused := settings.unused_variables(self.environ)):
            self.report(Message("INFO", f"{', '.join(unused)}: not used for the embedded server"))
        return self.target


@contextmanager
def running(format: str, log_level: str, *, formats: tuple[str, ...] = FORMATS, state: str = "") -> Iterator[Run]:
    """Run the body of a verb: any error becomes a message on stderr and an exit code.

    `formats` are those that the verb knows, `state` what is said of an interruption if the body says nothing. Raises
    Exit, for Invoke, unless the exit code is 0. Meanwhile the process has none of the variables that libpq reads: what
    they say is in the target, or does not count.
    """
    from dbops import report, settings
    from dbops.errors import DbopsError, Interrupted, UsageError
    from dbops.report import commands

    view = report.view(format, "WARNING", report.GitHub.of(os.environ))
    run = Run(view, {})
    before = commands.use(commands.CommandLine())
    hidden: dict[str, str] = {}
    handlers: dict[int, cli.Handler] = {}

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    try:
        # A lost terminal too is answered, so that everything that runs can clean up.
        handlers = cli.answer_signals(interrupt)
        settings.choice("format", format, formats, "--format")
        settings.choice("log level", log_level, LOG_LEVELS, "--log-level")
        view.threshold = report.LEVELS[log_level]
        run.environ = settings.read_environ(os.environ)
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
        with view:
            yield run
        code = run.code
    except UnicodeError as error:
        problem = UsageError(f"text in a wrong encoding: {error}", where="the options", hint="Use UTF-8 text.")
        code = view.error(problem)
    except DbopsError as error:
        code = view.error(error)
    except Interrupted as interrupted:
        if not run.quiet:
            default = state or "the task did not finish; `invoke db.status` shows how things stand."
            view.interrupted(interrupted.state or default)
        code = FIRST_SIGNAL_CODE + interrupted.number
    except Exception as error:
        code = view.error(_as_error(error, run.target, details=log_level == "DEBUG"))
    finally:
        os.environ.update(hidden)
        commands.use(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if code:
        raise Exit(code=code)


def _as_error(error: Exception, target: Target | None, *, details: bool) -> DbopsError:
    """Return any other exception as an error: what the file system says of a path, or what nothing expected.

    The latter has what and where, and with `details` the traceback.
    """
    from dbops.errors import UnforeseenError, UsageError
    from dbops.postgres import redact
    from dbops.settings import ROOT

    if isinstance(error, OSError) and error.strerror and error.filename:
        return UsageError(
            f"cannot use a file: {error.strerror}",
            where=str(error.filename),
            hint="Correct its name or its permissions, or make room, and run the task again.",
        )
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT / "dbops")] or frames
    text = traceback.format_exception_only(error)[-1].strip()
    lines = "".join(traceback.format_exception(error)).splitlines()
    # Without a target it is not known what the password is that must not be shown.
    shown = redact(text, target) if target else type(error).__name__
    return UnforeseenError(
        f"unexpected error: {shown}",
        where=f"{ours[-1].filename}:{ours[-1].lineno}",
        notes=tuple(redact(line, target) for line in lines) if details and target else (),
        hint="This is a bug. `invoke db.status` shows how the database stands; please report the command, this"
        " message, and the traceback that --log-level DEBUG adds.",
    )
