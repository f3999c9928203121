"""The pytest plugin: fresh databases for the tests of other repositories."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from dbops import postgres, testing
from dbops import server as dbops_server
from dbops.errors import MigrationError, ServerError
from dbops.server.cluster import postmaster
from dbops.settings import Target
from tests.support import operators, processes, servers
from tests.support.migration_files import write
from tests.support.servers import TestServer

pytestmark = pytest.mark.slow

TESTS = """
import pytest


@pytest.mark.parametrize("symbol", ["KAP", "MAN"])
def test_writes_into_a_database_of_its_own(kapman_db, symbol):
    with kapman_db.connect() as connection:
        assert connection.execute("SELECT count(*) FROM tickers").fetchone() == (0,)
        connection.execute("INSERT INTO tickers (symbol) VALUES (%s)", [symbol])
"""
FAILS = """
def test_fails(kapman_db):
    with kapman_db.connect() as connection:
        connection.execute("INSERT INTO tickers (symbol) VALUES ('KEPT')")
    assert kapman_db.url.startswith("postgresql://")
    raise AssertionError
"""


def run_pytest(
    python: Path | str, directory: Path, url: str | None, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest in a directory, with the server that a URL names, None for the plugin's own choice."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))}
    environ.pop(testing.VARIABLE, None)
    given = {} if url is None else {testing.VARIABLE: url}
    return subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=directory,
        env={**environ, **given, **variables},
        text=True,
        capture_output=True,
        check=False,
    )


def clean(url: str) -> list[str]:
    """Run the documented line that drops what tests left over, and return the names that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "dbops.testing"],
        env={**os.environ, testing.VARIABLE: url},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return re.findall(r"^dropped (\S+)$", done.stdout, re.MULTILINE)


@contextmanager
def creator(server: TestServer) -> Iterator[Target]:
    """Yield the maintenance database as a role that may create databases and nothing else; what it has is dropped."""
    with operators.role(server) as name:
        yield operators.as_role(server.target(), name)


def databases_of(server: TestServer, target: Target, beginning: str = "") -> set[str]:
    """Return the databases that a target's role has and whose names begin in a way."""
    query = f"SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = '{target.parameters['user']}'"
    return {str(name) for (name,) in server.execute(query) if str(name).startswith(beginning)}


def kept_databases(server: TestServer) -> list[str]:
    return [
        str(row[0]) for row in server.execute("SELECT datname FROM pg_database WHERE datname LIKE 'kapman\\_test%'")
    ]


def test_database_of_a_failed_test_is_kept_and_its_address_is_printed(server: TestServer, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FAILS)
    before = kept_databases(server)
    target = server.target(password="s3cret") if server.directory else server.target()
    done = run_pytest(sys.executable, tmp_path, target.url())
    assert done.returncode == 1, done.stdout
    assert (target.password or "s3cret") not in done.stdout
    printed = re.search(r"kept for inspection: postgresql://[^ ]*/(kapman_test_\w+)", done.stdout)
    assert printed
    name = printed[1]
    assert name in set(kept_databases(server)) - set(before)
    assert server.execute("SELECT symbol FROM tickers", name) == [("KEPT",)]
    server.execute(f'DROP DATABASE "{name}"')


def test_template_is_built_once_and_again_if_a_run_was_interrupted_while_building_it(
    server: TestServer, tmp_path: Path
) -> None:
    target = server.target("postgres")
    # A template of its own: other tests clone that of the baseline meanwhile.
    directory = write(tmp_path, f"CREATE TABLE public.{servers.fresh_name()} ();")
    name = testing.build_template(target, directory)
    oid = f"SELECT oid, datallowconn, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{name}'"
    ((first, allowed, comment),) = server.execute(oid)
    assert allowed is False
    assert str(comment).startswith(testing.COMPLETE)
    assert testing.build_template(target, directory) == name
    assert server.execute(oid)[0][0] == first
    server.execute(f'COMMENT ON DATABASE "{name}" IS NULL')
    testing.build_template(target, directory)
    assert server.execute(oid)[0][0] != first
    server.execute(f'DROP DATABASE "{name}"')


@pytest.mark.parametrize(
    "parameters",
    [{"host": "/a b/c", "port": "1"}, {"host": "::1", "port": "2", "user": "a@b", "password": "p:/?"}, {"user": "x"}],
)
def test_address_holds_what_a_connection_needs(parameters: dict[str, str]) -> None:
    parsed = conninfo_to_dict(Target(parameters, "odd name").url())
    assert parsed == {**parameters, "dbname": "odd name"}


