"""Tasks that drop, create and rebuild a database, wait for its server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.runner import Run, operation

if TYPE_CHECKING:
    from dbops.lifecycle import Stakes
    from dbops.rebuild import Options

YES = "Agree to lose the rows in it, without being asked; not enough in prod."
CONFIRM = "Agree to lose the rows in the database of this name; the only way in prod."
TIMEOUT = "Seconds to wait for other operators, and for sessions to end; default 30."


@operation(
    plan="Look at everything that could go wrong, say what would happen, and change nothing.",
    yes=YES,
    confirm=CONFIRM,
    rehearsal="Build in a scratch database first when rows are at stake; --no-rehearsal leaves that out.",
    repeat="Rebuild this many times, and fail if two fingerprints differ; default 1.",
    timeout=TIMEOUT,
)
def rebuild(
    run: Run,
    plan: bool = False,
    yes: bool = False,
    confirm: str = "",
    rehearsal: bool = True,
    repeat: str = "1",
    timeout: str = "30",
) -> None:
    """Drop, create, migrate and verify the database; one summary.

    Asks only if there are rows to lose. Whatever can fail is tried before anything is dropped.
    """
    from dbops import rebuild as core
    from dbops.report import lifecycle as views
    from dbops.settings import whole_number

    options = _options(run, yes, confirm, timeout, rehearse=rehearsal)
    if plan:
        planned = core.plan(run.target, options, report=run.view.event)
        run.view.result(lambda console: views.plan_text(planned, console), views.plan_data(planned))
        planned.assert_possible(run.target)
        return
    results = core.repeat(
        run.target,
        options,
        whole_number("--repeat", repeat),
        report=run.view.event,
        announce=lambda found: run.view.header(lambda console: views.header(found, console), views.plan_data(found)),
    )
    run.view.result(lambda console: views.rebuilt(results, console), views.rebuilt_data(results))


@operation(yes=YES, confirm=CONFIRM, timeout=TIMEOUT)
def drop(run: Run, yes: bool = False, confirm: str = "", timeout: str = "30") -> None:
    """Drop the database, ending every session in it; its properties are kept for `db.create`.

    Asks only if there are rows to lose.
    """
    from dbops import rebuild as core
    from dbops.report import lifecycle as views

    result = core.drop(
        run.target,
        _options(run, yes, confirm, timeout),
        report=run.view.event,
        announce=lambda found: run.view.header(lambda console: views.stakes(found, console), views.stakes_data(found)),
    )
    run.view.result(lambda console: views.dropped(result, console), result)


@operation(timeout=TIMEOUT)
def create(run: Run, timeout: str = "30") -> None:
    """Create the empty database, with the properties that it had before it was dropped, unless it is there."""
    from dbops import rebuild as core
    from dbops.report import lifecycle as views

    result = core.create(run.target, _options(run, False, "", timeout), report=run.view.event)
    run.view.result(lambda console: views.created(result, console), result)


@operation(timeout="Seconds to wait; default 60.")
def wait(run: Run, timeout: str = "60") -> None:
    """Wait until the server accepts connections and TimescaleDB can be loaded; no database needs to be there."""
    from dbops import wait as core
    from dbops.report import lifecycle as views
    from dbops.settings import seconds

    found = core.wait(run.target, timeout=seconds("--timeout", timeout), report=run.view.event)
    run.view.result(lambda console: views.ready(found, console), found)


def _options(run: Run, yes: bool, confirm: str, timeout: str, *, rehearse: bool = True) -> Options:
    """Return what all of these take from the command line."""
    from dbops.rebuild import Options
    from dbops.report import lifecycle as views
    from dbops.settings import seconds

    def ask(found: Stakes) -> str | None:
        return run.view.ask(views.question(found))

    settings = run.settings
    return Options(
        migrations=settings.migrations,
        verify=settings.verify,
        state=settings.state,
        timeout=seconds("--timeout", timeout),
        rehearse=rehearse,
        yes=yes,
        confirm=confirm,
        ask=ask,
    )
