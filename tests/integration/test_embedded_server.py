"""The embedded server as an operator meets it: every test has a directory and real servers of its own."""

import os
import shlex
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dbops import label, server, settings
from dbops.errors import ServerError
from dbops.events import Event
from dbops.server import access
from dbops.server.cluster import Account, Cluster, Postmaster, postmaster
from dbops.server.directory import Layout
from tests.support import processes, servers

pytestmark = pytest.mark.slow


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
    fresh.layout.directory.mkdir()
    servers.copy_data_directory(fresh.layout)
    fresh.layout.marker.touch()
    return fresh


def query(embedded: server.Embedded, statement: str, *values: object) -> Any:
    """Run one statement on the embedded server and return its first value."""
    with psycopg.connect(
        access.by_socket(embedded.layout, running(embedded)).url("postgres"), autocommit=True
    ) as session:
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
    shown = server.status(embedded).address
    assert shown
    return shown.url("postgres")


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
    assert query(fresh, "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'") == 1


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


def test_incomplete_data_directory_is_replaced(fresh: server.Embedded) -> None:
    fresh.layout.data.mkdir(parents=True)
    unfinished = fresh.layout.data.with_name("data.new-killed")
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


def test_password_stays_the_same_over_a_restart(embedded: server.Embedded) -> None:
    server.up(embedded, port=0)
    before = embedded.layout.password.read_text()
    server.down(embedded)
    server.up(embedded, port=0)
    assert embedded.layout.password.read_text() == before
    psycopg.connect(address(embedded)).close()


def test_port_restarts_an_idle_server_and_refuses_to_end_sessions(embedded: server.Embedded) -> None:
    first = server.up(embedded)
    with psycopg.connect(access.by_socket(embedded.layout, first).url("postgres")):
        with pytest.raises(ServerError, match="would end 1 session"):
            server.up(embedded, port=0)
        assert postmaster(embedded.layout.data) == first
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
    port = server.up(embedded, port=server.ANY_PORT).port
    server.down(embedded)
    assert server.up(embedded).port == port
    assert server.up(embedded, port=server.ANY_PORT).port == port
    psycopg.connect(address(embedded)).close()
    assert not server.up(embedded, port=server.NO_PORT).listens
    server.down(embedded)
    assert not server.up(embedded).listens


def test_remembered_port_that_is_taken_by_now_does_not_keep_the_server_down(embedded: server.Embedded) -> None:
    port = server.up(embedded, port=server.ANY_PORT).port
    server.down(embedded)
    said: list[Event] = []
    with socket.create_server(("127.0.0.1", port)):
        assert not server.up(embedded, report=said.append).listens
    assert f"not listening on port {port}: the port cannot be used" in str(said)
    server.down(embedded)
    assert server.up(embedded).port == port


def test_taken_port_is_refused_before_anything_starts(fresh: server.Embedded) -> None:
    with servers.listening_port() as port, pytest.raises(ServerError, match="cannot be used"):
        server.up(fresh, port=port)
    assert not fresh.layout.made


def test_status_before_the_first_start_changes_nothing(fresh: server.Embedded) -> None:
    assert processes.run_invoke("server.status", KAPMAN_SERVER_DIR=str(fresh.layout.directory)).returncode == 3
    assert server.status(fresh).state == "installed"
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
    assert server.down(embedded)
    assert server.status(embedded).state == "stopped"
    assert not server.down(embedded)


def test_logs_show_the_end_and_follow_what_comes(embedded: server.Embedded) -> None:
    server.up(embedded)
    following = processes.start_invoke(
        "server.logs", "--lines", "1", "--follow", KAPMAN_SERVER_DIR=str(embedded.layout.directory)
    )
    assert following.stdout
    assert following.stderr
    try:
        assert following.stdout.readline().rstrip() in server.log_lines(embedded, 5)
        query(embedded, "DO $$ BEGIN RAISE LOG 'a line for the log'; END $$")
        assert "a line for the log" in next(line for line in following.stdout if "the log" in line)
        following.send_signal(signal.SIGINT)
        assert following.wait() == 128 + signal.SIGINT
        assert following.stderr.read() == ""
    finally:
        following.kill()
        following.communicate()


def test_log_of_a_server_that_has_never_run_is_followed_from_its_first_line(fresh: server.Embedded) -> None:
    following = server.follow_log(fresh, 1000)
    starting = threading.Timer(0.3, server.up, [fresh])
    starting.start()
    assert "starting PostgreSQL" in next(line for line in following if "starting" in line)
    starting.join()


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
    url = access.by_socket(embedded.layout, running(embedded)).url(name)
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


def test_foreign_directory_is_neither_used_nor_destroyed(fresh: server.Embedded) -> None:
    fresh.layout.directory.mkdir()
    (fresh.layout.directory / "notes.txt").write_text("mine")
    for verb in (server.up, server.destroy):
        with pytest.raises(ServerError, match="did not make"):
            verb(fresh)
    assert [path.name for path in fresh.layout.directory.iterdir()] == ["notes.txt"]


def test_unreachable_directory_is_reported_with_the_setting_that_moves_it(fresh: server.Embedded) -> None:
    if os.geteuid() != 0:
        fresh.layout.directory.mkdir(mode=0o500)
    else:
        fresh.layout.directory.parent.chmod(0o700)
    with pytest.raises(ServerError) as caught:
        server.up(fresh)
    assert "KAPMAN_SERVER_DIR" in caught.value.hint


def test_data_of_another_major_version_is_an_error(embedded: server.Embedded) -> None:
    server.up(embedded)
    server.down(embedded)
    (embedded.layout.data / "PG_VERSION").write_text("14\n")
    with pytest.raises(ServerError, match="PostgreSQL 14 with TimescaleDB is not installed"):
        server.up(embedded)


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
    with psycopg.connect(server.find_running(environ) + "&dbname=postgres") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_install_changes_nothing_where_all_is_there(fresh: server.Embedded) -> None:
    assert server.install(fresh) == servers.local_installation()
    assert not fresh.layout.directory.exists()


def test_leftovers_of_a_killed_install_do_not_prevent_a_start(fresh: server.Embedded) -> None:
    fresh.layout.directory.mkdir()
    fresh.layout.lock.touch()
    server.up(fresh)
    assert query(fresh, "SELECT 1") == 1