def test_small_repository_that_installs_the_wheel_gets_databases_of_its_own(
    server: TestServer, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    with creator(server) as target:
        done = run_pytest(programs / "python", tmp_path, target.url(), "-n", "2")
        assert (done.returncode, "2 passed" in done.stdout) == (0, True), done.stdout + done.stderr
        (left,) = databases_of(server, target)
        assert left.startswith("kapman_template_")


def test_fixtures_are_there_without_an_import(server: TestServer, tmp_path: Path) -> None:
    names = ("kapman_server", "kapman_template", "kapman_db")
    tests = "".join(f"def test_{name}({name}):\n    assert {name}\n" for name in names)
    (tmp_path / "test_it.py").write_text(tests + TESTS)
    # libpq's variables do not lead to another server.
    done = run_pytest(sys.executable, tmp_path, server.url("postgres"), PGHOSTADDR="192.0.2.1", PGDATABASE="x")
    assert (done.returncode, "5 passed" in done.stdout) == (0, True), done.stdout


def test_role_that_may_create_databases_needs_no_more_whoever_made_templates_before(
    server: TestServer, tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    with creator(server) as other, creator(server) as target:
        for builder in (server.target(), other):
            testing.build_template(builder)
        done = run_pytest(sys.executable, tmp_path, target.url())
        assert (done.returncode, "2 passed" in done.stdout) == (0, True), done.stdout
        (left,) = databases_of(server, target)
        assert left.startswith("kapman_template_")


LOSES_ITS_SESSION = """
def test_of_a_server_that_ends_all_sessions(kapman_db):
    with kapman_db.connect(autocommit=True) as connection:
        others = "usename = session_user AND pid <> pg_backend_pid()"
        connection.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")
"""


def test_session_that_is_lost_costs_one_test_and_not_those_after_it(server: TestServer, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(LOSES_ITS_SESSION + TESTS)
    with creator(server) as target:
        done = run_pytest(sys.executable, tmp_path, target.url())
        assert "3 passed, 1 error" in done.stdout, done.stdout


MISFITS = {
    "collation": "UPDATE pg_database SET datcollversion = '1.0' WHERE datname = '{}'",
    "version": f"COMMENT ON DATABASE \"{{}}\" IS '{testing.COMPLETE}, with TimescaleDB 2.0.0'",
    "incomplete": 'COMMENT ON DATABASE "{}" IS NULL',
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_template_that_does_not_fit_the_server_any_more_is_built_anew(
    server: TestServer, tmp_path: Path, misfit: str
) -> None:
    directory = write(tmp_path, f"CREATE TABLE public.{servers.fresh_name()} ();")
    name = testing.build_template(server.target(), directory)
    oid = f"SELECT oid FROM pg_database WHERE datname = '{name}'"
    before = server.execute(oid)
    server.execute(MISFITS[misfit].format(name))
    assert testing.build_template(server.target(), directory) == name
    assert server.execute(oid) != before
    server.execute(f'DROP DATABASE "{name}"')


def test_template_that_another_role_made_is_neither_cloned_nor_dropped(server: TestServer, tmp_path: Path) -> None:
    directory = write(tmp_path, f"CREATE TABLE public.{servers.fresh_name()} ();")
    with creator(server) as stranger:
        name = testing.build_template(server.target(), directory)
        ((comment,),) = server.execute(
            f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{name}'"
        )
        server.execute(f'DROP DATABASE "{name}"')
        for planted in (name, f"{name}_new"):
            servers.run(stranger, f'CREATE DATABASE "{planted}"', f"COMMENT ON DATABASE \"{planted}\" IS '{comment}'")
            with pytest.raises(ServerError, match=f"belongs to {stranger.parameters['user']}") as refused:
                testing.build_template(server.target(), directory)
            assert f'DROP DATABASE "{planted}"' in refused.value.hint
            servers.run(stranger, f'DROP DATABASE "{planted}"')


def test_failed_or_interrupted_build_leaves_nothing_that_could_be_cloned(server: TestServer, tmp_path: Path) -> None:
    table = servers.fresh_name()
    broken = write(tmp_path / "broken", f"CREATE TABLE public.{table} ();", "SELECT 1 / 0;")
    with creator(server) as target:
        with pytest.raises(MigrationError, match="division by zero"):
            testing.build_template(target, broken)
        assert databases_of(server, target) == set()
        corrected = write(tmp_path / "corrected", f"CREATE TABLE public.{table} ();", "SELECT 1;")
        name = testing.build_template(target, corrected)
        assert databases_of(server, target) == {name}
        with postgres.connect(target) as connection:
            testing.clone(connection, name, f"{table}_clone")
        assert server.execute(f"SELECT FROM {table}", f"{table}_clone") == []
        servers.run(target, f'DROP DATABASE "{table}_clone"')


def test_databases_of_a_killed_process_are_dropped_by_the_next_and_others_stay(
    server: TestServer, tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(FAILS + "\n\nimport os\ndef test_killed(kapman_db): os.kill(os.getpid(), 9)\n")
    with creator(server) as target:
        url = target.url()
        assert run_pytest(sys.executable, tmp_path, url).returncode == -signal.SIGKILL
        kept, left = sorted(databases_of(server, target, "kapman_test_"))
        living = testing.Clones.on(target)
        used = living.clone(testing.build_template(target))
        assert databases_of(server, target, "kapman_test_") == {kept, used}
        assert left != kept
        (template,) = databases_of(server, target, "kapman_template_")
        assert set(clean(url)) == {kept, template}
        assert databases_of(server, target) == {used}
        living.connection.close()


ADDRESSES = {
    "nothing listens": ("postgresql://ci:s3cret@127.0.0.1:1/postgres", "127.0.0.1:1"),
    "no right": ("{}", "permission denied to create database"),
}


@pytest.mark.parametrize("kind", ADDRESSES)
def test_error_of_a_fixture_is_one_message_with_address_variable_and_hint(
    server: TestServer, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    url, said = ADDRESSES[kind]
    with operators.role(server, "LOGIN") as name:
        target = operators.as_role(server.target(), name)
        done = run_pytest(sys.executable, tmp_path, url.format(target.url()))
    assert done.returncode == 1
    assert said in done.stdout
    assert f"({testing.VARIABLE})" in done.stdout
    assert "hint: " in done.stdout
    assert "s3cret" not in done.stdout
    assert operators.PASSWORD not in done.stdout
    assert "Traceback" not in done.stdout
    assert "testing.py" not in done.stdout


@pytest.mark.parametrize(("url", "said"), [("mysql://ci:s3cret@db/x", "scheme"), ("", "is set, but empty")])
def test_variable_that_names_no_server_is_an_error(monkeypatch: pytest.MonkeyPatch, url: str, said: str) -> None:
    monkeypatch.setenv(testing.VARIABLE, url)
    with pytest.raises(pytest.fail.Exception, match=said) as failed, testing._explained():
        testing._server()
    assert f"--> {testing.VARIABLE}" in str(failed.value)
    assert "hint: " in str(failed.value)
    assert "s3cret" not in str(failed.value)


SETTINGS = """
def test_server(kapman_db):
    with kapman_db.connect() as connection:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("off",)
"""


def test_without_a_url_tests_have_a_server_without_durability_that_the_server_tasks_stop_and_remove(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_it.py").write_text(TESTS + SETTINGS)
    with servers.reachable_directory() as directory:
        environ = {"KAPMAN_SERVER_DIR": str(directory / "server")}
        embedded = dbops_server.Embedded.of({**environ, "PATH": os.environ["PATH"]})
        try:
            done = run_pytest(sys.executable, tmp_path, None, "-n", "2", **environ)
            assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout
            found = dbops_server.status(embedded)
            assert (found.state, found.tests and found.tests.state) == ("no data", "running")
            tests = embedded.for_tests()
            running = postmaster(tests.layout.data)
            assert running
            # After a crash its data may be damaged.
            os.kill(running.pid, signal.SIGKILL)
            while postmaster(tests.layout.data):
                time.sleep(0.01)
            dbops_server.discard_unfit(tests)
            assert not tests.layout.made
            servers.copy_data_directory(tests.layout)
            dbops_server.ensure_running({**environ, "PATH": os.environ["PATH"]}, for_tests=True)
            assert processes.run_invoke("server.down", **environ).returncode == 0
            assert not postmaster(tests.layout.data)
        finally:
            assert processes.run_invoke("server.destroy", **environ).returncode == 0
        assert not tests.layout.directory.exists()
        assert not embedded.layout.directory.exists()
