"""Every verb of `invoke`: `invoke --list` shows them, `invoke --help db.rebuild` explains one.

A verb reads its options, makes one call to the core (package dbops) and hands the result to the view. `running` does
the rest: settings, progress, errors, signals, exit code. Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

import gc
import os
import sys

# A verb makes few cycles and is soon over: looking for them as often as Python does costs a twentieth of its time.
gc.set_threshold(50_000)
# Invoke switches bytecode off for everything that it imports, which costs half a second per run.
if not os.environ.get("PYTHONDONTWRITEBYTECODE"):
    sys.dont_write_bytecode = False

import signal
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task, task

from dbops import cli
from dbops.cli import FIRST_SIGNAL_CODE, SIGNALS

if TYPE_CHECKING:
    from rich.console import Console

    from dbops.database.rebuild import Options
    from dbops.errors import DbopsError
    from dbops.report import View
    from dbops.server import Embedded
    from dbops.settings import Settings, Target

FORMATS = ("text", "json")
NOT_RUNNING = 3

OUTPUT = {
    "format": "How results are printed: text or json; default text.",
    "log_level": "DEBUG shows each statement with its time, WARNING only what needs attention; default INFO.",
}
DATABASE = {
    "url": "Database to work on, as postgresql://user@host:port/name; default: DATABASE_URL, else the embedded server.",
    "env": "Environment: dev, test or prod; default: KAPMAN_ENV, else ENV, else dev.",
    **OUTPUT,
}
YES = "Agree to lose the rows in it, without being asked; not enough in prod."
CONFIRM = "Agree to lose the rows in the database of this name; the only way in prod."
TIMEOUT = "Seconds to wait for other operators, and for sessions to end; default 30."
# Short flags mean the same in every verb that has them.
SHORT = {"yes": "y", "url": "u", "env": "e", "plan": "p", "follow": "f", "lines": "n"}


class Verb(Task):  # type: ignore[type-arg]
    """A task with few short flags, whose arguments can be asked for more than once."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Return the arguments; Invoke's own method uses up the help texts."""
        texts = dict(self.help)
        try:
            return super().get_arguments(ignore_unknown_help)
        finally:
            self.help = texts

    def arg_opts(self, name: str, default: str, taken_names: set[str]) -> dict[str, Any]:
        """Return how Invoke parses an option."""
        options = super().arg_opts(name, default, taken_names)
        options["names"] = [options["names"][0], *SHORT.get(name, "")]
        return options


# db: the four steps, alone and as one


@task(
    klass=Verb,
    help={
        **DATABASE,
        "plan": "Check everything that could go wrong and say what would happen. Changes nothing, except that the"
        " preflight creates and drops a scratch database.",
        "yes": YES,
        "confirm": CONFIRM,
        "rehearsal": "Build in a scratch database first when rows would be lost; --no-rehearsal skips that.",
        "repeat": "Rebuild this many times, and fail if two fingerprints differ; default 1.",
        "timeout": TIMEOUT,
    },
)
def rebuild(
    context: Context,
    url: str | None = None,
    env: str | None = None,
    format: str = "text",
    log_level: str = "INFO",
    plan: bool = False,
    yes: bool = False,
    confirm: str = "",
    rehearsal: bool = True,
    repeat: str = "1",
    timeout: str = "30",
) -> None:
    """Drop, create, migrate and verify the database.

    Asks only if data would be lost. Whatever can fail is tried before anything
    is dropped: if data would be lost, the whole build too, in a scratch
    database.

    Example: invoke db.rebuild --plan
    """
    with running(format, log_level) as run:
        from dbops.database import rebuild as core
        from dbops.database.preflight import assert_passed
        from dbops.report import json, text
        from dbops.settings import positive_integer

        settings = run.settings(url, env)
        options = _options(run, settings, timeout, yes=yes, confirm=confirm, rehearse=rehearsal)
        if plan:
            planned = core.plan(settings.target, options, report=run.view.event)
            run.view.result(lambda console: text.rebuild_plan(planned, console), json.rebuild_plan(planned))
            if run.view.github:
                run.view.github.rebuild_plan(planned)
            assert_passed(planned.findings, settings.target)
            return
        details = log_level == "DEBUG"
        results = core.repeat(
            settings.target,
            options,
            positive_integer("--repeat", repeat),
            report=run.view.event,
            announce=lambda found: run.view.header(
                lambda console: text.rebuild_header(found, console, details=details), json.rebuild_plan(found)
            ),
        )
        run.view.result(lambda console: text.rebuilt(results, console), json.rebuilt(results))


