"""Every verb of `invoke`: `invoke --list` shows them, `invoke --help db.rebuild` explains one.

A verb makes one call to the core (package dbops) and hands the result to the view. `dbops/verb.py` adds what all verbs
have: --format and --log-level; --url and --env where a verb takes a `target`; progress, errors, signals, exit code.
Nothing heavy is imported before a verb runs.
"""

import atexit
import gc
import os
import sys

# A verb makes few reference cycles and is soon over. Looking for them as often as Python does takes a twentieth of its
# time; looking once more at the end, when all memory is freed anyway, a tenth.
gc.set_threshold(50_000)
atexit.register(gc.freeze)
# Invoke switches bytecode off for everything that it imports, which costs half a second per run.
if not os.environ.get("PYTHONDONTWRITEBYTECODE"):
    sys.dont_write_bytecode = False

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from invoke.collection import Collection
from invoke.tasks import task

from dbops import cli
from dbops.verb import Run, Verb, verbs

if TYPE_CHECKING:
    from dbops.database.rebuild import RebuildOptions
    from dbops.settings import Target

NOT_RUNNING = 3
SERVER = "the task did not finish; `invoke server.status` shows how things stand, and the same task goes on from there."
READS = "nothing was changed: the task only reads."

Yes = Annotated[bool, "Agree to lose the rows in it, without being asked; not enough in prod."]
Confirm = Annotated[str, "Agree to lose the rows in the database of this name; the only way in prod."]
Timeout = Annotated[str, "Seconds to wait for other operators, and for sessions to end; default 30."]


# db: the four steps, alone and as one


@task(klass=Verb, makes_server=True)
def rebuild(
    run: Run,
    target: "Target",
    plan: Annotated[bool, "Check what could go wrong, and say what would happen; only reads."] = False,
    check: Annotated[
        bool, "Build and verify the new database beside, say what a rebuild would lose, and drop it again."
    ] = False,
    keep: Annotated[bool, "Keep the old database, closed; db.undo puts it back."] = False,
    yes: Yes = False,
    confirm: Confirm = "",
    repeat: Annotated[str, "Rebuild this many times, and fail if two fingerprints differ; default 1."] = "1",
    timeout: Timeout = "30",
) -> None:
    """Build a new database, verify it, swap it in.

    Nothing is taken away before the new database is verified. Asks only if
    something would be lost; the old database is dropped last.

    Example: invoke db.rebuild --plan
    """
    from dbops.database import rebuild as core
    from dbops.database.preflight import assert_passed
    from dbops.report import json, text
    from dbops.settings import positive_integer

    options = _options(run, timeout, yes=yes, confirm=confirm, check=check, keep=keep)
    if plan:
        planned = core.plan(target, options)
        run.view.show(planned)
        assert_passed(planned.conditions, target)
        return
    header = partial(text.rebuild_header, details=run.details)
    results = core.repeat(
        target,
        options,
        positive_integer("--repeat", repeat),
        report=run.view.event,
        announce=lambda found: run.view.header(header, found, json.rebuild_plan(found)),
    )
    run.view.show(results)


@task(klass=Verb)
def undo(
    run: Run,
    target: "Target",
    restored: Annotated[
        str, "Put the database of this name in place instead, as a backup that was restored beside."
    ] = "",
    keep: Annotated[bool, "Keep the present database in its turn."] = False,
    yes: Yes = False,
    confirm: Confirm = "",
    timeout: Timeout = "30",
) -> None:
    """Put the database back that a rebuild kept.

    Or one that was restored beside, which gets the present one's owner,
    privileges and settings. Asks before rows or objects of the present
    database are lost.

    Example: invoke db.undo --keep
    """
    from dbops.database import rebuild as core
    from dbops.report import json, text

    header = partial(
        text.impact, headed=run.view.begin("Replace" if restored else "Undo the rebuild of", target), kept=keep
    )
    result = core.undo(
        target,
        _options(run, timeout, yes=yes, confirm=confirm, keep=keep),
        restored=restored,
        report=run.view.event,
        announce=lambda found: run.view.header(header, found, json.impact(found)),
    )
    run.view.show(result)


