"""The verbs as Invoke lists and explains them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.exceptions import Exit
from invoke.parser import Parser

import dbops
import tasks
from dbops import settings
from dbops.cli import SIGNALS
from dbops.settings import ROOT
from dbops.verb import running
from tests.support.processes import run_invoke

VERBS = {
    "db": [
        "create",
        "diagram",
        "drift",
        "drop",
        "fingerprint",
        "migrate",
        "new",
        "lint",
        "psql",
        "rebuild",
        "undo",
        "status",
        "upgrade",
        "verify",
        "wait",
    ],
    "server": ["destroy", "down", "install", "logs", "status", "up"],
}


def invoke(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    base = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "invoke", *words],
        cwd=ROOT,
        env={**base, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("words", [("--list",), ("--help", "db.rebuild"), ("db",), ()], ids=" ".join)
def test_list_whose_reader_is_gone_ends_without_a_word(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        command = [sys.executable, "-m", "invoke", *words]
        done = subprocess.run(command, cwd=ROOT, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


def test_list_of_tasks_stays_light_and_complete() -> None:
    listed = invoke("--list")
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in listed.stderr.splitlines()}
    assert "dataclasses" in imported
    assert not imported & {"psycopg", "rich", "sqlfluff", "dotenv"}
    for collection, verbs in VERBS.items():
        for verb in verbs:
            assert f"  {collection}.{verb} " in listed.stdout


def bytecode(directory: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in directory.rglob("*.pyc")}


def test_bytecode_of_what_a_verb_imports_is_kept_unless_the_environment_says_otherwise(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": "postgresql://h", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    assert invoke("db.status", **environ).returncode == 2
    kept = bytecode(tmp_path)
    assert {"target", "console", "conninfo"} <= kept
    # Some of it is missing now, and stays so: without all of it, compiling would take seconds.
    for name in ("target", "console", "conninfo"):
        for path in tmp_path.rglob(f"{name}.*.pyc"):
            path.unlink()
    left = bytecode(tmp_path)
    assert left == kept - {"target", "console", "conninfo"}
    assert invoke("db.status", PYTHONDONTWRITEBYTECODE="1", **environ).returncode == 2
    assert bytecode(tmp_path) == left


TASKS = [f"{collection}.{verb}" for collection, verbs in VERBS.items() for verb in verbs]
SHORT = {
    "-y": "--yes",
    "-u": "--url",
    "-e": "--env",
    "-p": "--plan",
    "-f": "--follow",
    "-n": "--lines",
    "-c": "--command",
}


def test_list_of_tasks_is_a_menu_with_one_line_a_verb() -> None:
    lines = invoke("--list").stdout.splitlines()
    assert lines[0] == "Available tasks:"
    assert [line.split()[0] for line in lines if line.startswith("  ")] == sorted(TASKS)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("task", TASKS)
def test_help_of_each_task_has_an_example_that_its_parser_takes(task: str) -> None:
    text = tasks.namespace[task].__doc__ or ""
    [example] = re.findall("^ *Example: invoke (.*)$", text, re.MULTILINE)
    [parsed] = Parser(contexts=tasks.namespace.to_contexts()).parse_argv(shlex.split(example))
    assert parsed.name == task
    assert max(len(line) for line in text.splitlines()) <= 80


def test_short_flags_are_few_and_mean_the_same_everywhere() -> None:
    for context in tasks.namespace.to_contexts():
        for argument in context.args.values():
            short = [f"-{name}" for name in argument.names if len(name) == 1]
            assert all(SHORT[flag] == f"--{argument.name}" for flag in short)
    assert "-y, --yes" in run_invoke("--help", "db.drop").stdout


def test_help_after_a_task_that_needs_an_argument_is_its_help() -> None:
    done = run_invoke("db.new", "--help")
    assert (done.returncode, "Example: invoke db.new" in done.stdout) == (0, True)


WRONG_WORDS = {
    "db.rebiuld": ('unknown task "db.rebiuld"', "Did you mean `invoke db.rebuild`?"),
    "rebuild": ('unknown task "rebuild"', "Did you mean `invoke db.rebuild`?"),
    "db.status verfy": ('unknown task "verfy"', "Did you mean `invoke db.verify`?"),
    "xyz": ('unknown task "xyz"', "`invoke --list` shows all tasks."),
    "db.migrate --plann": ("unknown option --plann", "Did you mean --plan?"),
    "db.migrate --password=s3kret": ("unknown option --password", "`invoke --help db.migrate`"),
    "db.status --url": ("option --url needs a value", "`invoke --help db.status`"),
    "db.new": ("db.new needs a NAME", "`invoke --help db.new`"),
    "db.migrate 7": ('db.migrate takes no word "7"', "Did you mean `invoke db.migrate --to 0007`?"),
    "db.rebuild --dry-run": ("unknown option --dry-run", "Did you mean --plan?"),
    "-h dbx": ('unknown task "dbx"', "Did you mean `invoke db`?"),
    "--dry db.drop": ("Invoke's option --dry, -R has no effect here", "`invoke db.rebuild --plan`"),
    "db.drop -R": ("Invoke's option --dry, -R has no effect here", "`invoke db.rebuild --plan`"),
    "-f json db.status": ("Invoke's option --config, -f has no effect here", "--format json"),
    "db.status -f json": ("Invoke's option --config, -f has no effect here", "--format json"),
    "db.status -c tasks": ("Invoke's option --collection, -c has no effect here", "`invoke db.psql --command SQL`"),
    "db.drop -w": ("Invoke's option --warn-only, -w has no effect here", "The first task that fails"),
    "db.drop -F json": ("Invoke's option --list-format, -F has no effect here", "`invoke --list`"),
    "-e prod db.status": ("Invoke's option --echo, -e has no effect here", "--log-level DEBUG"),
    "-d db.status": ("Invoke's option --debug, -d has no effect here", "--log-level DEBUG"),
    "-T 5 db.status": ("Invoke's option --command-timeout, -T has no effect here", "Tasks that wait have --timeout."),
    "--no-dedupe db.status": ("Invoke's option --no-dedupe has no effect here", "Each task runs"),
    "-p db.status": ("Invoke's option --pty, -p has no effect here", "--plan shows"),
    "db.status --version": ("Invoke's option --version, -V has no effect here", "`kapman --version`"),
    "db.psql -- -c x": ("nothing reads the words behind --: -c x", "Leave them out."),
    "-- db.rebuild": ("nothing reads the words behind --: db.rebuild", "Leave them out."),
}


def test_error_of_the_command_line_is_three_lines_whatever_a_word_holds() -> None:
    said = run_invoke("db.x\n::error::y").stderr.splitlines()
    assert [line.partition(" ")[0] for line in said] == ["error:", "", "hint:"]


APART = [(task, pair) for task in TASKS for pair in tasks.namespace[task].apart]


VALUES = {
    "against": "x",
    "commit": "file",
    "confirm": "x",
    "lock_budget": "9s",
    "lock_timeout": "9s",
    "repeat": "9",
    "statement_timeout": "9s",
    "timeout": "9s",
}
# The options that choose what a verb does, with those of the others that count beside them.
MODES = {
    "db.rebuild --plan": {"keep", "timeout"},
    "db.rebuild --check": {"keep", "repeat", "timeout"},
    "db.drop --forget": {"yes", "confirm", "timeout"},
    "db.drop --kept": {"yes", "confirm", "timeout"},
    "db.migrate --plan": {"check", "to", "lock_timeout", "statement_timeout", "commit", "timeout"},
    "db.migrate --check": {
        *("plan", "to", "lock_timeout", "lock_budget", "statement_timeout", "commit", "verify", "confirm", "timeout")
    },
    "db.migrate --rehearse": {"to"},
    "db.upgrade --plan": {"timeout"},
    "db.verify --list": {"empty", "only", "output"},
    "db.drift --build": set(),
    "db.drift --against": {"timeout"},
    "db.fingerprint --write": set(),
    "db.fingerprint --text": {"timeout"},
}


def words(task: str, option: str) -> list[str]:
    """Return an option as it is given: one that is on by default only counts where it is switched off."""
    is_on = option in tasks.namespace[task].own and tasks.namespace[task].own[option].default is True
    return [f"--{'no-' * is_on}{option.replace('_', '-')}", *([VALUES[option]] if option in VALUES else [])]


@pytest.mark.parametrize(("task", "pair"), APART)
def test_options_of_which_one_does_nothing_beside_the_other_are_wrong_usage(task: str, pair: tuple[str, str]) -> None:
    first, second = (words(task, option) for option in pair)
    done = run_invoke(task, *first, *second, DATABASE_URL="postgresql://h/d")
    assert done.stderr.startswith(f"error: {first[0]} and {second[0]} cannot be given together\n")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("mode", MODES)
def test_each_option_counts_beside_what_chooses_the_work_or_is_refused(mode: str) -> None:
    task, _, option = mode.partition(" --")
    verb = tasks.namespace[task]
    apart = {other for pair in verb.apart if option in pair for other in pair} - {option}
    others = {*verb.own, *(["timeout"] if verb.deadline else [])} - {option}
    assert (apart & MODES[mode], apart | MODES[mode]) == (set(), others)


def test_options_that_count_for_a_check_are_taken_with_its_plan() -> None:
    words = ("--plan", "--check", "--verify", "--confirm", "d", "--lock-budget", "1min")
    done = run_invoke("db.migrate", *words, DATABASE_URL="postgresql://h")
    assert "names no database" in done.stderr


def test_option_with_its_default_value_is_as_if_it_were_not_given() -> None:
    done = run_invoke("db.rebuild", "--plan", "--repeat", "1", DATABASE_URL="postgresql://h")
    assert "names no database" in done.stderr


def test_each_option_that_is_read_has_its_default_value_as_it_would_be_read() -> None:
    read = {
        f"{task} {option}": (getattr(settings, reader), verb.own[option].default)
        for task in TASKS
        for verb in [tasks.namespace[task]]
        for option, reader in verb.readers.items()
        if option in verb.own
    }
    assert len(read) > 10
    for option, (reader, default) in read.items():
        assert default in (None, "", ()) or reader(option, str(default)) == default


@pytest.mark.parametrize("words", WRONG_WORDS)
def test_unknown_task_or_option_is_wrong_usage_with_a_suggestion(words: str) -> None:
    what, hint = WRONG_WORDS[words]
    done = run_invoke(*words.split())
    first, where, last = done.stderr.splitlines()
    assert (done.returncode, first, where) == (2, f"error: {what}", "  --> the command line")
    assert last.startswith(f"hint: {hint}")
    assert "s3kret" not in done.stderr


COMPLETIONS = {
    "invoke db.rebuild --env": "dev test prod",
    "invoke db.rebuild -e": "dev test prod",
    "invoke db.rebuild --env te": "dev test prod",
    "invoke db.verify --format": "text json junit",
    "invoke db.status --format": "text json",
    "invoke db.migrate --commit": "all file",
    "invoke db.status db.migrate --env=": "--env=dev --env=test --env=prod",
    "invoke db.status --log-level": "DEBUG INFO WARNING",
    "invoke db.rebuild --confirm": "",
}


@pytest.mark.parametrize("line", COMPLETIONS)
def test_values_of_options_that_have_a_few_are_completed(line: str) -> None:
    done = run_invoke("--complete", "--", *line.split())
    assert (done.returncode, done.stdout.split()) == (0, COMPLETIONS[line].split())


@pytest.mark.parametrize("line", ["invoke db.rebuild --env test", "invoke db.rebuild --env test --ye", "invoke db.st"])
def test_after_a_whole_value_tasks_and_options_are_completed(line: str) -> None:
    offered = run_invoke("--complete", "--", *line.split()).stdout.split()
    assert ("--yes" if line.endswith("--ye") else "db.status") in offered


def test_bare_program_and_the_name_of_a_collection_show_the_tasks() -> None:
    for words in ([], ["db"], ["-h", "db"], ["db", "--help"]):
        done = run_invoke(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
        assert "db.rebuild" in done.stdout


def kapman(*words: str, directory: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    programs = Path(sys.executable).parent
    command = [str(programs / "kapman"), *words]
    base = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", **environ}
    return subprocess.run(command, cwd=directory, env=base, capture_output=True, text=True, check=False)


def test_kapman_is_invoke_from_any_directory_with_a_version(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("raise SystemExit('the tasks of another project')")
    assert kapman("--version", directory=tmp_path).stdout == f"kapman {dbops.__version__}\n"
    assert kapman("--list", directory=tmp_path).stdout == invoke("--list").stdout
    wrong = kapman("db.rebiuld", directory=tmp_path)
    assert (wrong.returncode, "Did you mean `kapman db.rebuild`?" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    "task", [task for task in TASKS if task.startswith("db.") and task not in ("db.new", "db.lint")]
)
def test_help_of_each_task_explains_the_common_options(task: str) -> None:
    text = run_invoke("--help", task).stdout
    for option in ("--url", "--env", "--format", "--log-level"):
        assert option in text


INTERRUPTED = """
import os, signal, sys

