"""Tasks that apply migrations, show what is applied, start a new one."""

from __future__ import annotations

from typing import Any

from tasks.runner import Run, ServerRun, operation, server_operation


@operation(
    plan="Print what would run, and run nothing.",
    check="Print what would run, apply it on the target itself, and roll it back.",
    to="Last migration to apply, as in 0007.",
    lock_timeout="How long to wait for a lock before trying again, as in 2s; overrides the files' headers; default 5s.",
    statement_timeout="How long one statement may take, as in 10min; overrides the files' headers; default no limit.",
    timeout="Seconds to wait for another operator, or another migration, of the same database; default 60.",
)
def migrate(
    run: Run,
    plan: bool = False,
    check: bool = False,
    to: str = "",
    lock_timeout: str = "",
    statement_timeout: str = "",
    timeout: str = "60",
) -> int:
    """Apply pending migrations, all or nothing.

    Files and ledger rows commit together. Edited, renamed, removed or skipped files stop it before anything
    runs. `--plan --format json` prints the plan for machines; `--check` takes the locks that it would take.
    """
    from dbops import migrations, rebuild
    from dbops.report import migrations as views
    from dbops.settings import seconds

    patience = seconds("--timeout", timeout)
    found = migrations.discover(run.settings.migrations)
    limits: dict[str, Any] = {
        "to": migrations.version_of(to),
        "lock_timeout": lock_timeout,
        "statement_timeout": statement_timeout,
    }
    if not plan and not check:
        result = rebuild.migrate(run.target, found, **limits, timeout=patience, report=run.view.event)
        run.view.result(lambda console: views.result_text(result, console), result)
        return 0
    planned = migrations.plan(run.target, found, **limits)
    if not check:
        run.view.result(lambda console: views.plan_text(planned, console), planned)
        return 0
    tried = rebuild.migrate(run.target, found, **limits, check=True, timeout=patience, report=run.view.event)
    run.view.result(lambda console: views.check_text(planned, tried, console), {"plan": planned, "result": tried})
    return 0


@operation()
def status(run: Run) -> int:
    """Show the server, the extension and every migration: applied, pending, edited, renamed, removed.

    Exit code 1 if files and ledger disagree or a migration was left unfinished.
    """
    from dbops import migrations, rebuild
    from dbops.report import migrations as views

    rebuild.warn_of_fence(run.target, run.view.event)
    found = migrations.status(run.target, migrations.discover(run.settings.migrations))
    run.view.result(lambda console: views.status_text(found, console), found)
    return 0 if found.consistent else 1


@server_operation(name="What it does: a verb and an object, as in add_tickers_exchange.")
def new(run: ServerRun, name: str) -> int:
    """Write the next migration, with a header to fill in, and print its path."""
    from dbops import migrations
    from dbops.settings import ROOT

    path = migrations.new_file(ROOT / "db" / "migrations", name)
    run.view.result(lambda console: console.print(str(path), soft_wrap=True), {"path": path})
    return 0