@task(klass=Verb)
def drop(
    run: Run,
    target: "Target",
    yes: Yes = False,
    confirm: Confirm = "",
    forget: Annotated[
        bool, "Leave nothing behind: lose owner, privileges, settings and comment of the database too."
    ] = False,
    kept: Annotated[bool, "Drop the database that db.rebuild --keep kept, not the present one."] = False,
    timeout: Timeout = "30",
) -> None:
    """Drop the database; its properties are kept for db.create.

    An empty, closed database keeps them until then. Ends every session in the
    database that is dropped. Asks only if data would be lost.

    Example: invoke db.drop --url postgresql://owner@localhost/kapman_dev
    """
    from dbops.database import rebuild as core
    from dbops.report import json, text

    header = partial(text.impact, headed=run.view.begin("Drop", target))
    result = (core.drop_kept if kept else partial(core.drop, forget=forget))(
        target,
        _options(run, timeout, yes=yes, confirm=confirm),
        report=run.view.event,
        announce=lambda found: run.view.header(header, found, json.impact(found)),
    )
    run.view.show(result)


@task(klass=Verb, makes_server=True)
def create(run: Run, target: "Target", timeout: Timeout = "30") -> None:
    """Create the empty database, unless it exists.

    It gets the properties that the database had before it was dropped: owner,
    privileges, settings and the rest.

    Example: invoke db.create --env test
    """
    from dbops.database import rebuild as core

    run.view.begin("Create", target)
    run.view.show(core.create(target, _options(run, timeout), report=run.view.event))


@task(klass=Verb)
def migrate(
    run: Run,
    target: "Target",
    plan: Annotated[bool, "Print what would run, and run nothing."] = False,
    check: Annotated[bool, "Print what would run, apply it on the target itself, and roll it back."] = False,
    rehearse: Annotated[
        bool,
        "Apply it in a scratch database, and show what each statement locks, rewrites and scans; fail if a header says"
        " less.",
    ] = False,
    to: Annotated[str, "Last migration to apply, as in 0007."] = "",
    lock_timeout: Annotated[
        str, "How long an attempt waits for locks before letting others pass, as in 2s; overrides headers; default 1s."
    ] = "",
    lock_budget: Annotated[
        str, "How long to go on trying to acquire locks, as in 30min; overrides the files' headers; default 5min."
    ] = "",
    statement_timeout: Annotated[
        str, "How long one statement may take, as in 10min; overrides the files' headers; default no limit."
    ] = "",
    commit: Annotated[
        str, "all commits once, at the end; file commits after each file; default all.", ("all", "file")
    ] = "all",
    verify: Annotated[
        bool, "Run all of db.verify before the last commit, and roll back if a check fails; see db.verify."
    ] = False,
    confirm: Annotated[
        str, "Agree that a database without a label is of the chosen environment: the database's name."
    ] = "",
    timeout: Annotated[
        str, "Seconds to wait for another operator, or another migration, of the same database; default 60."
    ] = "60",
) -> None:
    """Apply pending migrations, all or nothing.

    Files and ledger rows commit together. Edited, renamed, removed or skipped
    files stop it before anything runs. `--plan --format json` prints the plan
    for machines; `--check` takes the locks that it would take.

    Example: invoke db.migrate --plan --check
    """
    from dbops import migrations
    from dbops.database import existing as core
    from dbops.report import text
    from dbops.settings import MIGRATIONS, duration, seconds

    options = migrations.Options(
        to=migrations.version_of(to),
        lock_timeout=duration(lock_timeout),
        lock_budget=duration(lock_budget),
        statement_timeout=duration(statement_timeout),
        commit=commit,
        check=check,
        with_times=run.details,
        patience=seconds("--timeout", timeout),
    )
    run.view.begin("Migrate", target)
    files = migrations.discover(MIGRATIONS)
    if rehearse:
        measured = core.rehearse(target, files, to=options.to, report=run.view.event)
        run.view.result(text.rehearsed, measured)
        migrations.assert_declared(measured)
        return
    planned = migrations.plan(target, files, options) if plan or check else None
    if planned and not check:
        run.view.show(planned)
        return
    result = core.migrate(target, files, options, verify=verify, confirm=confirm, report=run.view.event)
    if planned:
        run.view.result(text.checked, (planned, result), {"plan": planned, "result": result})
    else:
        run.view.show(result)