class Watcher:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.Signals[sys.argv[2]])

sys.meta_path.insert(0, Watcher())
from invoke.main import program
sys.argv[0] = "invoke"
program.run(["invoke", "db.status", "--log-level", "WARNING"])
"""


@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("dbops.report", signal.SIGINT),
        ("rich.console", signal.SIGTERM),
        ("psycopg", signal.SIGHUP),
        ("dbops.migrations", signal.SIGINT),
    ],
)
def test_signal_while_a_verb_is_being_loaded_ends_it_with_a_sentence(module: str, number: signal.Signals) -> None:
    command = [sys.executable, "-c", INTERRUPTED, module, number.name]
    environ = {**os.environ, "DATABASE_URL": "postgresql://127.0.0.1:1/d"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 128 + number, done.stderr
    assert done.stderr.startswith("interrupted: ")
    assert len(done.stderr.splitlines()) == 1


URL = "postgresql://u:s3kret-w0rd@127.0.0.1/d"


@pytest.mark.parametrize("log_level", ["INFO", "DEBUG"])
def test_unforeseen_exception_is_a_report_without_the_password_and_exit_code_70(
    log_level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit) as ended, running("text", log_level) as run:  # noqa: PT012
        run.choose(URL, "dev")
        run.choose(URL, None).parameters["s3kret-w0rd"]
    said = capsys.readouterr().err
    assert ended.value.code == 70
    assert said.startswith("error: unexpected error: KeyError: '***'\n  --> ")
    assert "hint: This is a bug." in said
    assert "s3kret" not in said
    assert ("Traceback (most recent call last)" in said) == (log_level == "DEBUG")


def test_unforeseen_exception_before_the_target_is_known_shows_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit) as ended, running("json", "DEBUG"):
        raise ValueError(URL)
    assert ended.value.code == 70
    assert json.loads(capsys.readouterr().err)["what"] == "unexpected error: ValueError"


def test_signal_handlers_are_those_of_the_caller_again_after_a_verb() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(Exit), running("text", "INFO") as run:  # noqa: PT012
        assert [signal.getsignal(number) for number in SIGNALS] != before
        run.code = 1
    assert [signal.getsignal(number) for number in SIGNALS] == before
