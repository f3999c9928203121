"""Every verb of `invoke`: `invoke --list` shows them, `invoke --help db.rebuild` explains one.

A verb has the core (package dbops) do what its options say, and hands the result to the view. `dbops/verb.py` adds what
all verbs have: --format and --log-level; --url and --env where a verb takes a `target`; progress, errors, signals, exit
code. Nothing heavy is imported before a verb runs.
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

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from invoke.collection import Collection
from invoke.tasks import task

from dbops import cli
from dbops.verb import Run, Verb, verbs

if TYPE_CHECKING:
    from dbops.settings import Target

NOT_RUNNING = 3
SERVER = "the task did not finish; `invoke server.status` shows how things stand, and the same task goes on from there."
READS = "nothing was changed: the task only reads."

Plan = Annotated[bool, "Check what could go wrong, and say what would happen; only reads."]
Keep = Annotated[bool, "Keep the database that is replaced, closed; db.undo puts it back."]
Yes = Annotated[bool, "Agree to lose the rows in it, without being asked; not enough in prod."]
Confirm = Annotated[str, "Agree to lose the rows in the database of this name; the only way in prod."]
Timeout = Annotated[
    float, "Seconds to wait for other operators, for locks, and for sessions to end; default 30.", "seconds"
]


# db: the four steps, alone and as one


@task(klass=Verb, makes_server=True, apart={"plan": "check yes confirm repeat", "check": "yes confirm"})
def rebuild(
    run: Run,
    target: "Target",
    plan: Plan = False,
    check: Annotated[
        bool, "Build and verify the new database beside, say what a rebuild would lose, and drop it again."
    ] = False,
    keep: Keep = False,
    yes: Yes = False,
    confirm: Confirm = "",
    repeat: Annotated[
        int, "Rebuild this many times, and fail if two fingerprints differ; default 1.", "positive_integer"
    ] = 1,
    timeout: Timeout = 30,
) -> None:
    """Build a new database, verify it, swap it in.

    Nothing is taken away before the new database is verified. Asks only if
    something would be lost; the old database is dropped last.

    Example: invoke db.rebuild --plan
    """
    from dbops.database import consent, preflight, rebuild

    agreement = consent.Agreement(yes, confirm, run.ask)
    options = rebuild.RebuildOptions(timeout=timeout, check=check, keep=keep, agreement=agreement)
    if plan:
        planned = rebuild.plan(target, options)
        run.show(planned)
        preflight.assert_passed(planned.conditions, target)
    else:
        run.show(rebuild.repeat(target, options, repeat, report=run.report))


@task(klass=Verb)
def undo(
    run: Run,
    target: "Target",
    restored: Annotated[
        str, "Put the database of this name in place instead, as a backup that was restored beside."
    ] = "",
    keep: Keep = False,
    yes: Yes = False,
    confirm: Confirm = "",
    timeout: Timeout = 30,
) -> None:
    """Put the database back that a rebuild kept.

    Or one that was restored beside, which gets the present one's owner,
    privileges and settings. Asks before rows or objects of the present
    database are lost.

    Example: invoke db.undo --keep
    """
    from dbops.database import consent, rebuild

    options = rebuild.RebuildOptions(timeout=timeout, keep=keep, agreement=consent.Agreement(yes, confirm, run.ask))
    run.show(rebuild.undo(target, options, restored=restored, report=run.report))


@task(klass=Verb, apart={"forget": "kept"})
def drop(
    run: Run,
    target: "Target",
    yes: Yes = False,
    confirm: Confirm = "",
    forget: Annotated[
        bool, "Leave nothing behind: lose owner, privileges, settings and comment of the database too."
    ] = False,
    kept: Annotated[bool, "Drop the database that db.rebuild --keep kept, not the present one."] = False,
    timeout: Timeout = 30,
) -> None:
    """Drop the database; its properties are kept for db.create.

    An empty, closed database keeps them until then. Ends every session in the
    database that is dropped. Asks only if data would be lost.

    Example: invoke db.drop --url postgresql://owner@localhost/kapman_dev
    """
    from dbops.database import consent, rebuild

    options = rebuild.RebuildOptions(timeout=timeout, agreement=consent.Agreement(yes, confirm, run.ask))
    if kept:
        run.show(rebuild.drop_kept(target, options, report=run.report))
    else:
        run.show(rebuild.drop(target, options, forget=forget, report=run.report))


@task(klass=Verb, begins="Create", makes_server=True)
def create(run: Run, target: "Target", timeout: Timeout = 30) -> None:
    """Create the empty database, unless it exists.

    It gets the properties that the database had before it was dropped: owner,
    privileges, settings and the rest.

    Example: invoke db.create --env test
    """
    from dbops.database import rebuild

    run.show(rebuild.create(target, rebuild.RebuildOptions(timeout=timeout), report=run.report))


@task(
    klass=Verb,
    begins="Migrate",
    apart={
        "plan": "lock_budget verify confirm",
        "rehearse": "plan check lock_timeout lock_budget statement_timeout commit verify confirm timeout",
    },
)
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
    to: Annotated[int | None, "Last migration to apply, as in 0007.", "version"] = None,
    lock_timeout: Annotated[
        str,
        "How long an attempt waits for locks before letting others pass, as in 2s; overrides headers; default 1s.",
        "duration",
    ] = "",
    lock_budget: Annotated[
        str,
        "How long to go on trying to acquire locks, as in 30min; overrides the files' headers; default 5min.",
        "duration",
    ] = "",
    statement_timeout: Annotated[
        str,
        "How long one statement may take, as in 10min; overrides the files' headers; default no limit.",
        "duration",
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
        float,
        "Seconds to wait for another operator, or another migration, of the same database; default 60.",
        "seconds",
    ] = 60,
) -> None:
    """Apply pending migrations, all or nothing.

    Files and ledger rows commit together. Edited, renamed, removed or skipped
    files stop it before anything runs. `--plan --format json` prints the plan
    for machines; `--check` takes the locks that it would take.

    Example: invoke db.migrate --plan --check
    """
    from dbops.database import existing
    from dbops.migrations import rehearsal
    from dbops.migrations import run as runner
    from dbops.migrations.files import discover
    from dbops.migrations.options import MigrationOptions

    files = discover()
    if rehearse:
        measured = existing.rehearse(target, files, to=to, report=run.report)
        run.show(measured)
        rehearsal.assert_declared(measured.migrations)
        return
    options = MigrationOptions(
        to=to,
        lock_timeout=lock_timeout,
        lock_budget=lock_budget,
        statement_timeout=statement_timeout,
        commit=commit,
        patience=timeout,
    )
    if check:
        run.show(existing.try_out(target, files, options, verify=verify, confirm=confirm, report=run.report))
    elif plan:
        run.show(runner.plan(target, files, options))
    else:
        run.show(existing.migrate(target, files, options, verify=verify, confirm=confirm, report=run.report))


@task(
    klass=Verb,
    begins="Verify",
    formats=("text", "json", "junit"),
    alone="list",
    apart={"list": "timeout"},
    deadline=300,
    state=READS,
)
def verify(
    run: Run,
    target: "Target",
    empty: Annotated[bool, "Also run the baseline suite: no row anywhere, and nothing left uncounted."] = False,
    only: Annotated[
        tuple[str, ...],
        "Run only the check files of these names, separated by commas; --list shows them; schema is the comparison.",
        "names",
    ] = (),
    list: Annotated[bool, "Show the check files instead of running them."] = False,
    output: Annotated[str, "Write the result to this file too, in the chosen format."] = "",
) -> None:
    """Check that the schema is what it should be.

    Runs the check files of db/verify, and compares each object with
    db/schema.txt. Reads only, waits for no lock. Exit code 1 if a check fails.

    Example: invoke db.verify --format junit --output report.xml
    """
    from dbops import report
    from dbops.database import schema
    from dbops.migrations.files import discover

    write = report.opened(output) if output else None
    if list:
        run.show(schema.list_checks(baseline=empty, only=only), write=write)
        return
    files = discover(allow_empty=True)
    found = schema.verify(target, files, baseline=empty, only=only, report=run.report)
    run.show(found, passed=found.passed, write=write)


@task(klass=Verb, apart={"plan": "yes verify"})
def upgrade(
    run: Run,
    target: "Target",
    plan: Annotated[bool, "Say what would be updated, and whether it would be refused; reads only."] = False,
    yes: Annotated[bool, "End the other sessions in the database without being asked."] = False,
    verify: Annotated[
        bool, "Verify before too, and change nothing if a check fails; --no-verify does so only afterwards."
    ] = True,
    timeout: Timeout = 30,
) -> None:
    """Update TimescaleDB in the database.

    To the version that the server has installed. Verifies before and
    after. Other sessions have loaded the old version: they are ended,
    after a question. The update happens as a whole or not at all.

    Example: invoke db.upgrade --plan
    """
    from dbops.database import preflight, upgrade

    if plan:
        planned = upgrade.plan(target)
        run.show(planned)
        preflight.assert_passed(planned.conditions, target)
    else:
        options = upgrade.UpgradeOptions(timeout=timeout, verify=verify, yes=yes, ask=run.ask)
        run.show(upgrade.upgrade(target, options, report=run.report))


# db: look, describe, prepare


@task(klass=Verb, begins="Status of", deadline=60, state=READS)
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
    from dbops.database import status
    from dbops.migrations.files import discover

    found = status.status(target, discover(allow_empty=True), report=run.report)
    run.show(found, passed=found.consistent)
    if require_current:
        found.assert_current()


@task(klass=Verb)
def new(
    run: Run,
    name: Annotated[str, "What it does: a verb and an object, as in add_tickers_exchange; with --renumber a file."],
    renumber: Annotated[bool, "Give the file NAME the next number instead, as is needed after a merge."] = False,
) -> None:
    """Write the next migration file, and print its path.

    Example: invoke db.new add_tickers_exchange
    """
    from dbops.migrations import files, released
    from dbops.settings import MIGRATIONS, checkout

    checkout()
    if renumber:
        run.show(files.renumber(MIGRATIONS, name, released=released.released_names(MIGRATIONS)))
    else:
        run.show(files.new_file(MIGRATIONS, name))


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

    found = check.lint([MIGRATIONS], MIGRATIONS, partly=True)
    run.show(found, passed=found.passed)


@task(klass=Verb, begins="Drift of", apart={"build": "against timeout"}, deadline=300, state=READS)
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
    from dbops.database import schema
    from dbops.migrations.files import discover
    from dbops.settings import SCHEMA

    expected = None if build else Path(against) if against else SCHEMA
    files = discover(allow_empty=True)
    found = schema.drift(target, files, schema=expected, report=run.report)
    run.show(found, passed=not found.found)


@task(klass=Verb, apart={"write": "text timeout"}, deadline=300, state=READS)
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
    from dbops import report
    from dbops.database import schema
    from dbops.migrations.files import discover
    from dbops.settings import checkout

    if write:
        path = checkout() / "db" / "schema.txt"
        built = schema.new_schema(target, discover(), path, report=run.report)
        report.opened(str(path))(built.content)
        run.show(built)
    else:
        run.show(schema.fingerprint(target, with_text=text))


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
    from dbops import report
    from dbops.database import schema
    from dbops.migrations.files import discover
    from dbops.settings import checkout

    path = output or str(checkout() / "docs" / "schema.md")
    built = schema.diagram(target, discover(), path, report=run.report)
    report.opened(path)(built.content)
    run.show(built)


@task(klass=Verb, state=READS)
def psql(run: Run, target: "Target", command: Annotated[str, "Run this SQL and end."] = "") -> None:
    """Open psql on the database.

    The password is handed over in the environment, never on the command line.

    Example: invoke db.psql --command 'SELECT count(*) FROM ohlcv'
    """
    from dbops import psql

    arguments, environ = psql.command(target, run.environ, sql=command)
    psql.check(target, ask=sys.stdin.isatty())
    run.code = run.view.github.run(arguments, environ, last=run.last)


@task(klass=Verb, state=READS)
def wait(run: Run, target: "Target", timeout: Annotated[float, "Seconds to wait; default 60.", "seconds"] = 60) -> None:
    """Wait until the server and TimescaleDB are ready.

    The database need not exist.

    Example: invoke db.wait --timeout 120
    """
    from dbops.database import wait

    run.show(wait.wait(target, timeout=timeout, report=run.report))


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

    run.show(server.install(server.Embedded.of(run.environ), ask=sys.stdin.isatty(), report=run.report))


@task(klass=Verb, name="up", state=SERVER)
def server_up(
    run: Run,
    port: Annotated[
        int | None,
        "Listen on this loopback port too, with a generated password, from now on; `auto` chooses a free port, `none`"
        " ends it.",
        "port_number",
    ] = None,
) -> None:
    """Start the embedded server, and say how to reach it.

    Makes its data directory first if there is none.

    Example: invoke server.up --port auto
    """
    from dbops import server
    from dbops.settings import default_database

    embedded = server.Embedded.of(run.environ)
    server.up(embedded, port=port, report=run.report)
    run.show(server.status(embedded, default_database(run.environ)))


@task(klass=Verb, name="down", state=SERVER)
def server_down(run: Run) -> None:
    """Stop the embedded server; its data stays.

    Example: invoke server.down
    """
    from dbops import server

    run.show(server.down(server.Embedded.of(run.environ), report=run.report))


@task(klass=Verb, name="status", state=READS)
def server_status(run: Run) -> None:
    """Show whether the embedded server runs, and where.

    Exit code 0 if it runs, else 3.

    Example: invoke server.status --format json
    """
    from dbops import server
    from dbops.settings import default_database

    found = server.status(server.Embedded.of(run.environ), default_database(run.environ))
    run.show(found)
    run.code = 0 if found.running else NOT_RUNNING


@task(klass=Verb, name="logs", state=READS)
def server_logs(
    run: Run,
    lines: Annotated[int, "How many lines to show; default 50.", "positive_integer"] = 50,
    follow: Annotated[bool, "Go on showing new lines until Ctrl-C."] = False,
) -> None:
    """Show the end of the embedded server's log.

    Example: invoke server.logs -f -n 100
    """
    from dbops import server

    embedded = server.Embedded.of(run.environ)
    run.quiet = follow
    if not follow:
        run.show(server.log_lines(embedded, lines))
        return
    for added in server.follow_log(embedded, lines):
        run.show(added)


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
    from dbops.database import consent, whole_server

    agreement = consent.Agreement(yes, confirm, run.ask)
    run.show(whole_server.destroy(server.Embedded.of(run.environ), agreement, report=run.report))


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