@task(
    klass=Verb,
    help={
        **DATABASE,
        "yes": YES,
        "confirm": CONFIRM,
        "forget": "Leave nothing behind: lose owner, privileges, settings and comment of the database too.",
        "timeout": TIMEOUT,
    },
)
def drop(
    context: Context,
    url: str | None = None,
    env: str | None = None,
    format: str = "text",
    log_level: str = "INFO",
    yes: bool = False,
    confirm: str = "",
    forget: bool = False,
    timeout: str = "30",
) -> None:
    """Drop the database; its properties are kept for db.create.

    An empty, closed database keeps them until then. Ends every session in the
    database that is dropped. Asks only if data would be lost.

    Example: invoke db.drop --url postgresql://owner@localhost/kapman_dev
    """
    with running(format, log_level) as run:
        from dbops.database import rebuild as core
        from dbops.report import json, text

        settings = run.settings(url, env)
        run.view.begin("Drop", settings.target)
        result = core.drop(
            settings.target,
            _options(run, settings, timeout, yes=yes, confirm=confirm),
            forget=forget,
            report=run.view.event,
            announce=lambda found: run.view.header(lambda console: text.impact(found, console), json.impact(found)),
        )
        run.view.result(lambda console: text.dropped(result, console), result)


@task(klass=Verb, help={**DATABASE, "timeout": TIMEOUT})
def create(
    context: Context,
    url: str | None = None,
    env: str | None = None,
    format: str = "text",
    log_level: str = "INFO",
    timeout: str = "30",
) -> None:
    """Create the empty database, unless it exists.

    It gets the properties that the database had before it was dropped: owner,
    privileges, settings and the rest.

    Example: invoke db.create --env test
    """
    with running(format, log_level) as run:
        from dbops.database import rebuild as core
        from dbops.report import text

        settings = run.settings(url, env)
        run.view.begin("Create", settings.target)
        result = core.create(settings.target, _options(run, settings, timeout), report=run.view.event)
        run.view.result(lambda console: text.created(result, console), result)


