"""A server whose messages are not English: what the tool does and advises depends on none of its words."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dbops import postgres
from dbops.errors import MigrationError, ServerError
from dbops.migrations.options import MigrationOptions
from dbops.migrations.run import migrate
from dbops.server import cluster
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.migration_files import written
from tests.support.servers import PRELOAD, TestServer

pytestmark = pytest.mark.slow

SOURCES = Path("/usr/share/i18n/locales/de_DE")


@pytest.fixture(scope="module")
def german() -> Iterator[TestServer]:
    """Return a server with German messages; Debian's package `locales` has what the locale is made of."""
    if not SOURCES.exists() and "CI" not in os.environ:
        pytest.skip(f"there is no {SOURCES}: install the package `locales`")
    with servers.reachable_directory() as directory, pytest.MonkeyPatch.context() as patch:
        made = directory / "de_DE.UTF-8"
        subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", made], check=True)
        made.chmod(0o755)
        patch.setitem(cluster.SERVER_ENVIRONMENT, "LOCPATH", str(directory))
        with servers.throwaway_server(f"{PRELOAD}lc_messages = 'de_DE.UTF-8'\n") as server:
            yield server


@pytest.fixture
def absent(german: TestServer) -> Iterator[Target]:
    """Return a target on it whose database does not exist yet; it is dropped after the test."""
    target = german.target(servers.fresh_name())
    yield target
    servers.drop_quietly(german, target.database)


def test_refused_connection_has_a_hint_that_fits_a_server_that_answers(german: TestServer) -> None:
    for target, words in (german.target("nowhere"), "Datenbank"), (german.target(user="nobody"), "Rolle"):
        with pytest.raises(ServerError, match=f"^{words} .*existiert nicht") as refused:
            postgres.connect(target)
        assert refused.value.hint == postgres.REFUSED


def test_verbs_work_from_a_database_that_is_not_there_to_one_with_sessions_and_rows(absent: Target) -> None:
    missing = operators.invoke("db.status", target=absent)
    assert (missing.returncode, "`invoke db.rebuild` builds it" in missing.stderr) == (3, True)
    for words in ("db.rebuild", "db.drift"):
        done = operators.invoke(words, target=absent)
        assert done.returncode == 0, (words, done.stderr)
    operators.fill(absent)
    with servers.connect(absent):
        refused = operators.invoke("db.rebuild", target=absent)
        assert (refused.returncode, operators.rows_left(absent)) == (5, operators.ROWS)
        agreed = operators.invoke("db.rebuild", "--confirm", absent.database, target=absent)
    assert agreed.returncode == 0, agreed.stderr
    assert operators.invoke("db.verify", "--empty", target=absent).returncode == 0


def test_errors_of_migrations_have_their_place_and_their_advice(absent: Target, tmp_path: Path) -> None:
    servers.run(replace(absent, database="postgres"), f'CREATE DATABASE "{absent.database}" TEMPLATE template0')
    migrate(absent, written(tmp_path, "CREATE TABLE public.t (n integer);"))
    with pytest.raises(MigrationError, match=r"0002_do_step2 failed") as failed:
        migrate(absent, written(tmp_path, "SELECT 1;\nSELECT oops;", first=2))
    assert f"{tmp_path}/0002_do_step2.sql:2:8" in failed.value.render()
    again = written(tmp_path, "ALTER TABLE public.t ADD m integer;", first=2)
    with servers.connect(absent) as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT * FROM public.t")
        with pytest.raises(MigrationError, match=r"could not acquire a lock after \d+ attempts"):
            migrate(absent, again, MigrationOptions(lock_timeout="200ms", lock_budget="1s"))
