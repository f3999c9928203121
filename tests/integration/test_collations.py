"""Databases whose collation has another version by now, as after an upgrade of the system's libraries."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from dbops.migrations.files import discover
from dbops.migrations.run import migrate
from dbops.settings import MIGRATIONS, Target
from tests.support import operators, servers
from tests.support.servers import TestServer


@pytest.fixture
def outdated(server: TestServer, target: Target) -> Target:
    """Return a migrated database whose collation is of ICU, in a version that the server does not have."""
    name = target.database
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE "en" LOCALE "C"')
    migrate(target, discover(MIGRATIONS))
    server.execute(f"UPDATE pg_database SET datcollversion = '1.0' WHERE datname = '{name}'")
    return target


def test_status_says_what_to_run_and_that_is_the_remedy(server: TestServer, outdated: Target) -> None:
    said = operators.invoke("db.status", target=outdated)
    wanted = (
        f"Run REINDEX DATABASE {outdated.database}, then ALTER DATABASE {outdated.database} REFRESH COLLATION VERSION"
    )
    assert (said.returncode, wanted in said.stderr) == (0, True)
    for statement in wanted.removeprefix("Run ").split(", then "):
        servers.run(outdated, statement)
    assert "REFRESH" not in operators.invoke("db.status", target=outdated).stderr


def test_collation_of_a_column_is_looked_at_too(built: Target) -> None:
    servers.run(
        built,
        "CREATE COLLATION public.german (provider = icu, locale = 'de')",
        "CREATE TABLE public.words (word text COLLATE public.german)",
        "UPDATE pg_collation SET collversion = '1.0' WHERE collname IN ('german', 'fr-x-icu')",
    )
    said = operators.invoke("db.status", target=built).stderr
    assert "ALTER COLLATION public.german REFRESH VERSION" in said
    assert said.count("REINDEX") == 1


@pytest.mark.slow
def test_verbs_do_their_work_on_it_and_a_rebuild_gives_it_the_current_version(
    server: TestServer, outdated: Target
) -> None:
    for words in (["db.verify"], ["db.migrate"], ["db.drift"], ["db.rebuild", "--plan"], ["db.rebuild", "--yes"]):
        done = operators.invoke(*words, target=outdated)
        assert done.returncode == 0, done.stderr
    assert "REFRESH" not in operators.invoke("db.status", target=outdated).stderr


@pytest.fixture
def outdated_templates(own_server: TestServer) -> Iterator[TestServer]:
    """Return a server whose template1 and maintenance database have a collation version that it does not have."""
    update = "UPDATE pg_database SET datcollversion = {} WHERE datname IN ('template1', 'postgres')"
    before = own_server.execute("SELECT quote_nullable(datcollversion) FROM pg_database WHERE datname = 'template1'")
    own_server.execute(update.format("'1.0'"))
    yield own_server
    own_server.execute(update.format(before[0][0]))


@pytest.mark.slow
def test_template1_with_another_collation_version_is_in_no_verbs_way(outdated_templates: TestServer) -> None:
    target = outdated_templates.target(servers.fresh_name())
    with pytest.raises(psycopg.errors.InternalError, match="template1"):
        outdated_templates.execute(f'CREATE DATABASE "{target.database}"')
    try:
        for words in (["db.create"], ["db.migrate"], ["db.drift"], ["db.rebuild", "--plan"], ["db.rebuild"]):
            done = operators.invoke(*words, target=target)
            assert done.returncode == 0, done.stderr
    finally:
        servers.drop_quietly(outdated_templates, target.database)