@task(
    klass=Verb,
    help={
        **DATABASE,
        "plan": "Print what would run, and run nothing.",
        "check": "Print what would run, apply it on the target itself, and roll it back.",
        "rehearse": "Apply it in a scratch database, and show what each statement locks, rewrites and scans; fail if a"
        " header says less.",
        "to": "Last migration to apply, as in 0007.",
        "lock_timeout": "How long to wait for a lock before letting others pass, as in 2s; overrides headers;"
        " default 1s.",
        "lock_budget": "How long to go on trying to acquire locks, as in 30min; overrides the files' headers;"
        " default 5min.",
        "statement_timeout": "How long one statement may take, as in 10min; overrides the files' headers;"
        " default no limit.",
        "commit": "all commits once, at the end; file commits after each file; default all.",
        "expect": "Compare the schema with this file of `db.fingerprint --write` before the last commit, and roll back"
        " if it differs.",
        "timeout": "Seconds to wait for another operator, or another migration, of the same database; default 60.",
    },
)
def migrate(
    context: Context,
    url: str | None = None,
    env: str | None = None,
    format: str = "text",
    log_level: str = "INFO",
    plan: bool = False,
    check: bool = False,
    rehearse: bool = False,
    to: str = "",
    lock_timeout: str = "",
    lock_budget: str = "",
    statement_timeout: str = "",
    commit: str = "all",
    expect: str = "",
    timeout: str = "60",
) -> None:
    """Apply pending migrations, all or nothing.

    Files and ledger rows commit together. Edited, renamed, removed or skipped
    files stop it before anything runs. `--plan --format json` prints the plan
    for machines; `--check` takes the locks that it would take.

    Example: invoke db.migrate --plan --check
    """
    with running(format, log_level) as run:
        from dbops import migrations
        from dbops.database import rebuild as core
        from dbops.report import text
        from dbops.settings import seconds

        settings = run.settings(url, env)
        patience = seconds("--timeout", timeout)
        run.view.begin("Migrate", settings.target)
        files = migrations.discover(settings.migrations)
        last = migrations.version_of(to)
        planned = None
        if rehearse:
            measured = core.rehearse(settings.target, files, to=last, report=run.view.event)
            run.view.result(lambda console: text.rehearsed(measured, console), measured)
            migrations.assert_declared(measured)
            return
        if plan or check:
            planned = migrations.plan(
                settings.target,
                files,
                to=last,
                lock_timeout=lock_timeout,
                lock_budget=lock_budget,
                statement_timeout=statement_timeout,
                commit=commit,
            )
        if planned and not check:
            run.view.result(lambda console: text.plan(planned, console), planned)
            if run.view.github:
                run.view.github.plan(planned)
            return
        result = core.migrate(
            settings.target,
            files,
            to=last,
            lock_timeout=lock_timeout,
            lock_budget=lock_budget,
            statement_timeout=statement_timeout,
            commit=commit,
            check=check,
            with_times=log_level == "DEBUG",
            expect=Path(expect) if expect else None,
            timeout=patience,
            report=run.view.event,
        )
        if planned:

            def draw(console: Console) -> None:
                text.plan(planned, console)
                text.migrated(result, console)

            run.view.result(draw, {"plan": planned, "result": result})
        else:
            run.view.result(lambda console: text.migrated(result, console), result)


@task(
    klass=Verb,
    help={
        **DATABASE,
        "format": "How results are printed: text, json or junit; default text.",
        "empty": "Also run the baseline suite: no row anywhere, and nothing left uncounted.",
        "only": "Run only the check files of these names, separated by commas; --list shows them.",
        "list": "Show the check files instead of running them.",
        "output": "Write the result to this file too, in the chosen format.",
    },
)
def verify(
    context: Context,
    url: str | None = None,
    env: str | None = None,
    format: str = "text",
    log_level: str = "INFO",
    empty: bool = False,
    only: str = "",
    list: bool = False,
    output: str = "",
) -> None:
    """Check that the schema is what it should be.

    Reads only, waits for no lock. Exit code 1 if a check fails.

    Example: invoke db.verify --format junit --output report.xml
    """
    with running(format, log_level, formats=(*FORMATS, "junit")) as run:
        from dbops import verification
        from dbops.report import json, junit, opened, text

        settings = run.settings(url, env)
        names = tuple(name.strip() for name in only.split(",") if name.strip())
        if list:
            files = verification.select(verification.list_checks(settings.checks, baseline=empty), names)
            run.view.result(lambda console: text.check_files(files, console), json.check_files(files))
            return
        run.view.begin("Verify", settings.target)
        with opened(output) as write:
            started = datetime.now(UTC)
            result = verification.verify(
                settings.target, settings.checks, baseline=empty, only=names, report=run.view.event
            )
            if format == "junit":
                document = junit.xml(result, server=settings.target.server, started=started)
            elif format == "json":
                document = json.verification_document(result)
            else:
                document = text.drawn(lambda console: text.verification(result, console))
            write(document)
        if format == "junit" and not output:
            run.view.result(lambda console: text.print_as_is(document, console), None)
        else:
            run.view.result(lambda console: text.verification(result, console), json.verification(result))
        if run.view.github:
            run.view.github.verification(result)
        run.code = 0 if result.passed else 1


