"""The embedded server as an operator meets it: every test has a directory and real servers of its own."""

import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dbops import label, server, settings
from dbops.errors import ServerError
from dbops.events import Event
from dbops.server import access, cluster
from dbops.server.cluster import Account, Cluster, Postmaster, postmaster
from dbops.server.directory import Layout
from dbops.settings import ROOT
from tests.support import processes, servers

pytestmark = pytest.mark.slow
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts for another account")


@pytest.fixture
def fresh() -> Iterator[server.Embedded]:
    """Return an embedded server without a directory; if it runs in the end, it is stopped and removed."""
    with servers.reachable_directory() as directory:
        installation = servers.local_installation()
        yield server.Embedded(Layout(directory / "server"), os.environ["PATH"])
        for data in directory.glob("**/data"):
            Cluster(Layout(data.parent), installation).stop("immediate")


@pytest.fixture
def embedded(fresh: server.Embedded) -> server.Embedded:
    """Return an embedded server that has a data directory and does not run."""
    with_data(fresh)
    return fresh


def with_data(embedded: server.Embedded) -> None:
    """Give a server a data directory that no server has used: a copy of one that initdb made."""
    embedded.layout.directory.mkdir()
    servers.copy_data_directory(embedded.layout)
    embedded.layout.marker.touch()


def query(embedded: server.Embedded, statement: str, *values: object) -> Any:
    """Run one statement on the embedded server and return its first value."""
    with psycopg.connect(access.by_socket(embedded.layout, running(embedded)).url(), autocommit=True) as session:
        cursor = session.execute(statement.encode(), values)
        rows: list[Any] = cursor.fetchall() if cursor.description else [(None,)]
    return rows[0][0]


def running(embedded: server.Embedded) -> Postmaster:
    """Return the process of a server that must be running."""
    found = postmaster(embedded.layout.data)
    assert found
    return found


def address(embedded: server.Embedded) -> str:
    """Return the URL that `server.status` shows, for the database postgres."""
    shown = server.status(embedded, "postgres").address
    assert shown
    return shown.url()


def show(embedded: server.Embedded, name: str) -> Any:
    return query(embedded, "SELECT current_setting(%s)", name)


def as_server(*command: str) -> subprocess.Popen[bytes]:
    """Start a program under the account that servers run as."""
    return subprocess.Popen(command, cwd="/", **Account.current().identity)


def test_up_makes_a_server_with_the_settings_that_matter(fresh: server.Embedded) -> None:
    server.up(fresh)
    wanted = {
        "server_encoding": "UTF8",
        "data_checksums": "on",
        "shared_preload_libraries": "timescaledb",
        "timescaledb.telemetry_level": "off",
        "listen_addresses": "",
        "fsync": "on",
    }
    assert {name: show(fresh, name) for name in wanted} == wanted
    assert query(fresh, "SELECT datcollate FROM pg_database WHERE datname = 'template0'") in ("C.UTF-8", "C.utf8", "C")
    query(fresh, "CREATE EXTENSION timescaledb")
    # Else pg_upgrade to Debian's package for another version would not find them there.
    assert query(fresh, "SELECT count(*) FROM pg_proc WHERE proname ~ 'telemetry_report'") == 0