@task(klass=Verb, formats=("text", "json", "junit"), alone="list", deadline=300, state=READS)
def verify(
    run: Run,
    target: "Target",
    empty: Annotated[bool, "Also run the baseline suite: no row anywhere, and nothing left uncounted."] = False,
    only: Annotated[
        str,
        "Run only the check files of these names, separated by commas; --list shows them; schema is the comparison.",
    ] = "",
    list: Annotated[bool, "Show the check files instead of running them."] = False,
    output: Annotated[str, "Write the result to this file too, in the chosen format."] = "",
) -> None:
    """Check that the schema is what it should be.

    Runs the check files of db/verify, and compares each object with
    db/schema.txt. Reads only, waits for no lock. Exit code 1 if a check fails.

    Example: invoke db.verify --format junit --output report.xml
    """
    from dbops import catalog, migrations, settings, verification
    from dbops.database import schema as core
    from dbops.report import json, opened, text
    from dbops.settings import CHECKS, MIGRATIONS, SCHEMA

    names = tuple(name.strip() for name in only.split(",") if name.strip())
    if only and not names:
        raise settings.empty("--only")
    if list:
        suites = verification.list_checks(CHECKS, baseline=empty)
        chosen = verification.select(suites, names, catalog.read_expected(SCHEMA))
        run.view.result(text.check_files, chosen, json.check_files(*chosen))
        return
    run.view.begin("Verify", target)
    write = opened(output)
    started = datetime.now(UTC)
    discovered = migrations.discover(MIGRATIONS, allow_empty=True)
    result = core.verify(target, discovered, baseline=empty, only=names, report=run.view.event)
    document = ""
    if run.format == "junit":
        from dbops.report import junit

        document = junit.xml(result, server=target.server, started=started)
    elif output and run.format == "json":
        document = json.verification_document(result)
    elif output:
        document = text.drawn(lambda console: text.verification(result, console))
    write(document)
    if run.format == "junit" and not output:
        run.view.result(text.print_as_is, document)
        run.view.github.verification(result)
    else:
        run.view.show(result)
    run.code = 0 if result.passed else 1


@task(klass=Verb)
def upgrade(
    run: Run,
    target: "Target",
    plan: Annotated[bool, "Say what would be updated, and whether it would be refused; reads only."] = False,
    yes: Annotated[bool, "End the other sessions in the database without being asked."] = False,
    verify: Annotated[
        bool, "Verify before too, and change nothing if a check fails; --no-verify does so only afterwards."
    ] = True,
    timeout: Timeout = "30",
) -> None:
    """Update TimescaleDB in the database.

    To the version that the server has installed. Verifies before and
    after. Other sessions have loaded the old version: they are ended,
    after a question. The update happens as a whole or not at all.

    Example: invoke db.upgrade --plan
    """
    from dbops.database import upgrade as core
    from dbops.database.preflight import assert_passed
    from dbops.report import text
    from dbops.settings import seconds

    if plan:
        planned = core.plan(target)
        run.view.show(planned)
        assert_passed(planned.conditions, target)
        return
    options = core.UpgradeOptions(
        timeout=seconds("--timeout", timeout),
        verify=verify,
        yes=yes,
        ask=lambda found: run.view.ask(text.upgrade_question(found)),
    )
    result = core.upgrade(
        target,
        options,
        report=run.view.event,
        announce=lambda found: run.view.header(text.upgrade_header, found, found),
    )
    run.view.show(result)


# db: look, describe, prepare


