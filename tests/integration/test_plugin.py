"""The pytest plugin: fresh databases for the tests of other repositories."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from dbops import testing
from dbops.settings import ROOT, Target
from tests.support import servers
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
    python: Path | str, directory: Path, server: TestServer, *options: str
) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))}
    return subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=directory,
        env={**environ, "KAPMAN_TEST_DATABASE_URL": server.url("postgres")},
        text=True,
        capture_output=True,
        check=False,
    )


def kept_databases(server: TestServer) -> list[str]:
    return [
        str(row[0]) for row in server.execute("SELECT datname FROM pg_database WHERE datname LIKE 'kapman\\_test%'")
    ]


def test_database_of_a_failed_test_is_kept_and_its_address_is_printed(server: TestServer, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FAILS)
    before = kept_databases(server)
    done = run_pytest(sys.executable, tmp_path, server)
    assert done.returncode == 1, done.stdout
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
    assert (allowed, comment) == (False, testing.COMPLETE)
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
    parsed = conninfo_to_dict(testing.url_of(Target(parameters, "odd name")))
    assert parsed == {**parameters, "dbname": "odd name"}


def test_small_repository_that_installs_the_wheel_gets_databases_of_its_own(server: TestServer, tmp_path: Path) -> None:
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    subprocess.run([uv, "build", "-q", "--wheel", "-o", str(tmp_path / "wheel"), str(ROOT)], check=True)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    environment = tmp_path / "environment"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(environment)], check=True)
    python = environment / "bin" / "python"
    packages = [str(wheel), "pytest", "pytest-xdist"]
    subprocess.run([uv, "pip", "install", "-q", "--python", str(python), *packages], check=True)
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "test_it.py").write_text(TESTS)
    before = kept_databases(server)
    done = run_pytest(python, repository, server, "-n", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert kept_databases(server) == before


@pytest.mark.parametrize("name", ["kapman_server", "kapman_template"])
def test_fixtures_are_there_without_an_import(server: TestServer, tmp_path: Path, name: str) -> None:
    (tmp_path / "test_it.py").write_text(f"def test_it({name}):\n    assert {name}\n")
    done = run_pytest(sys.executable, tmp_path, server)
    assert done.returncode == 0, done.stdout