def test_socket_and_data_are_private_to_the_account_that_runs_the_server(embedded: server.Embedded) -> None:
    server.up(embedded)
    for path in (embedded.layout.socket, embedded.layout.data, embedded.layout.log.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert path.stat().st_uid == Account.current().uid
    if os.geteuid() == 0:
        assert Account.current().uid != 0


def test_second_up_and_two_at_once_give_one_server(fresh: server.Embedded) -> None:
    environ = {"KAPMAN_SERVER_DIR": str(fresh.layout.directory)}
    both = [processes.start_invoke("server.up", **environ) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    running = postmaster(fresh.layout.data)
    assert server.up(fresh) == running


def test_killed_server_comes_back_with_its_data(embedded: server.Embedded) -> None:
    first = server.up(embedded)
    query(embedded, "CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(first.pid, signal.SIGKILL)
    while postmaster(embedded.layout.data):
        time.sleep(0.01)
    second = server.up(embedded)
    assert second.pid != first.pid
    assert query(embedded, "SELECT answer FROM kept") == 42


def test_pid_file_that_names_another_process_does_not_prevent_a_start(embedded: server.Embedded) -> None:
    server.up(embedded)
    pid_file = embedded.layout.data / "postmaster.pid"
    lock_file = embedded.layout.socket / ".s.PGSQL.5432.lock"
    texts = {file: file.read_text().splitlines(keepends=True) for file in (pid_file, lock_file)}
    server.down(embedded)
    other = as_server("sleep", "60")
    try:
        for file, (_, *rest) in texts.items():
            file.write_text("".join([f"{other.pid}\n", *rest]))
        assert server.status(embedded).state == "stopped"
        assert server.up(embedded).pid != other.pid
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_pid_file_stays_while_a_process_works_in_the_data_directory(
    embedded: server.Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.up(embedded)
    pid_file = embedded.layout.data / "postmaster.pid"
    text = pid_file.read_text().splitlines(keepends=True)
    server.down(embedded)
    monkeypatch.setattr(cluster, "LEFTOVER_SECONDS", 0.2)
    # A postmaster that was killed leaves children, and another program may get its pid: a second server would ruin the
    # data.
    child = as_server("sh", "-c", f"cd {embedded.layout.data} && exec sleep 60")
    other = as_server("sleep", "60")
    try:
        while not cluster.works_in(child.pid, embedded.layout.data):
            time.sleep(0.01)
        pid_file.write_text("".join([f"{other.pid}\n", *text[1:]]))
        with pytest.raises(ServerError, match="did not start"):
            server.up(embedded)
        assert pid_file.read_text().startswith(f"{other.pid}\n")
    finally:
        for process in (child, other):
            process.kill()
            process.wait()
    assert server.up(embedded)


def test_server_that_another_command_is_starting_is_waited_for(embedded: server.Embedded) -> None:
    server.up(embedded)
    pid_file, new = embedded.layout.data / "postmaster.pid", embedded.layout.data / "new.pid"
    text = pid_file.read_text()

    def write(state: str) -> None:
        new.write_text(text.replace("ready   ", state))
        new.replace(pid_file)

    write("starting")
    assert not running(embedded).ready
    timer = threading.Timer(0.5, write, ("ready   ",))
    timer.start()
    try:
        assert server.up(embedded).ready
    finally:
        timer.join()


def test_data_of_a_server_for_tests_are_not_discarded_while_a_process_works_in_them(
    embedded: server.Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = server.Embedded(embedded.layout, embedded.search_path, durable=False)
    monkeypatch.setattr(cluster, "LEFTOVER_SECONDS", 0.2)
    # As a postmaster leaves it that was killed, whose children have not noticed yet.
    (tests.layout.data / "postmaster.pid").write_text("999999999\n")
    child = as_server("sh", "-c", f"cd {tests.layout.data} && exec sleep 60")
    try:
        while not cluster.works_in(child.pid, tests.layout.data):
            time.sleep(0.01)
        server.discard_unfit(tests)
        assert tests.layout.made
    finally:
        child.kill()
        child.wait()
    server.discard_unfit(tests)
    assert not tests.layout.made


def test_incomplete_data_directory_is_replaced(fresh: server.Embedded) -> None:
    fresh.layout.data.mkdir(parents=True)
    unfinished = fresh.layout.data.with_name("data.new-killed0")
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("15\n")
    (fresh.layout.data / "PG_VERSION").write_text("15\n")
    fresh.layout.marker.touch()
    events: list[Event] = []
    server.up(fresh, report=events.append)
    assert server.status(fresh).state == "running"
    assert not fresh.layout.unfinished()
    kept = list(fresh.layout.directory.glob("data.unusable-*/PG_VERSION"))
    assert len(kept) == 1
    assert any(getattr(event, "level", "") == "WARNING" for event in events)


def test_interrupted_initdb_leaves_nothing_that_looks_like_data(fresh: server.Embedded) -> None:
    process = processes.start_invoke("server.up", KAPMAN_SERVER_DIR=str(fresh.layout.directory))
    while process.poll() is None and not list(fresh.layout.directory.glob("data.new-*/PG_VERSION")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not fresh.layout.made
    server.up(fresh)
    assert server.status(fresh).state == "running"


def test_wrong_owner_and_permissions_are_corrected(embedded: server.Embedded) -> None:
    server.up(embedded)
    server.down(embedded)
    embedded.layout.data.chmod(0o755)
    if os.geteuid() == 0:
        for path in (embedded.layout.data, *embedded.layout.data.rglob("*")):
            os.chown(path, 0, 0)
    server.up(embedded)
    assert query(embedded, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["it's odd, is it", "l" * 120])
def test_directory_may_have_an_odd_or_a_long_name(fresh: server.Embedded, name: str) -> None:
    elsewhere = server.Embedded(Layout(fresh.layout.directory.with_name(name)), fresh.search_path)
    with_data(elsewhere)
    server.up(elsewhere)
    assert query(elsewhere, "SELECT 1") == 1
    assert stat.S_IMODE(elsewhere.layout.socket.stat().st_mode) == 0o700
    server.destroy(elsewhere)
    assert not elsewhere.layout.directory.exists()
    assert not elsewhere.layout.socket.exists()


def test_port_listens_on_loopback_and_wants_the_password(embedded: server.Embedded) -> None:
    running = server.up(embedded, port=0)
    assert show(embedded, "listen_addresses") == "127.0.0.1"
    url = address(embedded)
    with psycopg.connect(url) as connection:
        assert connection.info.host == "127.0.0.1"
        assert connection.pgconn.used_password
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(f"postgresql://postgres@127.0.0.1:{running.port}/postgres?passfile=/dev/null")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://postgres:wrong@127.0.0.1:{running.port}/postgres")
    assert query(embedded, "SELECT rolpassword LIKE 'SCRAM-SHA-256$%%' FROM pg_authid WHERE rolname = 'postgres'")


def test_password_is_kept_private_and_printed_nowhere(embedded: server.Embedded) -> None:
    environ = {"KAPMAN_SERVER_DIR": str(embedded.layout.directory)}
    outputs = [
        processes.run_invoke(*words, **environ)
        for words in (
            ("server.up", "--port", "auto", "--log-level", "DEBUG"),
            ("server.status", "--format", "json"),
        )
    ]
    assert [done.returncode for done in outputs] == [0, 0]
    password = embedded.layout.password.read_text().strip().rpartition(":")[2]
    assert len(password) > 30
    assert stat.S_IMODE(embedded.layout.password.stat().st_mode) == 0o600
    assert not any(password in done.stdout + done.stderr for done in outputs)
    assert password not in embedded.layout.log.read_text()
    assert f"passfile={embedded.layout.password}" in outputs[0].stdout


def test_password_that_a_killed_task_was_about_to_keep_is_in_no_way(embedded: server.Embedded) -> None:
    embedded.layout.password.with_name("password.new").write_text("half a l")
    server.up(embedded, port=0)
    psycopg.connect(address(embedded)).close()
    assert not embedded.layout.password.with_name("password.new").exists()


def test_password_stays_the_same_over_a_restart(embedded: server.Embedded) -> None:
    server.up(embedded, port=0)
    before = embedded.layout.password.read_text()
    server.down(embedded)
    server.up(embedded, port=0)
    assert embedded.layout.password.read_text() == before
    psycopg.connect(address(embedded)).close()


def test_port_restarts_an_idle_server_and_refuses_to_end_sessions(embedded: server.Embedded) -> None:
    first = server.up(embedded)
    with psycopg.connect(access.by_socket(embedded.layout, first).url()):
        with pytest.raises(ServerError, match="would end 1 session"):
            server.up(embedded, port=0)
        assert postmaster(embedded.layout.data) == first
    # A session ends a moment after its client has closed the connection.
    deadline = time.monotonic() + 30
    while access.other_sessions(access.by_socket(embedded.layout, first)) and time.monotonic() < deadline:
        time.sleep(0.05)
    second = server.up(embedded, port=0)
    assert second.listens
    assert second.pid != first.pid
    assert server.up(embedded, port=second.port) == second
    assert server.up(embedded) == second


@pytest.mark.parametrize("kind", ["taken", "privileged"])
def test_port_that_cannot_be_used_leaves_a_running_server_as_it_is(embedded: server.Embedded, kind: str) -> None:
    first = server.up(embedded)
    with servers.listening_port() as taken, pytest.raises(ServerError, match="cannot be used") as refused:
        server.up(embedded, port={"taken": taken, "privileged": 22}[kind])
    assert "--port auto" in refused.value.hint
    assert "destroy" not in refused.value.hint
    assert postmaster(embedded.layout.data) == first
    assert query(embedded, "SELECT 1") == 1


def test_port_is_remembered_until_it_is_given_up(embedded: server.Embedded) -> None:
    port = server.up(embedded, port=settings.ANY_PORT).port
    server.down(embedded)
    assert server.up(embedded).port == port
    assert server.up(embedded, port=settings.ANY_PORT).port == port
    psycopg.connect(address(embedded)).close()
    assert not server.up(embedded, port=settings.NO_PORT).listens
    server.down(embedded)
    assert not server.up(embedded).listens


def test_remembered_port_that_is_taken_by_now_does_not_keep_the_server_down(embedded: server.Embedded) -> None:
    port = server.up(embedded, port=settings.ANY_PORT).port
    server.down(embedded)
    said: list[Event] = []
    with socket.create_server(("127.0.0.1", port)):
        assert not server.up(embedded, report=said.append).listens
    assert f"not listening on port {port}: the port cannot be used" in str(said)
    server.down(embedded)
    assert server.up(embedded).port == port


@pytest.mark.parametrize("content", [b"99999", b"0", b"garbage", b"", b"\xff\xfe"], ids=repr)
def test_garbage_in_the_files_of_port_and_password_is_as_if_they_were_not_there(
    embedded: server.Embedded, content: bytes
) -> None:
    embedded.layout.port.write_bytes(content)
    embedded.layout.password.write_bytes(content)
    assert not server.up(embedded).listens
    assert server.up(embedded, port=settings.ANY_PORT).listens
    psycopg.connect(address(embedded)).close()


def test_taken_port_is_refused_before_anything_starts(fresh: server.Embedded) -> None:
    with servers.listening_port() as port, pytest.raises(ServerError, match="cannot be used"):
        server.up(fresh, port=port)
    assert not fresh.layout.made


def test_status_before_the_first_start_changes_nothing(fresh: server.Embedded) -> None:
    assert processes.run_invoke("server.status", KAPMAN_SERVER_DIR=str(fresh.layout.directory)).returncode == 3
    assert server.status(fresh).state == "no data"
    fresh.layout.directory.mkdir()
    fresh.layout.marker.touch()
    assert server.status(fresh).state == "no data"
    fresh.layout.marker.unlink()
    fresh.layout.directory.rmdir()
    assert not fresh.layout.directory.exists()


def test_status_prints_a_psql_command_that_works(embedded: server.Embedded) -> None:
    environ = {"KAPMAN_SERVER_DIR": str(embedded.layout.directory)}
    server.up(embedded)
    query(embedded, "CREATE DATABASE kapman_dev")
    done = processes.run_invoke("server.status", **environ)
    (command,) = (line for line in done.stdout.splitlines() if line.startswith("psql "))
    path = f"{servers.local_installation().binaries}:{os.environ['PATH']}"
    ask = [*shlex.split(command), "-XAtc", "SELECT current_database()"]
    asked = subprocess.run(ask, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert asked.stdout == "kapman_dev\n", asked.stderr


def test_install_on_a_machine_where_all_is_installed_is_one_line(fresh: server.Embedded) -> None:
    done = processes.run_invoke("server.install", KAPMAN_SERVER_DIR=str(fresh.layout.directory))
    installed = servers.local_installation()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"PostgreSQL {installed.version} with TimescaleDB {installed.timescaledb} is installed in {installed.binaries}."
    ]


def test_status_says_whether_the_server_runs(embedded: server.Embedded) -> None:
    environ = {"KAPMAN_SERVER_DIR": str(embedded.layout.directory)}
    assert server.status(embedded).state == "stopped"
    server.up(embedded)
    running = server.status(embedded)
    assert (running.state, running.size > 10_000_000) == ("running", True)
    assert processes.run_invoke("server.status", **environ).returncode == 0
    assert server.down(embedded).stopped
    assert server.status(embedded).state == "stopped"
    assert not server.down(embedded).stopped


def test_logs_show_as_many_lines_as_the_option_says(embedded: server.Embedded) -> None:
    server.up(embedded)
    last = server.log_lines(embedded, 2).lines
    query(embedded, "DO $$ BEGIN RAISE LOG 'a line for the log'; END $$")
    environ = {"KAPMAN_SERVER_DIR": str(embedded.layout.directory)}
    done = processes.run_invoke("server.logs", "--lines", "1", **environ)
    assert (done.returncode, len(done.stdout.splitlines()), len(last)) == (0, 1, 2)


def test_logs_show_the_end_and_follow_what_comes(embedded: server.Embedded) -> None:
    server.up(embedded)
    following = processes.start_invoke(
        "server.logs", "--lines", "1", "--follow", KAPMAN_SERVER_DIR=str(embedded.layout.directory)
    )
    assert following.stdout
    assert following.stderr
    try:
        assert following.stdout.readline().rstrip() in server.log_lines(embedded, 5).lines
        query(embedded, "DO $$ BEGIN RAISE LOG 'a line for the log'; END $$")
        assert "a line for the log" in next(line for line in following.stdout if "the log" in line)
        following.send_signal(signal.SIGINT)
        assert following.wait() == 128 + signal.SIGINT
        assert following.stderr.read() == ""
    finally:
        following.kill()
        following.communicate()


def test_log_of_a_server_that_has_never_run_is_followed_from_its_first_line(embedded: server.Embedded) -> None:
    following = server.follow_log(embedded, 1000)
    starting = threading.Timer(0.3, server.up, [embedded])
    starting.start()
    assert "starting PostgreSQL" in next(line for found in following for line in found.lines if "starting" in line)
    starting.join()


def test_errors_in_the_log_after_a_rebuild_are_those_that_the_docs_call_harmless(embedded: server.Embedded) -> None:
    environ = {"KAPMAN_SERVER_DIR": str(embedded.layout.directory)}
    assert processes.run_invoke("db.rebuild", **environ).returncode == 0
    deadline = time.monotonic() + 10
    while "Job History" not in embedded.layout.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    paragraph = (ROOT / "docs" / "servers.md").read_text().partition("Some errors in its log")[2].partition("\n\n")[0]
    explained = [" ".join(words.split()) for words in re.findall(r"`([^`]+)`", paragraph)]
    said = re.findall(r"(?:ERROR|FATAL|PANIC|WARNING):  (.*)", embedded.layout.log.read_text())
    assert said
    assert [text for text in said if not any(words in text for words in explained)] == []


@pytest.mark.parametrize("lines", ["abc", "0", "-5"])
def test_lines_of_the_log_are_a_positive_number(fresh: server.Embedded, lines: str) -> None:
    done = processes.run_invoke("server.logs", f"--lines={lines}", KAPMAN_SERVER_DIR=str(fresh.layout.directory))
    assert done.returncode == 2
    assert f'"{lines}"' in done.stderr
    assert "--> --lines" in done.stderr
    assert "hint: " in done.stderr


def test_logs_of_a_server_that_never_ran_are_empty(fresh: server.Embedded) -> None:
    done = processes.run_invoke("server.logs", KAPMAN_SERVER_DIR=str(fresh.layout.directory))
    assert (done.returncode, done.stdout) == (0, "")


def test_destroy_without_consent_keeps_everything(embedded: server.Embedded) -> None:
    server.up(embedded)
    done = processes.run_invoke("server.destroy", KAPMAN_SERVER_DIR=str(embedded.layout.directory))
    assert done.returncode == 5
    assert "server.destroy --yes" in done.stderr
    assert server.status(embedded).state == "running"


def test_destroy_with_consent_stops_and_removes_everything(embedded: server.Embedded) -> None:
    running = server.up(embedded, port=0)
    done = processes.run_invoke("server.destroy", "--yes", KAPMAN_SERVER_DIR=str(embedded.layout.directory))
    assert done.returncode == 0, done.stderr
    assert not embedded.layout.directory.exists()
    assert not Path(f"/proc/{running.pid}/cwd").exists()
    again = processes.run_invoke("server.destroy", KAPMAN_SERVER_DIR=str(embedded.layout.directory))
    assert again.returncode == 0


def labelled(embedded: server.Embedded, environment: str, rows: int) -> str:
    """Make a database of an environment on the embedded server, with rows, and return its name."""
    name = f"kapman_{environment}"
    query(embedded, f"CREATE DATABASE {name}")
    url = replace(access.by_socket(embedded.layout, running(embedded)), database=name).url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA dbops")
        connection.execute("CREATE TABLE precious AS SELECT generate_series(1, %s)", [rows])
        label.write(connection, environment)
    return name


def destroy(embedded: server.Embedded, *words: str) -> subprocess.CompletedProcess[str]:
    return processes.run_invoke("server.destroy", *words, KAPMAN_SERVER_DIR=str(embedded.layout.directory))


def test_destroy_of_a_server_with_a_prod_database_needs_its_name(embedded: server.Embedded) -> None:
    server.up(embedded)
    prod = labelled(embedded, "prod", 1000)
    labelled(embedded, "dev", 20)
    for words in (["--yes"], [], ["--yes", "--confirm", "kapman_dev"]):
        done = destroy(embedded, *words)
        assert done.returncode == 5, done.stderr
        assert "kapman_prod: prod, about 1,000 rows" in done.stderr
        assert "kapman_dev: dev, about 20 rows" in done.stderr
        assert f"--confirm {prod}." in done.stderr
        assert server.status(embedded).state == "running"
    assert destroy(embedded, "--confirm", prod).returncode == 0
    assert not embedded.layout.directory.exists()


def test_destroy_lists_the_databases_of_a_server_that_is_stopped(embedded: server.Embedded) -> None:
    server.up(embedded)
    labelled(embedded, "dev", 20)
    server.down(embedded)
    done = destroy(embedded)
    assert done.returncode == 5
    assert "kapman_dev: dev, about 20 rows" in done.stderr
    assert server.status(embedded).state == "stopped"
    assert destroy(embedded, "--yes").returncode == 0
    assert not embedded.layout.directory.exists()


def test_destroy_lists_a_database_that_only_has_a_name_like_one_of_this_tools(embedded: server.Embedded) -> None:
    server.up(embedded)
    for name in ("kapman_scratch_pad", "kapman_template_of_mine", "kapman_scratch_0123456789ab"):
        query(embedded, f"CREATE DATABASE {name}")
    query(embedded, "COMMENT ON DATABASE kapman_scratch_0123456789ab IS 'kapman-dbops: {}'")
    said = destroy(embedded).stderr
    assert "kapman_scratch_pad: no environment, no rows" in said
    assert "kapman_template_of_mine: no environment, no rows" in said
    assert "kapman_scratch_0123456789ab" not in said


def test_destroy_of_a_server_with_a_database_that_this_tool_did_not_build_needs_its_name(
    embedded: server.Embedded,
) -> None:
    server.up(embedded)
    query(embedded, "CREATE DATABASE shop")
    url = replace(access.by_socket(embedded.layout, running(embedded)), database="shop").url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders AS SELECT 1 AS id")
    done = destroy(embedded, "--yes")
    assert done.returncode == 5
    assert "shop was not built by this tool" in done.stderr
    assert "--confirm shop." in done.stderr
    assert server.status(embedded).state == "running"
    assert destroy(embedded, "--confirm", "shop").returncode == 0


def test_destroy_of_a_server_with_rows_in_the_database_postgres_needs_its_name(embedded: server.Embedded) -> None:
    server.up(embedded)
    query(embedded, "CREATE TABLE orders AS SELECT 1 AS id")
    done = destroy(embedded, "--yes")
    assert (done.returncode, "postgres: no environment, rows in public.orders" in done.stderr) == (5, True)
    assert destroy(embedded, "--confirm", "postgres").returncode == 0


def test_destroy_of_a_server_with_a_database_that_a_rebuild_has_kept_needs_its_name(embedded: server.Embedded) -> None:
    at = {"KAPMAN_SERVER_DIR": str(embedded.layout.directory)}
    for words in ((), ("--keep",)):
        done = processes.run_invoke("db.rebuild", *words, **at)
        assert done.returncode == 0, done.stderr
    kept = query(
        embedded, "SELECT datname::text FROM pg_database WHERE NOT datallowconn AND datname ~ '^kapman_scratch'"
    )
    done = destroy(embedded, "--yes")
    assert done.returncode == 5
    assert f"{kept}: no environment, may hold rows" in done.stderr
    assert f"--confirm {kept}" in done.stderr
    assert destroy(embedded, "--confirm", kept).returncode == 0


def test_destroy_of_a_server_that_cannot_start_needs_its_directory_as_confirmation(embedded: server.Embedded) -> None:
    with (embedded.layout.data / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    done = destroy(embedded, "--yes")
    assert done.returncode == 5
    assert "its databases could not be listed: the embedded server did not start" in done.stderr
    assert f"--confirm {embedded.layout.directory}." in done.stderr
    assert destroy(embedded, "--confirm", str(embedded.layout.directory)).returncode == 0
    assert not embedded.layout.directory.exists()


def test_destroy_keeps_files_that_are_not_its_own(embedded: server.Embedded) -> None:
    server.up(embedded)
    (embedded.layout.directory / "notes.txt").write_text("mine")
    server.destroy(embedded)
    assert [path.name for path in embedded.layout.directory.iterdir()] == ["notes.txt"]


def test_destroy_removes_what_it_made_and_nothing_of_a_similar_name(embedded: server.Embedded) -> None:
    server.up(embedded)
    directory = embedded.layout.directory
    kept = {"data.csv", "data-2024", "database-backup", "data.new-import", "data.unusable-1700000000", "log", "notes"}
    for name in kept - {"data.csv", "log"}:
        (directory / name).mkdir()
        (directory / name / "file").write_text("mine")
    (directory / "data.csv").write_text("mine")
    (directory / "log" / "server.log.1").write_text("mine")
    (directory / "data.new-abcd_123").mkdir()
    done = destroy(embedded, "--yes")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in directory.iterdir()} == kept
    assert [path.name for path in (directory / "log").iterdir()] == ["server.log.1"]
    assert "data.unusable-1700000000 stays: it may hold data" in done.stderr
    assert "data.csv stays: this tool did not make it" in done.stderr


def test_data_that_no_server_could_start_on_is_kept_by_destroy_and_does_not_keep_up_from_working(
    embedded: server.Embedded,
) -> None:
    (embedded.layout.data / "global" / "pg_control").unlink()
    assert destroy(embedded).returncode == 0
    (kept,) = embedded.layout.directory.iterdir()
    assert (kept / "PG_VERSION").exists()
    assert destroy(embedded).returncode == 0
    server.up(embedded)
    server.destroy(embedded)
    assert list(embedded.layout.directory.iterdir()) == [kept]


def test_foreign_directory_is_neither_used_nor_destroyed(fresh: server.Embedded) -> None:
    fresh.layout.directory.mkdir()
    (fresh.layout.directory / "notes.txt").write_text("mine")
    for verb in (server.up, server.destroy):
        with pytest.raises(ServerError, match="did not make"):
            verb(fresh)
    assert [path.name for path in fresh.layout.directory.iterdir()] == ["notes.txt"]


WRONG_KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "log": (Path.touch, "a file or a link is where the server needs a directory"),
    "socket": (Path.touch, "a file or a link is where the server needs a directory"),
    "server.conf": (Path.mkdir, "cannot use the embedded server's directory: Is a directory"),
    "port": (Path.mkdir, "cannot use the embedded server's directory: Is a directory"),
    "lock": (Path.mkdir, "cannot use the embedded server's directory: Is a directory"),
    "kapman-dbops-server": (Path.mkdir, "the directory holds files that this tool did not make"),
    "data/postmaster.pid": (Path.mkdir, "postmaster.pid is not a regular file"),
}


@pytest.mark.parametrize("name", WRONG_KINDS)
def test_file_in_place_of_a_directory_and_the_reverse_are_named(embedded: server.Embedded, name: str) -> None:
    make, said = WRONG_KINDS[name]
    path = embedded.layout.directory / name
    path.unlink(missing_ok=True)
    make(path)
    with pytest.raises(ServerError, match=said) as caught:
        server.up(embedded)
    assert name in caught.value.where or name == "kapman-dbops-server"
    path.rmdir() if path.is_dir() else path.unlink()
    embedded.layout.marker.touch()
    server.up(embedded)


def test_unreachable_directory_is_reported_with_the_setting_that_moves_it(fresh: server.Embedded) -> None:
    if os.geteuid() != 0:
        fresh.layout.directory.mkdir(mode=0o500)
    else:
        fresh.layout.directory.parent.chmod(0o700)
    with pytest.raises(ServerError) as caught:
        server.up(fresh)
    assert "KAPMAN_SERVER_DIR" in caught.value.hint


@pytest.fixture
def small_disk(fresh: server.Embedded) -> Iterator[server.Embedded]:
    """Return the server on a file system of its own that has room for one data directory, and hardly more."""
    parent = fresh.layout.directory.parent
    mounted = ["mount", "-t", "tmpfs", "-o", "size=45m,mode=755", "tmpfs", str(parent)]
    if os.geteuid() != 0 or subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield fresh
    finally:
        server.down(fresh)
        subprocess.run(["umount", str(parent)], check=True)


def fill(directory: Path) -> None:
    """Take all room that the file system of a directory has."""
    with suppress(OSError), (directory / "fill").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**20))


@pytest.mark.slow
def test_disk_that_is_full_before_the_first_start_is_the_reason_that_is_shown(small_disk: server.Embedded) -> None:
    fill(small_disk.layout.directory.parent)
    (small_disk.layout.directory.parent / "fill").open("r+b").truncate(30 * 2**20)
    with pytest.raises(ServerError, match="initdb could not make the data directory") as caught:
        server.up(small_disk)
    assert "No space left on device" in caught.value.render()
    assert not small_disk.layout.data.exists()
    (small_disk.layout.directory.parent / "fill").unlink()
    server.up(small_disk)


@pytest.mark.slow
def test_disk_that_is_full_costs_no_data_and_no_way_to_stop(small_disk: server.Embedded) -> None:
    server.up(small_disk)
    fill(small_disk.layout.directory.parent)
    assert server.down(small_disk).stopped
    for path in (small_disk.layout.configuration, small_disk.layout.access):
        path.unlink()
    fill(small_disk.layout.directory.parent)
    with pytest.raises(ServerError) as caught:
        server.up(small_disk)
    assert "cannot use the embedded server's directory: No space left on device" in caught.value.render()
    assert "destroy" not in caught.value.hint
    done = processes.run_invoke("server.destroy", "--yes", KAPMAN_SERVER_DIR=str(small_disk.layout.directory))
    assert (done.returncode, "Add --confirm" in done.stderr) == (5, True)
    (small_disk.layout.directory.parent / "fill").unlink()
    server.up(small_disk)


OTHER_VERSIONS = {
    "14\n": "was made by PostgreSQL 14, and only PostgreSQL 15",
    "9.6\n": "was made by PostgreSQL 9,",
    "99\n": "was made by PostgreSQL 99,",
    "": "the data directory is damaged: PG_VERSION does not hold a version",
    "garbage": "is damaged",
    "9" * 5000: "is damaged",
    None: "is damaged",
}


@pytest.mark.parametrize("text", OTHER_VERSIONS, ids=repr)
def test_data_directory_that_no_server_here_can_use_is_explained_with_both_ways_out(
    embedded: server.Embedded, text: str | None
) -> None:
    version = embedded.layout.data / "PG_VERSION"
    version.unlink()
    if text is not None:
        version.write_text(text)
    found = server.status(embedded)
    assert (found.state, OTHER_VERSIONS[text] in found.problem) == ("unusable", True)
    with pytest.raises(ServerError) as refused:
        server.up(embedded)
    assert refused.value.what == found.problem
    assert "To keep the data, " in refused.value.hint
    assert "`invoke server.destroy`, then `invoke server.up`" in refused.value.hint
    assert "server.install" not in refused.value.hint
    assert not server.down(embedded).stopped
    assert version.exists() == (text is not None)


def test_every_task_says_what_is_wrong_with_the_data_directory(embedded: server.Embedded) -> None:
    environ = {"KAPMAN_SERVER_DIR": str(embedded.layout.directory)}
    (embedded.layout.data / "PG_VERSION").write_text("14\n")
    for words, code in ((["server.status"], 3), (["server.up"], 3), (["db.rebuild"], 3)):
        done = processes.run_invoke(*words, **environ)
        assert done.returncode == code, done.stderr
        assert "made by PostgreSQL 14" in done.stdout + done.stderr
    assert destroy(embedded, "--confirm", str(embedded.layout.directory)).returncode == 0
    assert not embedded.layout.directory.exists()


def test_damaged_version_file_of_a_running_server_does_not_keep_it_from_being_stopped(
    embedded: server.Embedded,
) -> None:
    server.up(embedded)
    (embedded.layout.data / "PG_VERSION").write_text("garbage")
    assert server.down(embedded).stopped
    assert not postmaster(embedded.layout.data)


@needs_root
def test_data_of_another_account_is_neither_taken_nor_read(embedded: server.Embedded) -> None:
    Account(12345, 12345).own(embedded.layout.data)
    with pytest.raises(ServerError, match="the data directory belongs to another account"):
        server.up(embedded)
    assert embedded.layout.data.stat().st_uid == 12345
    os.seteuid(65534)
    try:
        for verb in (server.status, server.up, server.down):
            with pytest.raises(ServerError, match=r"another account|cannot use"):
                verb(embedded)
    finally:
        os.seteuid(0)


def test_data_directory_that_links_to_what_is_not_mounted_is_not_made_anew(embedded: server.Embedded) -> None:
    elsewhere = embedded.layout.directory / "elsewhere"
    embedded.layout.data.rename(elsewhere)
    embedded.layout.data.symlink_to(elsewhere)
    server.up(embedded)
    server.down(embedded)
    gone = elsewhere.rename(elsewhere.with_name("unmounted"))
    with pytest.raises(ServerError, match="link to what does not exist"):
        server.up(embedded)
    gone.rename(elsewhere)
    said: list[Event] = []
    server.destroy(embedded, report=said.append)
    assert f"{elsewhere}" in str(said)
    assert (elsewhere / "PG_VERSION").exists()


# What the account that runs the server puts into its directories.


@needs_root
@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize("place", ["data/PG_VERSION", "data/postmaster.pid", "log/server.log"])
def test_root_reads_no_file_through_what_the_servers_account_planted(
    embedded: server.Embedded, tmp_path: Path, place: str, kind: str
) -> None:
    server.up(embedded)
    server.down(embedded)
    secret = tmp_path / "secret"
    secret.write_text("15 is a secret\n" * 10)
    planted = embedded.layout.directory / place
    planted.unlink(missing_ok=True)
    as_server("ln", "-s", str(secret), str(planted)).wait() if kind == "link" else os.mkfifo(planted)
    environ = {"KAPMAN_SERVER_DIR": str(embedded.layout.directory), "PATH": embedded.search_path}
    verbs: list[Callable[[], object]] = [
        lambda: server.status(embedded),
        lambda: server.log_lines(embedded, 50),
        lambda: server.find_running(environ),
        lambda: server.up(embedded),
        lambda: next(server.follow_log(embedded, 50)),
    ]
    for verb in verbs:
        try:
            said = str(verb())
        except ServerError as error:
            said = error.render()
        assert "a secret" not in said
    with pytest.raises(ServerError, match="is not a regular file"):
        server.log_lines(embedded, 5) if "log" in place else server.status(embedded)
    planted.unlink()


@needs_root
@pytest.mark.parametrize("name", ["log", "socket"])
def test_root_gives_away_no_directory_that_a_link_leads_to(
    embedded: server.Embedded, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o755)
    (victim / ".s.PGSQL.5432").touch()
    (embedded.layout.directory / name).symlink_to(victim)
    with pytest.raises(ServerError, match="a file or a link is where the server needs a directory"):
        server.up(embedded)
    server.destroy(embedded)
    assert (victim.stat().st_uid, stat.S_IMODE(victim.stat().st_mode)) == (0, 0o755)
    assert (victim / ".s.PGSQL.5432").exists()


@needs_root
def test_root_writes_nothing_where_the_servers_account_could_have_put_links(
    embedded: server.Embedded, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("root's")
    directory = embedded.layout.directory
    account = Account.current()
    for name in ("server.conf", "pg_hba.conf", "lock", "port", "install.log"):
        (directory / name).symlink_to(victim)
    for path, uid, mode in (
        (directory, account.uid, 0o755),
        (directory, 0, 0o777),
        (directory.parent, account.uid, 0o755),
    ):
        os.chown(path, uid, 0)
        path.chmod(mode)
        for verb in (server.up, server.down, server.destroy):
            with pytest.raises(ServerError, match="another account can change"):
                verb(embedded)
        os.chown(path, 0, 0)
        path.chmod(0o755)
    assert victim.read_text() == "root's"
    assert victim.stat().st_uid == 0
    embedded.layout.marker.unlink()
    embedded.layout.marker.symlink_to(tmp_path / "made")
    directory.chmod(0o777)
    with pytest.raises(ServerError, match="another account can change"):
        server.up(embedded)
    assert not (tmp_path / "made").exists()


@needs_root
def test_what_links_in_the_data_directory_lead_to_keeps_its_owner(embedded: server.Embedded, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (victim / "inner").mkdir(parents=True)
    Account(0, 0).own(embedded.layout.data)
    (embedded.layout.data / "pg_tblspc" / "1").symlink_to(victim)
    (embedded.layout.data / "file").symlink_to(victim / "inner")
    server.up(embedded)
    assert {path.stat().st_uid for path in (victim, victim / "inner")} == {0}


def test_server_that_cannot_start_shows_the_end_of_its_log(embedded: server.Embedded) -> None:
    server.up(embedded)
    server.down(embedded)
    with (embedded.layout.data / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(ServerError) as caught:
        server.up(embedded)
    assert "no_such_setting" in caught.value.render()


def test_environment_of_the_caller_does_not_leak_into_the_server(embedded: server.Embedded) -> None:
    leaks = {"PGDATA": "/nowhere", "PGPORT": "1", "PGHOST": "/nowhere", "PGOPTIONS": "-c work_mem=1GB"}
    done = processes.run_invoke("server.up", KAPMAN_SERVER_DIR=str(embedded.layout.directory), **leaks)
    assert done.returncode == 0, done.stderr
    assert query(embedded, "SELECT 1") == 1


def test_ensure_running_gives_an_address_that_settings_understand(embedded: server.Embedded) -> None:
    environ = {"KAPMAN_SERVER_DIR": str(embedded.layout.directory), "PATH": os.environ["PATH"]}
    chosen = settings.choose_target(environ, lambda: server.ensure_running(environ), env="test")
    assert chosen.embedded
    assert chosen.database == "kapman_test"
    assert postmaster(embedded.layout.data)


def test_looking_for_the_server_neither_makes_nor_starts_it(fresh: server.Embedded) -> None:
    environ = {"KAPMAN_SERVER_DIR": str(fresh.layout.directory), "PATH": os.environ["PATH"]}
    with pytest.raises(ServerError, match="there is no embedded server") as missing:
        server.find_running(environ)
    assert "invoke db.rebuild" in missing.value.hint
    assert not fresh.layout.directory.exists()
    servers.copy_data_directory(fresh.layout)
    with pytest.raises(ServerError, match="does not run") as stopped:
        server.find_running(environ)
    assert "invoke server.up" in stopped.value.hint
    assert [path.name for path in fresh.layout.directory.iterdir()] == ["data"]
    fresh.layout.marker.touch()
    server.up(fresh)
    with psycopg.connect(server.find_running(environ).url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_install_changes_nothing_where_all_is_there(fresh: server.Embedded) -> None:
    assert server.install(fresh) == servers.local_installation()
    assert not fresh.layout.directory.exists()


def test_leftovers_of_a_killed_install_do_not_prevent_a_start(fresh: server.Embedded) -> None:
    fresh.layout.directory.mkdir()
    fresh.layout.lock.touch()
    server.up(fresh)
    assert query(fresh, "SELECT 1") == 1


@pytest.mark.slow
def test_variables_of_libpq_neither_name_nor_change_the_embedded_server(embedded: server.Embedded) -> None:
    variables = {
        "PGTARGETSESSIONATTRS": "standby",
        "PGREQUIREAUTH": "scram-sha-256",
        "PGUSER": "somebody_else",
        "PGPASSWORD": "s3kret-w0rd",
        "PGSSLMODE": "verify-full",
        "PGOPTIONS": "-c statement_timeout=1",
        "PGCLIENTENCODING": "SJIS",
    }
    environ = {**variables, "KAPMAN_SERVER_DIR": str(embedded.layout.directory)}
    server.up(embedded)
    done = processes.run_invoke("db.wait", "--timeout", "10", **environ)
    assert done.returncode == 0, done.stderr
    assert re.search("PGUSER.*: not used for the embedded server", done.stderr)
    assert "s3kret" not in done.stderr + done.stdout