@task(klass=Verb, deadline=60, state=READS)
def status(
    run: Run,
    target: "Target",
    require_current: Annotated[
        bool, "Exit with code 1 while a migration is pending too: a gate for deployments."
    ] = False,
) -> None:
    """Show what is applied, pending, edited, renamed or removed.

    Exit code 1 if files and ledger disagree or a migration was left unfinished.

    Example: invoke db.status --env test
    """
    from dbops import migrations
    from dbops.database import existing as core
    from dbops.events import Message
    from dbops.settings import MIGRATIONS

    run.view.begin("Status of", target)
    files = migrations.discover(MIGRATIONS, allow_empty=True)
    found = core.status(target, files, report=run.view.event)
    if found.label and found.label.environment != target.environment:
        said = f"labelled {found.label.environment}, and the environment chosen is {target.environment}"
        run.view.event(Message("WARNING", said))
    run.view.show(found)
    if require_current:
        found.assert_current()
    run.code = 0 if found.consistent else 1


@task(klass=Verb)
def new(
    run: Run,
    name: Annotated[str, "What it does: a verb and an object, as in add_tickers_exchange; with --renumber a file."],
    renumber: Annotated[bool, "Give the file NAME the next number instead, as is needed after a merge."] = False,
) -> None:
    """Write the next migration file, and print its path.

    Example: invoke db.new add_tickers_exchange
    """
    from dbops import migrations
    from dbops.report.text import print_as_is
    from dbops.settings import MIGRATIONS, checkout

    checkout()
    if renumber:
        renamed = migrations.renumber(MIGRATIONS, name, released=migrations.released_names(MIGRATIONS))
        lines = [f"{old.name} -> {new.name}\n" for old, new in renamed] or [f"{name} is the last file already.\n"]
        data = [{"from": old, "to": new} for old, new in renamed]
        run.view.result(print_as_is, "".join(lines), {"renamed": data})
        return
    path = migrations.new_file(MIGRATIONS, name)
    run.view.result(print_as_is, f"{path}\n", {"path": path})


@task(klass=Verb, state=READS)
def lint(run: Run) -> None:
    """Show what lint says of the migrations.

    That is what db.migrate would refuse, what must not be done to tables
    in use, and whether released files are unchanged. Exit code 1 if
    something is found, or a linter is not installed.

    Example: invoke db.lint --format json
    """
    from dbops.lint import check
    from dbops.settings import MIGRATIONS

    result = check.check([MIGRATIONS], MIGRATIONS, partly=True)
    run.view.show(result)
    run.code = 0 if result.passed else 1


@task(klass=Verb, deadline=300, state=READS)
def drift(
    run: Run,
    target: "Target",
    build: Annotated[
        bool, "Compare with the migrations, built in a scratch database: needs the right to create databases."
    ] = False,
    against: Annotated[str, "Compare with another file than db/schema.txt that `db.fingerprint --write` wrote."] = "",
) -> None:
    """Compare the live schema with db/schema.txt, as a diff.

    Reads only. Exit code 1 on drift.

    Example: invoke db.drift --build
    """
    from dbops import migrations
    from dbops.database import schema as core
    from dbops.errors import UsageError
    from dbops.settings import MIGRATIONS, SCHEMA

    if build and against:
        raise UsageError(
            "the schema is compared with a build or with a file, not with both",
            where="--build --against",
            hint="Leave one of the two out.",
        )
    run.view.begin("Drift of", target)
    files = migrations.discover(MIGRATIONS, allow_empty=True)
    expected = None if build else Path(against) if against else SCHEMA
    result = core.drift(target, files, schema=expected, report=run.view.event)
    run.view.show(result)
    run.code = 1 if result.found else 0


