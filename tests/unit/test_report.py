import inspect
import json
import sys
import time
from pathlib import Path

import pytest

from dbops import report
from dbops.errors import Location, UsageError
from dbops.events import Began, Event, Message, Progress, StatementFinished, StepFinished, StepStarted
from dbops.migrations.files import NewFile
from dbops.report import text
from dbops.verification import Verification

EVENTS: list[Event] = [
    StepStarted("migrate", "6 pending", 6),
    Progress("migrate", 1, "0002_create_tickers"),
    Message("WARNING", "[bold]odd[/bold]", "0002.sql"),
    StatementFinished("SELECT\n  1", 0.002),
    StepFinished("migrate", "6 applied", 0.5),
]


def play(output_format: str, log_level: str = "INFO") -> None:
    with report.view(output_format, log_level) as view:
        for event in EVENTS:
            view.event(event)
        view.show(NewFile(Path("done [1]")))


def test_text_view_prints_results_on_stdout_and_the_rest_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    play("text")
    out, err = capsys.readouterr()
    assert out == "done [1]\n"
    assert err.splitlines() == ["  warning 0002.sql: [bold]odd[/bold]", "  ok      migrate   6 applied  0.50 s"]


def test_debug_level_shows_statements_with_their_time(capsys: pytest.CaptureFixture[str]) -> None:
    play("text", "DEBUG")
    assert "sql     2.0 ms    SELECT 1" in capsys.readouterr().err


def test_json_view_prints_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    play("json", "DEBUG")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"path": "done [1]"}
    lines = [json.loads(line) for line in err.splitlines()]
    assert [line["event"] for line in lines] == [
        "step_started",
        "progress",
        "message",
        "statement",
        "step_finished",
    ]
    assert lines[0]["total"] == 6


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_warning_level_hides_progress(capsys: pytest.CaptureFixture[str], output_format: str) -> None:
    play(output_format, "WARNING")
    assert "applied" not in capsys.readouterr().err


def test_long_step_shows_a_heartbeat_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "HEARTBEAT_SECONDS", 0.02)
    with report.view("text", "INFO") as view:
        view.event(StepStarted("migrate", "", 10))
        view.event(Progress("migrate", 5, "0006_x"))
        time.sleep(0.2)
    assert "...     migrate   5 of 10, 0006_x, 0 s so far, about 0 s to go" in capsys.readouterr().err


def test_heartbeat_waits_while_something_else_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "HEARTBEAT_SECONDS", 0.3)
    with report.view("text", "INFO") as view:
        view.event(StepStarted("migrate", ""))
        for _ in range(10):
            view.event(Message("INFO", "running"))
            time.sleep(0.05)
        said = capsys.readouterr().err
        deadline = time.monotonic() + 5
        while "..." not in (more := capsys.readouterr().err) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert (said.count("..."), more.count("...")) == (0, 1)


def test_step_that_is_the_task_and_its_target_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with report.view("text", "INFO") as view:
        view.event(Began("Verify", "d", "h:1", "dev"))
        view.event(Message("INFO", "looking", "d on h:1"))
        view.event(Message("INFO", "looking", "e on h:1"))
        view.event(StepFinished("migrate", "1 applied", 0.5))
        view.event(StepFinished("verify", "3 checks passed", 0.5))
    assert capsys.readouterr().err.splitlines() == [
        "Verify d on h:1 (dev)",
        "  info    looking",
        "  info    e on h:1: looking",
        "  ok      migrate   1 applied  0.50 s",
    ]


def test_error_in_json_names_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.view("json", "INFO").error(UsageError("no", where="here", hint="Do this.")) == 2
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["what"], line["exit_code"]) == ("error", "no", 2)


def test_error_in_json_has_its_location_and_sqlstate_as_fields(capsys: pytest.CaptureFixture[str]) -> None:
    source = Location("db/a.sql", 12, 3, "SELECT 1 / 0")
    report.view("json", "INFO").error(UsageError("no", where="here", hint="Do.", location=source, sqlstate="22012"))
    line = json.loads(capsys.readouterr().err)
    assert line["source"] == {"path": "db/a.sql", "line": 12, "column": 3}
    assert line["sqlstate"] == "22012"


def test_error_in_json_that_is_not_the_servers_has_neither(capsys: pytest.CaptureFixture[str]) -> None:
    report.view("json", "INFO").error(UsageError("no", where="here", hint="Do."))
    line = json.loads(capsys.readouterr().err)
    assert (line["source"], line["sqlstate"]) == (None, None)


def test_nothing_is_asked_without_a_terminal() -> None:
    assert report.view("text", "INFO").ask("Really?") is None


def _drawings() -> list[tuple[str, str]]:
    """Return the functions that draw something on a console, each with the type that it takes."""
    found = []
    for name, function in inspect.getmembers(text, inspect.isfunction):
        parameters = [*inspect.signature(function).parameters.values()]
        if name[0] != "_" and [parameter.name for parameter in parameters][1:2] == ["console"]:
            kind = str(parameters[0].annotation).removeprefix("tuple[").removesuffix(", ...]")
            found += [(name, kind)] * (kind != "str")
    return found


@pytest.mark.parametrize(("drawing", "kind"), _drawings())
def test_each_type_of_result_is_drawn_by_the_function_of_its_name(drawing: str, kind: str) -> None:
    several = drawing == "rebuild_results"
    one = type(kind, (), {})()
    assert drawing.removesuffix("_header") == report.drawing((one, one) if several else one)


def test_document_is_written_also_where_the_result_cannot_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(UsageError, match="cannot write the output"):
            report.view("text", "INFO").show(Verification((), 1.0), written.append)
    assert "0 checks passed" in written[0]