# db: look, describe, prepare


@task(
    klass=Verb,
    help={
        **DATABASE,
        "require_current": "Exit with code 1 while a migration is pending too: a gate for deployments.",
    },
)
def status(
    context: Context,
    url: str | None = None,
    env: str | None = None,
    format: str = "text",
    log_level: str = "INFO",
    require_current: bool = False,
) -> None:
    """Show what is applied, pending, edited, renamed or removed.

    Exit code 1 if files and ledger disagree or a migration was left unfinished.

    Example: invoke db.status --env test
    """
    with running(format, log_level) as run:
        from dbops import migrations
        from dbops.database import rebuild as core
        from dbops.report import text

        settings = run.settings(url, env)
        run.view.begin("Status of", settings.target)
        files = migrations.discover(settings.migrations, allow_empty=True)
        found = core.status(settings.target, files, report=run.view.event)
        run.view.result(lambda console: text.status(found, console), found)
        if require_current:
            found.assert_current()
        run.code = 0 if found.consistent else 1


@task(
    klass=Verb,
    help={
        "name": "What it does: a verb and an object, as in add_tickers_exchange; with --renumber a file.",
        "renumber": "Give the file NAME the next number instead, as is needed after a merge.",
        **OUTPUT,
    },
)
def new(context: Context, name: str, renumber: bool = False, format: str = "text", log_level: str = "INFO") -> None:
    """Write the next migration file, and print its path.

    Example: invoke db.new add_tickers_exchange
    """
    with running(format, log_level) as run:
        from dbops import migrations
        from dbops.settings import MIGRATIONS

        if renumber:
            renamed = migrations.renumber(MIGRATIONS, name, released=migrations.released_names(MIGRATIONS))
            lines = [f"{old.name} -> {new.name}" for old, new in renamed] or [f"{name} is the last file already."]
            data = [{"from": old, "to": new} for old, new in renamed]
            run.view.result(lambda console: console.print("\n".join(lines), soft_wrap=True), {"renamed": data})
            return
        path = migrations.new_file(MIGRATIONS, name)
        run.view.result(lambda console: console.print(str(path), soft_wrap=True), {"path": path})


@task(klass=Verb, help={**DATABASE, "against": "Compare with this file of `db.fingerprint --write` instead."})
def drift(
    context: Context,
    url: str | None = None,
    env: str | None = None,
    format: str = "text",
    log_level: str = "INFO",
    against: str = "",
) -> None:
    """Compare the live schema with a fresh build, as a diff.

    The migrations are built in a scratch database, which is dropped
    afterwards. With --against there is none, and the right to create
    databases is not needed.
    Exit code 1 on drift.

    Example: invoke db.drift --against db/schema.txt
    """
    with running(format, log_level) as run:
        from dbops import catalog, migrations
        from dbops.database import drift as core
        from dbops.report import json, text

        settings = run.settings(url, env)
        run.view.begin("Drift of", settings.target)
        if against:
            result = catalog.against(settings.target, Path(against), report=run.view.event)
        else:
            files = migrations.discover(settings.migrations, allow_empty=True)
            result = core.drift(settings.target, files, report=run.view.event)
        run.view.result(lambda console: text.drift(result, console), json.drift(result))
        if run.view.github:
            run.view.github.drift(result)
        run.code = 1 if result.found else 0


