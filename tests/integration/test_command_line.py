"""What an operator meets on the command line when a setting is wrong: three lines and an exit code."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbops.settings import ROOT, Target
from tests.support import processes, servers, verifying
from tests.support.servers import TestServer

PASSWORD = "s3kret-w0rd"


def assert_three_lines(done: subprocess.CompletedProcess[str], code: int, what: str) -> None:
    lines = [line for line in done.stderr.splitlines() if not line.startswith("  =")]
    lines = lines[next((i for i, line in enumerate(lines) if line.startswith("error:")), 0) :]
    assert done.returncode == code, done.stderr
    assert [line.split(" ")[0] for line in lines] == ["error:", "", "hint:"], done.stderr
    assert what in lines[0]
    assert PASSWORD not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def plain_server() -> Iterator[TestServer]:
    """Return a server where TimescaleDB is installed but not preloaded."""
    with servers.throwaway_server("") as started:
        yield started


@pytest.fixture(scope="module")
def server_without_extension() -> Iterator[TestServer]:
    """Return a server where TimescaleDB is not installed."""
    # Not one of pytest's directories: the next run of pytest takes them away from all other accounts.
    with (
        servers.reachable_directory() as root,
        servers.throwaway_server("", servers.without_timescaledb(root)) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def password_server() -> Iterator[int]:
    """Return a server on loopback that asks for a password."""
    port = servers.free_port()
    with servers.throwaway_server(f"{servers.PRELOAD}listen_addresses = '127.0.0.1'\nport = {port}\n") as started:
        started.execute(f"ALTER ROLE postgres PASSWORD '{PASSWORD}'")
        yield port


DANGEROUS = ["db.rebuild", "db.drop"]
TASKS = ["db.rebuild", "db.drop", "db.create", "db.migrate", "db.verify", "db.status", "db.wait --timeout 1"]


@pytest.mark.parametrize("task", TASKS)
def test_server_that_is_down_is_reported_in_three_lines(task: str) -> None:
    url = f"postgresql://u:{PASSWORD}@127.0.0.1:{servers.free_port()}/kapman_dev"
    done = processes.run_invoke(*task.split(), DATABASE_URL=url)
    assert_three_lines(done, 3, "")
    assert "Connection refused" in done.stderr


@pytest.mark.parametrize("task", ["db.rebuild", "db.wait --timeout 1"])
@pytest.mark.slow
def test_server_without_timescaledb_is_reported_in_three_lines(server_without_extension: TestServer, task: str) -> None:
    done = processes.run_invoke(*task.split(), DATABASE_URL=server_without_extension.url("kapman_dev"))
    assert_three_lines(done, 3, "")
    assert "TimescaleDB is not installed" in done.stderr


@pytest.mark.parametrize("task", ["db.rebuild", "db.wait --timeout 1"])
@pytest.mark.slow
def test_server_that_does_not_preload_timescaledb_is_reported_in_three_lines(
    plain_server: TestServer, task: str
) -> None:
    done = processes.run_invoke(*task.split(), DATABASE_URL=plain_server.url("kapman_dev"))
    assert_three_lines(done, 3, "")
    assert "shared_preload_libraries" in done.stderr


@pytest.mark.parametrize("task", TASKS)
def test_wrong_password_is_reported_without_showing_it(password_server: int, task: str) -> None:
    url = f"postgresql://postgres:{PASSWORD}x@127.0.0.1:{password_server}/kapman_dev"
    done = processes.run_invoke(*task.split(), DATABASE_URL=url)
    assert_three_lines(done, 3, "password authentication failed")


@pytest.mark.parametrize("task", DANGEROUS)
def test_url_without_database_name_is_wrong_usage(task: str) -> None:
    url = f"postgresql://u:{PASSWORD}@127.0.0.1:1"
    assert_three_lines(processes.run_invoke(*task.split(), DATABASE_URL=url), 2, "names no database")


@pytest.mark.parametrize("task", DANGEROUS)
def test_malformed_url_is_wrong_usage(task: str) -> None:
    url = f"postgresql://u:{PASSWORD}/x@h:port/db"
    assert_three_lines(processes.run_invoke(*task.split(), DATABASE_URL=url), 2, "malformed")


def test_errors_are_json_for_machines() -> None:
    done = processes.run_invoke("db.status", "--format", "json", DATABASE_URL="mysql://h/d")
    line = json.loads(done.stderr)
    assert (done.returncode, line["event"], line["exit_code"]) == (2, "error", 2)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--env", "staging"], 'unknown environment "staging"'),
        (["--format", "xml"], 'unknown format "xml"'),
        (["--log-level", "LOUD"], 'unknown log level "LOUD"'),
    ],
)
def test_unknown_choice_is_wrong_usage(words: list[str], what: str) -> None:
    assert_three_lines(processes.run_invoke("db.status", *words, DATABASE_URL="postgresql://h/d"), 2, what)


SOURCES = {
    "--env": (["--env", "live"], {}),
    "KAPMAN_ENV": ([], {"KAPMAN_ENV": "live"}),
    "ENV": ([], {"ENV": "live"}),
    "--url": (["--url", ""], {"DATABASE_URL": "postgresql://h/d"}),
    "DATABASE_URL": ([], {"DATABASE_URL": ""}),
    "--format": (["--format", "junit"], {}),
    "--log-level": (["--log-level", ""], {}),
    "--repeat": (["--repeat", "0"], {"DATABASE_URL": "postgresql://h/d"}),
    "--timeout": (["--timeout", "-1"], {"DATABASE_URL": "postgresql://h/d"}),
}


@pytest.mark.parametrize("source", SOURCES)
def test_wrong_setting_is_reported_with_the_name_of_its_source(source: str) -> None:
    words, environ = SOURCES[source]
    done = processes.run_invoke("db.rebuild", *words, **environ)
    assert_three_lines(done, 2, "")
    assert f"\n  --> {source}\n" in done.stderr


@pytest.mark.slow
def test_connection_service_is_a_target_and_adds_nothing_to_a_url(
    server: TestServer, built: Target, tmp_path: Path
) -> None:
    lines = [f"{key}={value}" for key, value in {**server.parameters, "dbname": built.database}.items()]
    (tmp_path / "services").write_text("\n".join(["[kapman]", *lines, "[broken]", "sslmode=nonsense", ""]))
    environ = {"PGSERVICEFILE": str(tmp_path / "services"), "PGSERVICE": "kapman"}
    done = processes.run_invoke("db.fingerprint", "--format", "json", **environ)
    assert (done.returncode, json.loads(done.stdout)["database"]) == (0, built.database), done.stderr
    environ |= {"PGSERVICE": "broken", "DATABASE_URL": server.url(built.database)}
    assert processes.run_invoke("db.fingerprint", **environ).returncode == 0
    # psql takes the place of the process.
    with processes.start_invoke("db.psql", "--command", "SELECT current_database()", **environ) as process:
        out, err = process.communicate()
    assert (process.returncode, built.database in out) == (0, True), err


def test_error_in_github_actions_is_an_annotation_too() -> None:
    done = processes.run_invoke("db.status", DATABASE_URL="", GITHUB_ACTIONS="true")
    *lines, annotation = done.stderr.splitlines()
    assert (done.returncode, done.stdout, lines[0]) == (2, "", "error: DATABASE_URL is set, but empty")
    assert annotation.startswith("::error title=kapman-dbops::DATABASE_URL is set, but empty%0A")
    assert "::error" not in processes.run_invoke("db.status", DATABASE_URL="").stderr


COMMAND = re.compile(r"^\s*::|##\[")
HOSTILE = """DO $$ BEGIN RAISE NOTICE E'x\\n::error::1\\r::error::2\\n ::error::3\\n##[error]4'; END $$"""


def psql(statement: str, server: TestServer, database: str, **environ: str) -> tuple[int, str, str]:
    """Return how psql ends and what it prints; it may take the place of the process."""
    url = server.url(database)
    with processes.start_invoke("db.psql", "--command", statement, DATABASE_URL=url, **environ) as process:
        return (*process.communicate(), process.returncode)[::-1]


@pytest.mark.parametrize("statement", [HOSTILE, "SELECT E'x\n::error::1' AS a", 'SELECT 1 AS "::error::1"'])
def test_output_of_psql_holds_no_command_for_github_actions(server: TestServer, built: Target, statement: str) -> None:
    code, *printed = psql(statement, server, built.database, GITHUB_ACTIONS="true")
    assert (code, [line for line in re.split(r"[\r\n]", "\n".join(printed)) if COMMAND.search(line)]) == (0, [])
    plain = psql(statement, server, built.database)
    assert any(COMMAND.search(line) for line in re.split(r"[\r\n]", "\n".join(plain[1:])))
    assert [text.replace("\\", "") for text in printed] == [*plain[1:]]


def test_psql_writes_to_a_file_as_it_is_and_ends_as_it_ended_in_github_actions(
    server: TestServer, built: Target, tmp_path: Path
) -> None:
    environ = {**os.environ, "DATABASE_URL": server.url(built.database), "GITHUB_ACTIONS": "true"}
    statement = "COPY (SELECT '::error::'::text) TO STDOUT"
    command = [sys.executable, "-m", "invoke", "db.psql", "-c", statement]
    with (tmp_path / "out").open("wb") as file:
        done = subprocess.run(command, cwd=ROOT, env=environ, stdout=file, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr, (tmp_path / "out").read_bytes()) == (0, b"", b"::error::\n")
    assert psql("SELECT 1 / 0", server, built.database, GITHUB_ACTIONS="true")[0] == 1


@pytest.mark.parametrize("environ", [{}, {"GITHUB_ACTIONS": "true"}], ids=["terminal", "GitHub"])
def test_tasks_behind_psql_run_too(server: TestServer, built: Target, environ: dict[str, str]) -> None:
    words = ["db.psql", "-c", "SELECT 'first'", "db.psql", "-c", "SELECT 1 / 0", "db.fingerprint"]
    with processes.start_invoke(*words, DATABASE_URL=server.url(built.database), **environ) as process:
        out, err = process.communicate()
    assert (process.returncode, "first" in out, err) == (1, True, "ERROR:  division by zero\n")


def test_psql_ends_when_nobody_reads_it_in_github_actions(server: TestServer, built: Target) -> None:
    environ = {"DATABASE_URL": server.url(built.database), "GITHUB_ACTIONS": "true"}
    with processes.start_invoke("db.psql", "-c", "SELECT generate_series(1, 100000)", **environ) as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr
        assert (process.stderr.read(), process.wait()) == ("", 128 + signal.SIGPIPE)


def test_interrupted_psql_is_not_said_to_have_changed_nothing_in_github_actions(
    server: TestServer, built: Target
) -> None:
    environ = {"DATABASE_URL": server.url(built.database), "GITHUB_ACTIONS": "true"}
    slow = "DO $$ BEGIN RAISE NOTICE 'began'; PERFORM pg_sleep(60); END $$"
    with processes.start_invoke("db.psql", "-c", slow, **environ) as process:
        assert process.stderr
        assert "began" in process.stderr.readline()
        process.terminate()
        said = process.stderr.read()
    assert (said, process.returncode) == (
        "interrupted: psql was ended; what it had committed stays.\n",
        128 + signal.SIGTERM,
    )


def test_step_summary_of_github_actions_has_what_verify_found(
    server: TestServer, built: Target, tmp_path: Path
) -> None:
    server.execute("ALTER TABLE tickers DROP COLUMN sector", built.database)
    actions = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    url = server.url(built.database)
    done = processes.run_invoke("db.verify", "--format", "json", "--only", "columns", DATABASE_URL=url, **actions)
    assert (done.returncode, json.loads(done.stdout)["passed"]) == (1, False)
    assert "::error title=column public.tickers.sector,file=db/verify/structure/columns.sql" in done.stderr
    assert processes.run_invoke("db.migrate", "--plan", DATABASE_URL=url, **actions).returncode == 0
    summary = (tmp_path / "summary").read_text()
    assert "| structure/columns.sql | column public.tickers.sector | character varying(100) | missing |" in summary
    assert "### db.migrate --plan: 0 to apply" in summary


@pytest.mark.parametrize("lines", ["abc", "0", "-5", "1.5"])
def test_number_of_lines_that_is_not_a_positive_integer_is_wrong_usage(lines: str) -> None:
    assert_three_lines(processes.run_invoke("server.logs", f"--lines={lines}"), 2, "must be a positive integer")


@pytest.mark.parametrize("output_format", ["text", "json"])
@pytest.mark.slow
def test_reader_that_goes_away_neither_stops_a_rebuild_nor_changes_its_exit_code(
    server: TestServer, target: Target, output_format: str
) -> None:
    task = f"{sys.executable} -m invoke db.rebuild --format {output_format} 2>&1 | head -n 1; exit ${{PIPESTATUS[0]}}"
    environ = {**os.environ, "DATABASE_URL": server.url(target.database)}
    done = subprocess.run(["bash", "-c", task], cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (0, 1, "")
    assert verifying.verify(target, ROOT / "db" / "verify", baseline=True).passed
    limit = f"SELECT datconnlimit FROM pg_database WHERE datname = '{target.database}'"
    assert server.execute(limit) == [(-1,)]


@pytest.mark.slow
def test_reader_that_goes_away_does_not_hide_a_failed_check(server: TestServer, empty: Target) -> None:
    task = f"{sys.executable} -m invoke db.verify --format json | true; exit ${{PIPESTATUS[0]}}"
    environ = {**os.environ, "DATABASE_URL": server.url(empty.database)}
    assert subprocess.run(["bash", "-c", task], cwd=ROOT, env=environ, capture_output=True, check=False).returncode == 1


@pytest.mark.slow
def test_reader_that_goes_away_is_no_error_of_what_prints_a_document(server: TestServer, built: Target) -> None:
    task = f"{sys.executable} -m invoke db.fingerprint --text | true; exit ${{PIPESTATUS[0]}}"
    environ = {**os.environ, "DATABASE_URL": server.url(built.database)}
    done = subprocess.run(["bash", "-c", task], cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_result_that_cannot_be_written_is_an_error(server: TestServer, built: Target) -> None:
    task = f"{sys.executable} -m invoke db.verify > /dev/full"
    environ = {**os.environ, "DATABASE_URL": server.url(built.database)}
    done = subprocess.run(["bash", "-c", task], cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error: cannot write the output: No space left on device" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("hint: Free some space")


@pytest.mark.parametrize("environ", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
def test_list_or_help_that_cannot_be_written_is_an_error(environ: dict[str, str]) -> None:
    kapman = f"{Path(sys.executable).parent / 'kapman'}"
    for program in (f"{sys.executable} -m invoke --list", f"{kapman} --help db.verify", f"{kapman} --version"):
        task, env = f"{program} > /dev/full", processes.surroundings(**environ)
        done = subprocess.run(["bash", "-c", task], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert_three_lines(done, 2, "cannot write the output: No space left on device")
        # The exit code counts without a word, too.
        assert subprocess.run(["bash", "-c", f"{task} 2>&1"], cwd=ROOT, env=env, check=False).returncode == 2


@pytest.mark.slow
def test_exit_code_counts_where_messages_cannot_be_written(server: TestServer, built: Target) -> None:
    environ = {**os.environ, "DATABASE_URL": server.url(built.database)}
    for words, code in {
        "db.verify": 0,
        "db.verify --only none": 2,
        "db.fingerprint > /dev/full": 2,
        "db.verify --format json > /dev/full": 2,
        "db.verify --missing": 2,
        f"db.status --url '{server.url('missing')}'": 3,
    }.items():
        task = f"{sys.executable} -m invoke {words} 2> /dev/full"
        done = subprocess.run(["bash", "-c", task], cwd=ROOT, env=environ, capture_output=True, check=False)
        assert done.returncode == code, words


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.slow
def test_each_signal_ends_a_task_with_a_line_and_its_own_exit_code(number: int) -> None:
    url = f"postgresql://u@127.0.0.1:{servers.free_port()}/kapman_dev"
    with processes.start_invoke("db.wait", "--timeout", "60", DATABASE_URL=url) as process:
        assert process.stderr
        first = process.stderr.readline()
        process.send_signal(number)
        rest = process.communicate()[1]
    assert "waiting" in first
    assert rest.splitlines()[-1].startswith("interrupted: ")
    assert "Traceback" not in rest
    assert process.returncode == 128 + number