@task(klass=Verb, deadline=300, state=READS)
def fingerprint(
    run: Run,
    target: "Target",
    text: Annotated[bool, "Print the canonical text that is hashed instead of its hash."] = False,
    write: Annotated[
        bool, "Write db/schema.txt from the migrations, built in a scratch database, and show what changes in it."
    ] = False,
) -> None:
    """Print one sha256 of the schema.

    The same migrations give the same one, wherever they ran. With --write it
    is that of the migrations, else of the database.

    Example: invoke db.fingerprint --write
    """
    from dbops import catalog, migrations, postgres
    from dbops.database import schema as core
    from dbops.errors import UsageError
    from dbops.report import opened
    from dbops.report import text as views
    from dbops.settings import MIGRATIONS, checkout

    if write and text:
        raise UsageError(
            "--write writes the text to db/schema.txt, and does not print it",
            where="--write --text",
            hint="Leave one of the two out.",
        )
    if write:
        path = checkout() / "db" / "schema.txt"
        new = core.new_schema(target, migrations.discover(MIGRATIONS), path, report=run.view.event)
        opened(str(path))(new.content)
        run.view.show(new)
        return
    with postgres.reader(target) as connection:
        schema = catalog.schema_text(connection)
    value = catalog.fingerprint(schema)
    data = {"database": target.database, "fingerprint": value, **({"text": schema} if text else {})}
    run.view.result(views.print_as_is, schema if text else f"{value}\n", data)


@task(klass=Verb)
def diagram(
    run: Run,
    target: "Target",
    output: Annotated[str, "File to write; default docs/schema.md of this repository."] = "",
) -> None:
    """Write docs/schema.md from the migrations.

    Builds them in a scratch database. Markdown, with an entity-relationship
    diagram and a section per table.

    Example: invoke db.diagram --output /tmp/schema.md
    """
    from dbops import migrations
    from dbops.database import schema as core
    from dbops.report import opened
    from dbops.report.text import print_as_is
    from dbops.settings import MIGRATIONS, checkout

    path = output or str(checkout() / "docs" / "schema.md")
    document = core.diagram_of(target, migrations.discover(MIGRATIONS), report=run.view.event)
    opened(path)(document)
    run.view.result(print_as_is, f"Written: {path}\n", {"output": path})


@task(klass=Verb)
def psql(run: Run, target: "Target", command: Annotated[str, "Run this SQL and end."] = "") -> None:
    """Open psql on the database.

    The password is handed over in the environment, never on the command line.

    Example: invoke db.psql --command 'SELECT count(*) FROM ohlcv'
    """
    from dbops import psql as core

    arguments, environ = core.command(target, run.environ, sql=command)
    core.check(target, ask=sys.stdin.isatty())
    os.execve(arguments[0], arguments, environ)  # noqa: S606


@task(klass=Verb, state=READS)
def wait(run: Run, target: "Target", timeout: Annotated[str, "Seconds to wait; default 60."] = "60") -> None:
    """Wait until the server and TimescaleDB are ready.

    The database need not exist.

    Example: invoke db.wait --timeout 120
    """
    from dbops.database import wait as core
    from dbops.settings import seconds

    run.view.show(core.wait(target, timeout=seconds("--timeout", timeout), report=run.view.event))


# server: the embedded one


@task(klass=Verb, name="install", state=SERVER)
def server_install(run: Run) -> None:
    """Install PostgreSQL 15 and TimescaleDB.

    From the distribution's packages where it has one of TimescaleDB (Debian 13
    and newer), on Debian 12 by building Debian's signed source. Needs root or
    sudo. A second run changes nothing.

    Example: invoke server.install
    """
    from dbops import server
    from dbops.report.text import print_as_is

    found = server.install(server.Embedded.of(run.environ), ask=sys.stdin.isatty(), report=run.view.event)
    said = f"PostgreSQL {found.version} with TimescaleDB {found.timescaledb} is installed in {found.binaries}.\n"
    run.view.result(print_as_is, said, found)


@task(klass=Verb, name="up", state=SERVER)
def server_up(
    run: Run,
    port: Annotated[
        str,
        "Listen on this loopback port too, with a generated password, from now on; `auto` chooses a free port, `none`"
        " ends it.",
    ] = "",
) -> None:
    """Start the embedded server, and say how to reach it.

    Makes its data directory first if there is none.

    Example: invoke server.up --port auto
    """
    from dbops import server
    from dbops.settings import port_number

    server.up(server.Embedded.of(run.environ), port=port_number("--port", port), report=run.view.event)
    _show_server(run)