@task(
    klass=Verb,
    help={
        **DATABASE,
        "text": "Print the canonical text that is hashed instead of its hash.",
        "write": "Write the canonical text to db/schema.txt of this repository too.",
    },
)
def fingerprint(
    context: Context,
    url: str | None = None,
    env: str | None = None,
    format: str = "text",
    log_level: str = "INFO",
    text: bool = False,
    write: bool = False,
) -> None:
    """Print one sha256 of the schema.

    The same migrations give the same one, wherever they ran.

    Example: invoke db.fingerprint --text
    """
    with running(format, log_level) as run:
        from dbops import catalog, postgres
        from dbops.report import opened
        from dbops.report.text import print_as_is
        from dbops.settings import ROOT

        target = run.settings(url, env).target
        with postgres.connect(target) as connection, postgres.translated(target):
            schema = catalog.schema_text(connection)
        value = catalog.fingerprint(schema)
        if write:
            with opened(str(ROOT / "db" / "schema.txt")) as save:
                save(schema)
        data = {"database": target.database, "fingerprint": value, **({"text": schema} if text else {})}
        run.view.result(lambda console: print_as_is(schema if text else f"{value}\n", console), data)


@task(klass=Verb, help={**DATABASE, "output": "File to write; default docs/schema.md of this repository."})
def diagram(
    context: Context,
    url: str | None = None,
    env: str | None = None,
    format: str = "text",
    log_level: str = "INFO",
    output: str = "",
) -> None:
    """Write docs/schema.md from the live schema.

    Markdown, with an entity-relationship diagram and a section per table.

    Example: invoke db.diagram --output /tmp/schema.md
    """
    with running(format, log_level) as run:
        from dbops import catalog, postgres
        from dbops.report import opened, text
        from dbops.settings import ROOT

        target = run.settings(url, env).target
        path = output or str(ROOT / "docs" / "schema.md")
        with postgres.connect(target) as connection, postgres.translated(target):
            document = catalog.diagram(connection)
        with opened(path) as write:
            write(document)
        run.view.result(lambda console: text.print_as_is(f"Written: {path}\n", console), {"output": path})


@task(klass=Verb, help={**DATABASE, "command": "Run this SQL and end."})
def psql(
    context: Context,
    url: str | None = None,
    env: str | None = None,
    format: str = "text",
    log_level: str = "INFO",
    command: str = "",
) -> None:
    """Open psql on the database.

    The password is handed over in the environment, never on the command line.

    Example: invoke db.psql --command 'SELECT count(*) FROM ohlcv'
    """
    with running(format, log_level) as run:
        from dbops import psql as core

        arguments, environ = core.command(run.settings(url, env).target, run.environ, sql=command)
        os.execve(arguments[0], arguments, environ)  # noqa: S606


@task(klass=Verb, help={**DATABASE, "timeout": "Seconds to wait; default 60."})
def wait(
    context: Context,
    url: str | None = None,
    env: str | None = None,
    format: str = "text",
    log_level: str = "INFO",
    timeout: str = "60",
) -> None:
    """Wait until the server and TimescaleDB are ready.

    The database need not exist.

    Example: invoke db.wait --timeout 120
    """
    with running(format, log_level) as run:
        from dbops.database import wait as core
        from dbops.report import text
        from dbops.settings import seconds

        target = run.settings(url, env).target
        found = core.wait(target, timeout=seconds("--timeout", timeout), report=run.view.event)
        run.view.result(lambda console: text.ready(found, console), found)


# server: the embedded one


@task(klass=Verb, name="install", help=OUTPUT)
def server_install(context: Context, format: str = "text", log_level: str = "INFO") -> None:
    """Install PostgreSQL 15 and TimescaleDB.

    From the distribution's packages where it has one of TimescaleDB (Debian 13
    and newer), on Debian 12 by building Debian's signed source. Needs root or
    sudo. A second run changes nothing.

    Example: invoke server.install
    """
    with running(format, log_level) as run:
        from dbops import server

        found = server.install(run.embedded(), ask=sys.stdin.isatty(), report=run.view.event)
        text = f"PostgreSQL {found.version} with TimescaleDB {found.timescaledb} is installed in {found.binaries}."
        run.view.result(lambda console: console.out(text), found)


