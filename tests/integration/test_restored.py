"""A database that was restored beside the one in use takes its place, with the other's properties."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from dbops import testing
from dbops.database import rebuild
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.operators import as_role, dsn, options, role, scheduler_runs
from tests.support.servers import TestServer


@pytest.fixture
def copy(server: TestServer, template: str) -> Iterator[Target]:
    """Return a copy of the baseline beside, with a row that the one in use has not."""
    target = server.target(servers.fresh_name())
    testing.clone(server.session(), template, target.database)
    servers.run(target, "INSERT INTO public.tickers (symbol) VALUES ('OLD')")
    yield target
    servers.drop_quietly(server, target.database)


def symbols(target: Target) -> list[tuple[object, ...]]:
    return servers.rows(target, "SELECT symbol FROM public.tickers")


def test_restored_database_takes_the_place_with_the_properties_of_the_one_in_use(
    server: TestServer, built: Target, copy: Target
) -> None:
    with role(server) as owner, role(server) as reader:
        name = built.database
        for statement in (
            f'ALTER DATABASE "{name}" OWNER TO "{owner}"',
            f'ALTER DATABASE "{name}" CONNECTION LIMIT 7',
            f"ALTER DATABASE \"{name}\" SET work_mem = '5MB'",
            f'ALTER ROLE "{reader}" IN DATABASE "{name}" SET jit = \'off\'',
            f"COMMENT ON DATABASE \"{name}\" IS 'prices'",
            f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC',
            f'GRANT CONNECT ON DATABASE "{name}" TO "{reader}"',
            f"ALTER DATABASE \"{copy.database}\" SET work_mem = '9MB'",
            f'ALTER ROLE "{reader}" IN DATABASE "{copy.database}" SET jit = \'on\'',
        ):
            server.execute(statement)
        before = facts(server, name)
        done = operators.invoke("db.undo", "--restored", copy.database, target=built)
        assert done.returncode == 0, done.stderr
        assert f"is what {copy.database} was" in done.stdout
        assert (symbols(built), facts(server, name)) == ([("OLD",)], before)
        assert not operators.exists(server, copy.database)
        assert operators.scratch_databases(server) == []
        assert scheduler_runs(server, name)
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def facts(server: TestServer, name: str) -> list[tuple[object, ...]]:
    return server.execute(f"""
        SELECT pg_get_userbyid(d.datdba), d.datconnlimit, d.datacl::text, shobj_description(d.oid, 'pg_database'),
               (SELECT array_agg((s.setrole, s.setconfig)::text ORDER BY s.setrole)
                FROM pg_db_role_setting AS s WHERE s.setdatabase = d.oid)
        FROM pg_database AS d WHERE d.datname = '{name}'""")


def test_rows_of_the_one_in_use_need_consent_and_with_keep_it_can_be_put_back(
    server: TestServer, built: Target, copy: Target
) -> None:
    servers.run(built, "INSERT INTO public.tickers (symbol) VALUES ('NEW')")
    refused = operators.invoke("db.undo", "--restored", copy.database, target=built)
    assert (refused.returncode, symbols(built), symbols(copy)) == (5, [("NEW",)], [("OLD",)])
    done = operators.invoke("db.undo", "--restored", copy.database, "--yes", "--keep", target=built)
    assert (done.returncode, symbols(built)) == (0, [("OLD",)])
    assert operators.invoke("db.undo", "--yes", target=built).returncode == 0
    assert symbols(built) == [("NEW",)]
    assert operators.scratch_databases(server) == []


def test_one_in_use_is_not_kept_where_another_one_is_kept_already(
    server: TestServer, built: Target, copy: Target, small: dict[str, Any]
) -> None:
    name = rebuild.rebuild(built, options(keep=True, **small)).kept
    refused = operators.invoke("db.undo", "--restored", copy.database, "--keep", target=built)
    assert (refused.returncode, f"{name} is kept for {built.database} already" in refused.stderr) == (3, True)
    assert (operators.scratch_databases(server), symbols(copy)) == ([name], [("OLD",)])
    rebuild.drop_kept(built, options())


def test_restored_database_takes_the_place_of_one_that_is_gone(
    server: TestServer, target: Target, copy: Target
) -> None:
    assert operators.invoke("db.undo", "--restored", copy.database, target=target).returncode == 0
    assert symbols(target) == [("OLD",)]


def test_restored_database_gets_the_properties_of_one_that_was_dropped(
    server: TestServer, built: Target, copy: Target
) -> None:
    server.execute(f'ALTER DATABASE "{built.database}" CONNECTION LIMIT 7')
    server.execute(f"ALTER DATABASE \"{built.database}\" SET work_mem = '5MB'")
    before = facts(server, built.database)
    for words in (["db.drop"], ["db.undo", "--restored", copy.database]):
        assert operators.invoke(*words, target=built).returncode == 0
    assert (symbols(built), facts(server, built.database)) == ([("OLD",)], before)


def test_what_cannot_take_the_place_is_refused_and_nothing_changes(
    server: TestServer, built: Target, copy: Target, template: str
) -> None:
    with role(server) as stranger, servers.database(server) as foreign, servers.database(server) as squatted:
        server.execute(f'ALTER DATABASE "{squatted.database}" OWNER TO "{stranger}"')
        for name, why in {
            "does_not_exist": "it does not exist",
            built.database: "it is that database itself",
            "template1": "it is a system database",
            "postgres": "it is a system database",
            template: "it is closed",
            squatted.database: f"it belongs to {stranger}",
            foreign.database: "has no ledger",
        }.items():
            refused = operators.invoke("db.undo", "--restored", name, target=built)
            assert (refused.returncode, why in refused.stderr) == (3, True), refused.stderr
        server.execute(f'ALTER DATABASE "{copy.database}" IS_TEMPLATE true')
        refused = operators.invoke("db.undo", "--restored", copy.database, target=built)
        server.execute(f'ALTER DATABASE "{copy.database}" IS_TEMPLATE false')
        assert (refused.returncode, "or a template" in refused.stderr) == (3, True)
        with closing(psycopg.connect(dsn(copy), application_name="a reader")) as client:
            client.execute("SELECT 1")
            refused = operators.invoke("db.undo", "--restored", copy.database, target=built)
            assert (refused.returncode, "a reader" in refused.stderr) == (3, True)
        servers.run(
            copy,
            """DO $$ BEGIN EXECUTE format('COMMENT ON SCHEMA dbops IS %L',
            replace(obj_description('dbops'::regnamespace), '"dev"', '"prod"')); END $$""",
        )
        refused = operators.invoke("db.undo", "--restored", copy.database, target=built)
        assert (refused.returncode, "is a prod database" in refused.stderr) == (5, True)
        assert "hint: Nothing was changed. Choose --env prod, or restore a copy of a dev database." in refused.stderr
    assert (symbols(built), symbols(copy)) == ([], [("OLD",)])


def test_plain_owner_swaps_its_own_databases(server: TestServer, target: Target) -> None:
    with role(server) as owner:
        in_use, copy = (as_role(server.target(servers.fresh_name()), owner) for _ in range(2))
        try:
            for each in (in_use, copy):
                assert operators.invoke("db.rebuild", target=each).returncode == 0
            servers.run(copy, "INSERT INTO public.tickers (symbol) VALUES ('OLD')")
            done = operators.invoke("db.undo", "--restored", copy.database, target=in_use)
            assert (done.returncode, symbols(in_use)) == (0, [("OLD",)]), done.stderr
            assert scheduler_runs(server, in_use.database)
            assert operators.invoke("db.verify", target=in_use).returncode == 0
        finally:
            for each in (in_use, copy):
                servers.drop_quietly(server, each.database)