@task(klass=Verb, name="down", state=SERVER)
def server_down(run: Run) -> None:
    """Stop the embedded server; its data stays.

    Example: invoke server.down
    """
    from dbops import server
    from dbops.report.text import print_as_is

    ran = server.down(server.Embedded.of(run.environ), report=run.view.event)
    said = "The embedded server is stopped; its data stays.\n" if ran else "The embedded server was not running.\n"
    run.view.result(print_as_is, said, {"stopped": ran})


@task(klass=Verb, name="status")
def server_status(run: Run) -> None:
    """Show whether the embedded server runs, and where.

    Exit code 0 if it runs, else 3.

    Example: invoke server.status --format json
    """
    run.code = 0 if _show_server(run) == "running" else NOT_RUNNING


@task(klass=Verb, name="logs")
def server_logs(
    run: Run,
    lines: Annotated[str, "How many lines to show; default 50."] = "50",
    follow: Annotated[bool, "Go on showing new lines until Ctrl-C."] = False,
) -> None:
    """Show the end of the embedded server's log.

    Example: invoke server.logs -f -n 100
    """
    from dbops import server
    from dbops.report import text
    from dbops.settings import positive_integer

    run.quiet = follow
    embedded = server.Embedded.of(run.environ)
    last = positive_integer("--lines", lines)
    if not follow:
        text.log_lines(server.log_lines(embedded, last), run.view)
        return
    for line in server.follow_log(embedded, last):
        text.log_lines((line,), run.view)


@task(klass=Verb, name="destroy", state=SERVER)
def server_destroy(
    run: Run,
    yes: Annotated[bool, "Do not ask; not enough where a database is prod."] = False,
    confirm: Annotated[str, "Agree to lose the prod databases of these names, separated by commas."] = "",
) -> None:
    """Remove the embedded server with all of its databases.

    Stops it and removes its data directory, after consent.

    Example: invoke server.destroy
    """
    from dbops import server
    from dbops.database import whole_server
    from dbops.report import text

    embedded = server.Embedded.of(run.environ)
    found = server.status(embedded)
    if found.size:
        whole_server.agree(
            whole_server.inspect(embedded, report=run.view.event),
            yes=yes,
            confirm=confirm,
            ask=lambda loss: run.view.ask(text.server_question(loss, found.size)),
        )
    gone = server.destroy(embedded, report=run.view.event)
    said = (
        f"Removed the embedded server in {found.directory}.\n" if gone else "There is no embedded server to remove.\n"
    )
    run.view.result(text.print_as_is, said, {"removed": gone, "directory": found.directory})


# What several verbs share


def _options(
    run: Run, timeout: str, *, yes: bool = False, confirm: str = "", check: bool = False, keep: bool = False
) -> "RebuildOptions":
    """Return what drop, create, rebuild and undo take from the command line."""
    from dbops.database.consent import Agreement
    from dbops.database.rebuild import RebuildOptions
    from dbops.report import text
    from dbops.settings import seconds

    return RebuildOptions(
        timeout=seconds("--timeout", timeout),
        check=check,
        keep=keep,
        agreement=Agreement(
            yes=yes,
            confirm=confirm,
            ask=(lambda found, _: run.view.ask(text.question(found))) if run.view.can_ask else None,
        ),
    )


def _show_server(run: Run) -> str:
    """Print what there is of the embedded server and return its state."""
    from dbops import server
    from dbops.report import json, text
    from dbops.settings import choose_environment

    found = server.status(server.Embedded.of(run.environ))
    url = found.address.url(f"kapman_{choose_environment(run.environ)}") if found.address else ""
    run.view.result(text.server_status, json.server_status(found, url))
    return found.state


db = Collection(
    "db",
    rebuild,
    undo,
    drop,
    create,
    migrate,
    upgrade,
    verify,
    status,
    new,
    lint,
    drift,
    fingerprint,
    diagram,
    psql,
    wait,
)
server = Collection("server", server_install, server_up, server_down, server_status, server_logs, server_destroy)
namespace = Collection(db, server)
for name, verb in verbs(namespace):
    verb.known_as = name
# Another project's tasks.py imports the collections from dbops.tasks, and has words of its own.
if __name__ == "tasks":
    cli.prepare(namespace)