@task(
    klass=Verb,
    name="up",
    help={
        "port": "Listen on this loopback port too, with a generated password, from now on; "
        "`auto` chooses a free port, `none` ends it.",
        **OUTPUT,
    },
)
def server_up(context: Context, port: str = "", format: str = "text", log_level: str = "INFO") -> None:
    """Start the embedded server, and say how to reach it.

    Makes its data directory first if there is none.

    Example: invoke server.up --port auto
    """
    with running(format, log_level) as run:
        from dbops import server
        from dbops.settings import port_number

        server.up(run.embedded(), port=port_number("--port", port), report=run.view.event)
        _show_server(run)


@task(klass=Verb, name="down", help=OUTPUT)
def server_down(context: Context, format: str = "text", log_level: str = "INFO") -> None:
    """Stop the embedded server; its data stays.

    Example: invoke server.down
    """
    with running(format, log_level) as run:
        from dbops import server

        ran = server.down(run.embedded(), report=run.view.event)
        text = "The embedded server is stopped; its data stays." if ran else "The embedded server was not running."
        run.view.result(lambda console: console.print(text), {"stopped": ran})


@task(klass=Verb, name="status", help=OUTPUT)
def server_status(context: Context, format: str = "text", log_level: str = "INFO") -> None:
    """Show whether the embedded server runs, and where.

    Exit code 0 if it runs, else 3.

    Example: invoke server.status --format json
    """
    with running(format, log_level) as run:
        run.code = 0 if _show_server(run) == "running" else NOT_RUNNING


@task(
    klass=Verb,
    name="logs",
    help={"lines": "How many lines to show; default 50.", "follow": "Go on showing new lines until Ctrl-C.", **OUTPUT},
)
def server_logs(
    context: Context, lines: str = "50", follow: bool = False, format: str = "text", log_level: str = "INFO"
) -> None:
    """Show the end of the embedded server's log.

    Example: invoke server.logs -f -n 100
    """
    with running(format, log_level, quiet=follow) as run:
        from dbops import server
        from dbops.report import text
        from dbops.settings import positive_integer

        last = positive_integer("--lines", lines)
        if not follow:
            text.log_lines(server.log_lines(run.embedded(), last), run.view)
            return
        for line in server.follow_log(run.embedded(), last):
            text.log_lines((line,), run.view)


@task(
    klass=Verb,
    name="destroy",
    help={
        "yes": "Do not ask; not enough where a database is prod.",
        "confirm": "Agree to lose the prod databases of these names, separated by commas.",
        **OUTPUT,
    },
)
def server_destroy(
    context: Context, yes: bool = False, confirm: str = "", format: str = "text", log_level: str = "INFO"
) -> None:
    """Remove the embedded server with all of its databases.

    Stops it and removes its data directory, after consent.

    Example: invoke server.destroy
    """
    with running(format, log_level) as run:
        from dbops import server
        from dbops.database import whole_server
        from dbops.report import text

        found = server.status(run.embedded())
        if found.size:
            whole_server.agree(
                whole_server.inspect(run.embedded(), report=run.view.event),
                yes=yes,
                confirm=confirm,
                ask=lambda loss: run.view.ask(text.server_question(loss, found.size)),
            )
        gone = server.destroy(run.embedded(), report=run.view.event)
        said = f"Removed {found.directory}." if gone else "There is no embedded server's directory to remove."
        run.view.result(lambda console: console.print(said), {"removed": gone, "directory": found.directory})


# What the verbs share


