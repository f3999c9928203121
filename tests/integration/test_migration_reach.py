"""A migration that reaches beyond its database is refused by every verb that runs migrations, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dbops.database import existing, rebuild
from dbops.database.schema import drift
from dbops.errors import DbopsError, UsageError
from dbops.migrations.files import discover
from dbops.migrations.options import MigrationOptions
from dbops.migrations.run import migrate, plan
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.migration_files import write
from tests.support.servers import TestServer

VERBS: dict[str, Callable[[Target, Path], object]] = {
    "migrate": lambda target, directory: existing.migrate(target, discover(directory)),
    "plan": lambda target, directory: plan(target, discover(directory)),
    "check": lambda target, directory: migrate(target, discover(directory), MigrationOptions(check=True)),
    "rehearse": lambda target, directory: existing.rehearse(target, discover(directory)),
    "drift": lambda target, directory: drift(target, discover(directory), schema=None),
    "rebuild": lambda target, directory: rebuild.rebuild(target, operators.options(yes=True, migrations=directory)),
}


@pytest.mark.parametrize("verb", VERBS)
def test_verb_refuses_before_it_runs_anything(server: TestServer, empty: Target, tmp_path: Path, verb: str) -> None:
    text = f"SELECT 1;\nCOMMENT ON DATABASE \"{empty.database}\" IS 'touched';\n"
    directory = write(tmp_path, "CREATE TABLE public.t ();\n", text)
    servers.run(empty, "CREATE TYPE public.witness AS ()")
    with pytest.raises(DbopsError) as refused:
        VERBS[verb](empty, directory)
    said = refused.value.render()
    assert "0002_do_step2.sql:2:1" in said
    assert "0002_do_step2.sql reaches beyond its database: COMMENT ON DATABASE" in said
    assert "current_database()" in said
    assert isinstance(refused.value, UsageError) or verb == "rebuild"
    comment = (
        "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = current_database()"
    )
    assert servers.rows(empty, comment) == [("",)]
    assert servers.rows(empty, "SELECT to_regtype('public.witness') IS NULL, to_regclass('public.t') IS NULL") == [
        (False, True)
    ]
    assert operators.scratch_databases(server) == []


def test_file_that_is_applied_is_not_refused_again(
    empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write(tmp_path, "CHECKPOINT;\n")
    with monkeypatch.context() as earlier:
        earlier.setattr("dbops.migrations.reach.assert_within", lambda files: None)
        migrate(empty, discover(directory))
    done = migrate(empty, discover(write(tmp_path, "CREATE TABLE public.t ();\n", first=2)))
    assert [migration.version for migration in done.applied] == [2]


def test_block_for_the_current_database_is_applied(empty: Target, tmp_path: Path) -> None:
    text = """
    DO $$
    BEGIN
        EXECUTE format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
        EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 20', current_database());
    END $$;
    """
    migrate(empty, discover(write(tmp_path, text)))
    query = "SELECT datconnlimit, datacl::text NOT LIKE '%{=%' FROM pg_database WHERE datname = current_database()"
    assert servers.rows(empty, query) == [(20, True)]
