"""The look of results: at any width, in a pipe, without colours."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from dbops import report
from dbops.catalog.drift import Drift, ObjectDrift, compare_texts
from dbops.database.consent import required
from dbops.database.existing import Rehearsal, Trial
from dbops.database.inspection import Impact
from dbops.database.rebuild import RebuildPlan
from dbops.database.upgrade import UpgradePlan
from dbops.database.wait import Ready
from dbops.errors import Location, MigrationError, count
from dbops.events import Progress, StepFinished, StepStarted
from dbops.migrations.ledger import Entry, LedgerStatus, compare
from dbops.migrations.rehearsal import MeasuredMigration, MeasuredStatement
from dbops.migrations.run import MigrationPlan, MigrationResult, PlannedMigration
from dbops.migrations.session import AppliedMigration
from dbops.postgres import Session
from dbops.report import text
from dbops.verification import Check, Verification
from tests.support.inspections import inspection
from tests.support.migration_files import written

NAMES = [f"{number:04}_create_a_table_with_a_rather_long_name" for number in range(1, 4)]
APPLIED = tuple(AppliedMigration(number, name, 3, 0.25 * number) for number, name in enumerate(NAMES, 1))
PLANNED = tuple(
    PlannedMigration(number, name, "p", 12345 * number, 12, "ACCESS EXCLUSIVE on " + "t, " * 30, "5s", "0", 1)
    for number, name in enumerate(NAMES, 1)
)
ENTRIES = tuple(
    Entry(number, name, "0" * 64, datetime(2026, 1, 2, tzinfo=UTC), "a_role_with_a_long_name", 10**number, "1.0")
    for number, name in enumerate(NAMES, 1)
)
DRAWINGS = {
    "migrated": lambda console: text.migration_result(MigrationResult("d", APPLIED, 1, 0, 1, 0, False, 0.5), console),
    "plan": lambda console: text.migration_plan(MigrationPlan("d", "s", 0, PLANNED, 0, 1), console),
    "status": lambda console: text.ledger_status(LedgerStatus("d", "s", "PG", True, "", compare((), ENTRIES)), console),
    "verification": lambda console: text.verification(
        Verification((Check("structure/a.sql", "table t", False, "x " * 60, "y"),), 0.1), console
    ),
    "drift": lambda console: text.drift(
        Drift("d on s", "a fresh build", (ObjectDrift("table t", "changed", ("-    a", "+    b")),), "0", "1"), console
    ),
}


def drawn(name: str, width: int, **options: bool) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False, **options)  # type: ignore[arg-type]
    with console.capture() as capture:
        DRAWINGS[name](console)
    return capture.get()


def printed(draw: Callable[[Console], None]) -> list[str]:
    return text.drawn(draw).splitlines()


def words(drawing: str) -> str:
    return re.sub(r"\s", "", re.sub(r"\x1b\[[0-9;]*m", "", drawing))


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("width", [80, 160])
def test_result_fits_the_terminal_and_ends_no_line_with_spaces(name: str, width: int) -> None:
    lines = drawn(name, width).splitlines()
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("name", DRAWINGS)
def test_result_in_a_pipe_has_each_fact_in_one_line(name: str) -> None:
    lines = drawn(name, text.UNLIMITED).splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert not [line for line in lines if line.startswith(" " * 12)]


@pytest.mark.parametrize("name", DRAWINGS)
def test_narrow_terminal_cuts_nothing_without_an_ellipsis(name: str) -> None:
    narrow, whole = drawn(name, 40), drawn(name, 80)
    assert "…" not in whole
    if "…" not in narrow:
        assert not Counter(words(whole)) - Counter(words(narrow))
    for cut in re.findall(r"([\w.:-]*)…", narrow):
        assert any(word.startswith(cut) for word in re.findall(r"[\w.:-]+", whole))


@pytest.mark.parametrize("name", DRAWINGS)
def test_colours_say_nothing_that_words_do_not_say(name: str) -> None:
    coloured = drawn(name, 120, force_terminal=True)
    assert "\x1b[" in coloured
    assert words(coloured) == words(drawn(name, 120, force_terminal=True, no_color=True)) == words(drawn(name, 120))


@pytest.mark.parametrize("width", [40, 50, 80, 120])
def test_command_in_backquotes_stays_in_one_line(width: int) -> None:
    for name in DRAWINGS:
        for line in drawn(name, width).splitlines():
            assert line.count("`") % 2 == 0


@pytest.mark.parametrize("environment", ["dev", "prod"])
@pytest.mark.parametrize("keep", [False, True])
def test_header_of_a_rebuild_is_four_lines(tmp_path: Path, environment: str, keep: bool) -> None:
    found = inspection(environment)
    files = written(tmp_path, *(f"SELECT {number};" for number in range(12)))
    planned = RebuildPlan(datetime(2026, 1, 2, tzinfo=UTC), found, (), required(found), files, (), None, keep)
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as capture:
        text.rebuild_plan_header(planned, console)
    lines = capture.get().splitlines()
    assert [line.split()[0] for line in lines] == ["Rebuild", "engine", "migrations", "impact"]
    assert lines[1].endswith(f"; role {found.server.role}")
    assert lines[2].startswith("  migrations   12, from 0001 to 0012")


@pytest.mark.parametrize(
    ("impact", "says"), [(Impact(), []), (Impact("public.t", seen=True), ["consent", "--yes,", "--confirm"])]
)
def test_plan_of_a_rebuild_says_which_consent_it_needs(tmp_path: Path, impact: Impact, says: list[str]) -> None:
    found = inspection(impact=impact)
    files = written(tmp_path, "SELECT 1;")
    planned = RebuildPlan(datetime(2026, 1, 2, tzinfo=UTC), found, (), required(found), files, (), None, False)
    lines = printed(lambda console: text.rebuild_plan(planned, console))
    assert [word for line in lines if line.startswith("  consent") for word in line.split()][:3] == says


def test_error_on_a_terminal_is_wrapped_between_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    excerpt = Location("db/migrations/0003_create_ohlcv.sql", 14, 11, "    open numeric,")
    hint = "Nothing was applied to the database. Fix the file, and then run the command `invoke db.migrate` again."
    error = MigrationError("x " * 50 + "y", where="d", hint=hint, location=excerpt, notes=(("z " * 50).strip(),))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    report.view("text", "INFO").error(error)
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err)
    assert max(map(len, said.splitlines())) <= 80
    assert excerpt.excerpt() in said
    assert "`invoke db.migrate`" in said
    assert words(said) == words(error.render())
    monkeypatch.delenv("FORCE_COLOR")
    report.view("text", "INFO").error(error)
    assert capsys.readouterr().err == error.render() + "\n"


def test_drift_of_a_database_without_migrations_says_that_and_nothing_else() -> None:
    objects = tuple(
        ObjectDrift(name, "missing", (f"-{name}",)) for name in ("table dbops.schema_migrations", "table public.t")
    )
    assert printed(lambda console: text.drift(Drift("d", "a fresh build", objects, "0", "1", empty=True), console)) == [
        "  FAIL    none of 2 objects exists: no migration has been applied",
        "  next    correct the name in DATABASE_URL, or apply the migrations with `invoke db.migrate`",
    ]


def test_drift_of_a_database_that_lost_its_ledger_shows_what_is_missing() -> None:
    kept = "extension plpgsql\n\nschema public\n"
    ledger = "table dbops.schema_migrations\n    column version: integer\n"
    assert compare_texts("d", "a build", f"{kept}\n{ledger}", kept).empty
    found = compare_texts("d", "a build", f"{kept}\n{ledger}\ntable public.t\n", f"{kept}\ntable public.t\n")
    lines = printed(lambda console: text.drift(found, console))
    assert "missing table dbops.schema_migrations" in lines
    assert not any("no migration has been applied" in line for line in lines)


def test_rehearsed_statements_that_lock_nothing_are_one_line() -> None:
    free = MeasuredStatement("CREATE TABLE public.s ()", 1, 0.1, {}, (), ())
    locking = MeasuredStatement("ALTER TABLE public.t", 9, 0.002, {"public.t": "SHARE"}, (), ("public.t",))
    measured = MeasuredMigration(1, NAMES[0], "p", "", "", "", (free, free, locking))
    assert printed(lambda console: text.rehearsal(Rehearsal((measured,)), console)) == [
        "  file:line  locks on existing tables   ms",
        "  0001:9     SHARE on public.t         2.0",
        "               scans public.t",
        "  info    2 statements lock no existing table",
        "  ok      1 pending migration measured in a scratch database",
    ]


def test_rehearsal_of_nothing_says_that_nothing_is_pending() -> None:
    assert printed(lambda console: text.rehearsal(Rehearsal(()), console)) == [
        "  ok      no migration is pending: nothing was measured"
    ]


def test_state_of_a_check_file_stays_in_its_column_on_a_narrow_terminal() -> None:
    assert "  FAIL    structure/a.sql  0\n          passed, 1 failed\n          0.0 ms\n" in drawn("verification", 30)


def test_advice_after_a_check_names_the_next_step_only() -> None:
    result = MigrationResult("d", APPLIED, 0, 3, 1, 0, True, 0.5)
    found = Trial(MigrationPlan("d", "s", 0, PLANNED, 0, 1), result)
    advice = [line for line in printed(lambda console: text.trial(found, console)) if line.startswith("  next")]
    assert advice == ["  next    `invoke db.migrate` applies it"]


@pytest.mark.parametrize(("pending", "advice"), [(0, ["  next    `invoke db.verify` checks the schema"]), (1, [])])
def test_schema_is_to_be_verified_where_nothing_is_pending_any_more(pending: int, advice: list[str]) -> None:
    result = MigrationResult("d", APPLIED, 0, pending, 1, 0, False, 0.5)
    said = printed(lambda console: text.migration_result(result, console))
    assert [line for line in said if line.startswith("  next")] == advice


def test_numbers_are_aligned_right() -> None:
    ends = {
        line.index(ms) + len(ms) for line in drawn("status", 160).splitlines() for ms in re.findall(r" 10+|1,000", line)
    }
    assert len(ends) == 1


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 checks"), (1, "1 check"), (2, "2 checks"), (1000, "1,000 checks")]
)
def test_what_is_counted_is_singular_or_plural(number: int, words: str) -> None:
    assert count(number, "check") == words


@pytest.mark.parametrize("variables", [{}, {"TERM": "dumb"}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1", "COLUMNS": "200"}])
def test_steps_are_the_same_facts_on_any_terminal(
    variables: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with report.view("text", "INFO") as view:
        view.event(StepStarted("migrate", "", 2))
        view.event(Progress("migrate", 1, "0002_x"))
        view.event(StepFinished("migrate", "2 applied", 0.5))
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", capsys.readouterr().err)
    assert "  ok      migrate   2 applied  0.50 s" in said.splitlines()


def test_step_without_an_estimate_shows_the_time_so_far(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "HEARTBEAT_SECONDS", 0.02)
    with report.view("text", "INFO") as view:
        view.event(StepStarted("migrate", "", 10))
        while "..." not in (said := capsys.readouterr().err):
            pass
    assert re.search(r"migrate   0 of 10, 0 s so far$", said, re.MULTILINE)
    assert "to go" not in said


def test_live_line_counts_gives_no_estimate_in_the_first_seconds_and_is_erased(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    said = ""
    with report.view("text", "INFO") as view:
        view.event(StepStarted("migrate", "", 10))
        view.event(Progress("migrate", 5, "0006_x"))
        while "5 of 10" not in said:
            said += capsys.readouterr().err
        view.event(StepFinished("migrate", "10 applied", 0.5))
    said += capsys.readouterr().err
    erased = said.rpartition("5 of 10")[2].partition("10 applied")[0]
    assert "\x1b[2K" in erased
    assert re.search(r"5 of 10, [0-4] s so far, 0006_x", said)
    assert "to go" not in said


@pytest.mark.parametrize(("after", "ends"), [("2.19.3", False), ("2.20.0", True)])
def test_sessions_are_to_be_ended_only_where_something_is_to_be_updated(after: str, ends: bool) -> None:
    session = Session(7, "app", "psql", "local", "idle", "2026-01-02", "", True)
    found = UpgradePlan("d", "s", "dev", "2.19.3", after, (session,), ())
    assert any("to be ended" in line for line in printed(lambda console: text.upgrade_plan(found, console))) == ends


def test_times_for_machines_are_in_milliseconds(capsys: pytest.CaptureFixture[str]) -> None:
    with report.view("json", "INFO") as view:
        view.event(StepFinished("migrate", "", 0.123456))
        view.show(Ready("s", "15", "2.19", 1.0004))
    out, err = capsys.readouterr()
    assert json.loads(err)["seconds"] == 0.123
    assert json.loads(out)["seconds"] == 1.0


def test_check_of_no_migration_advises_nothing() -> None:
    found = Trial(MigrationPlan("d", "s", 6, (), 0, 0), MigrationResult("d", (), 6, 0, 0, 0, True, 0.0))
    assert printed(lambda console: text.trial(found, console)) == [
        "  ok      d: nothing to apply, 6 applied before, 0 pending"
    ]