@dataclass(slots=True)
class Run:
    """One run of a verb: the view that shows events and results, and the exit code, which a verb may set."""

    view: View
    environ: Mapping[str, str] = field(repr=False)
    target: Target | None = None
    code: int = 0

    def settings(self, url: str | None, env: str | None) -> Settings:
        """Return the settings, with the database to work on; starts the embedded server if no URL is given."""
        from dbops import settings

        # libpq reads it too, and would add the service's parameters to those of a URL.
        os.environ.pop("PGSERVICE", None)

        def embedded() -> str:
            from dbops import server

            return server.ensure_running(self.environ, ask=sys.stdin.isatty(), report=self.view.event)

        loaded = settings.load(self.environ, embedded, url=url, env=env)
        self.target = loaded.target
        return loaded

    def embedded(self) -> Embedded:
        """Return where the embedded server is or would be."""
        from dbops import server

        return server.Embedded.of(self.environ)


@contextmanager
def running(format: str, log_level: str, *, formats: tuple[str, ...] = FORMATS, quiet: bool = False) -> Iterator[Run]:
    """Run the body of a verb: any error becomes a message on stderr and an exit code.

    `formats` are those that the verb knows; `quiet` says nothing about an interruption, which is how the verb ends.
    Raises Exit, for Invoke, unless the exit code is 0.
    """
    from dbops import report, settings
    from dbops.errors import DbopsError, Interrupted, UsageError

    # What GitHub sets is never in a settings file.
    actions = os.environ.get("GITHUB_ACTIONS") == "true"
    github = report.GitHub(os.environ.get("GITHUB_STEP_SUMMARY", "")) if actions else None
    view = report.view("text", "WARNING", github)
    run = Run(view, {})
    with _handling(_interrupt):
        try:
            view = report.view(
                settings.choice("format", format, formats, "--format"),
                settings.choice("log level", log_level, settings.LOG_LEVELS, "--log-level"),
                github,
            )
            run = Run(view, settings.read_environ(os.environ))
            with view:
                yield run
            code = run.code
        except UnicodeError as error:
            problem = UsageError(f"text in a wrong encoding: {error}", where="the options", hint="Use UTF-8 text.")
            code = view.error(problem)
        except DbopsError as error:
            code = view.error(error)
        except Interrupted as interrupt:
            if not quiet:
                default = "the task did not finish; `invoke db.status` shows how things stand."
                view.interrupted(interrupt.state or default)
            code = FIRST_SIGNAL_CODE + interrupt.number
        except Exception as error:
            code = view.error(_unforeseen(error, run.target, details=log_level == "DEBUG"))
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


def _unforeseen(error: Exception, target: Target | None, *, details: bool) -> DbopsError:
    """Return an exception that nothing expected as an error: what and where, and the traceback if `details`."""
    from dbops.errors import UnforeseenError
    from dbops.postgres import redact
    from dbops.settings import ROOT

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


def _options(
    run: Run, settings: Settings, timeout: str, *, yes: bool = False, confirm: str = "", rehearse: bool = True
) -> Options:
    """Return what drop, create and rebuild take from the command line."""
    from dbops.database.consent import Agreement
    from dbops.database.rebuild import Options
    from dbops.report import text
    from dbops.settings import seconds

    return Options(
        migrations=settings.migrations,
        checks=settings.checks,
        timeout=seconds("--timeout", timeout),
        rehearse=rehearse,
        agreement=Agreement(yes=yes, confirm=confirm, ask=lambda found: run.view.ask(text.question(found))),
    )


def _show_server(run: Run) -> str:
    """Print what there is of the embedded server and return its state."""
    from dbops import server
    from dbops.report import json, text
    from dbops.settings import choose_environment

    found = server.status(run.embedded())
    url = found.address.url(f"kapman_{choose_environment(run.environ)}") if found.address else ""
    run.view.result(lambda console: text.server_status(found, url, console), json.server_status(found, url))
    return found.state


namespace = Collection(
    Collection("db", rebuild, drop, create, migrate, verify, status, new, drift, fingerprint, diagram, psql, wait),
    Collection("server", server_install, server_up, server_down, server_status, server_logs, server_destroy),
)

cli.prepare(namespace)
