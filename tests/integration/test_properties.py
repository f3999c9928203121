"""What a database is beside its tables survives everything."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from dbops import catalog, postgres
from dbops.database import existing, rebuild, status
from dbops.database.properties import Properties
from dbops.errors import PreflightError, ServerError
from dbops.migrations.files import discover
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.odd_databases import odd_database, properties
from tests.support.operators import options
from tests.support.servers import TestServer, local_installation

# A target and the properties that its database has.
Odd = tuple[Target, Properties]


@pytest.fixture
def odd(server: TestServer, target: Target) -> Iterator[Odd]:
    """Return a target with an unusual value for every property that a database has, and its properties."""
    with odd_database(server, target) as had:
        yield target, had


def fingerprint(target: Target) -> str:
    with postgres.connect(target) as connection:
        return catalog.fingerprint(catalog.schema_text(connection))


def test_fixture_is_as_odd_as_it_says(odd: Odd) -> None:
    target, had = odd
    assert had.provider == "i"
    assert had.locale == "de-AT"
    assert had.tablespace == f"kapman space {target.database}"
    assert had.connection_limit == 17
    assert len(had.settings) == 8
    assert had.acl is not None
    assert len(had.acl) == 6
    assert len({grant.grantor for grant in had.acl}) == 2


def test_all_properties_survive_a_rebuild(server: TestServer, odd: Odd, small: dict[str, Any]) -> None:
    target, had = odd
    rebuild.rebuild(target, options(**small))
    assert properties(target) == had
    assert operators.scratch_databases(server) == []


def test_all_properties_survive_a_drop_and_a_create_later(server: TestServer, odd: Odd) -> None:
    target, had = odd
    dropped = rebuild.drop(target, options())
    assert not operators.exists(server, target.database)
    assert operators.scratch_databases(server) == [dropped.successor]
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        servers.connect(target, dropped.successor)
    with pytest.raises(ServerError, match="does not exist") as missing:
        status.status(target, ())
    assert dropped.successor in missing.value.hint
    # A second drop finds nothing to drop, and keeps what the first one left.
    assert not rebuild.drop(target, options()).existed
    assert rebuild.create(target, options()).kept
    assert properties(target) == had
    assert operators.scratch_databases(server) == []


def test_drop_that_forgets_leaves_nothing(server: TestServer, odd: Odd) -> None:
    target, had = odd
    rebuild.drop(target, options())
    assert operators.scratch_databases(server) != []
    rebuild.drop(target, options(), forget=True)
    assert operators.scratch_databases(server) == []
    assert not rebuild.create(target, options()).kept
    assert properties(target).owner != had.owner


def test_rebuild_after_a_drop_takes_the_properties_and_leaves_no_successor(
    server: TestServer, odd: Odd, small: dict[str, Any]
) -> None:
    target, had = odd
    rebuild.drop(target, options())
    rebuild.rebuild(target, options(**small))
    assert properties(target) == had
    assert operators.scratch_databases(server) == []


def test_the_four_verbs_give_what_a_rebuild_gives(server: TestServer, odd: Odd, small: dict[str, Any]) -> None:
    target, had = odd
    rebuild.drop(target, options())
    rebuild.create(target, options())
    existing.migrate(target, discover(small["migrations"]))
    first = fingerprint(target)
    assert properties(target) == had
    rebuild.rebuild(target, options(yes=True, **small))
    assert fingerprint(target) == first
    assert properties(target) == had


@pytest.mark.slow
def test_all_properties_survive_a_kill_after_the_swap(server: TestServer, odd: Odd, small: dict[str, Any]) -> None:
    target, had = odd
    died = operators.operator(target, **small, at="StepFinished(step='swap'", action="SIGKILL")
    assert died.returncode == -9, died.stderr
    assert properties(target) == had
    rebuild.rebuild(target, options(**small))
    assert properties(target) == had
    assert operators.scratch_databases(server) == []


def test_owner_restores_what_an_owner_may_set(server: TestServer, target: Target, small: dict[str, Any]) -> None:
    with operators.role(server) as owner, operators.role(server, "LOGIN") as reader:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0 CONNECTION LIMIT 9')
        server.execute(f'GRANT CONNECT ON DATABASE "{target.database}" TO {reader}')
        server.execute(f"COMMENT ON DATABASE \"{target.database}\" IS 'mine'")
        server.execute(f"ALTER DATABASE \"{target.database}\" SET work_mem TO '5MB'")
        had = properties(target)
        rebuild.rebuild(operators.as_role(target, owner), options(**small))
        assert properties(target) == had


def test_setting_of_a_superuser_is_refused_before_anything_is_built_and_the_grant_is_named(
    server: TestServer, target: Target, small: dict[str, Any]
) -> None:
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        server.execute(f"ALTER DATABASE \"{target.database}\" SET log_statement TO 'ddl'")
        own = operators.as_role(target, owner)
        with pytest.raises(PreflightError, match="again as it is: permission denied") as refused:
            rebuild.rebuild(own, options(**small))
        assert refused.value.state == f"{target.database} was not changed."
        grant = f'GRANT SET ON PARAMETER log_statement TO "{owner}"'
        assert refused.value.hint == f"As a superuser, run {grant}; or remove that setting of the database first."
        server.execute(grant)
        rebuild.rebuild(own, options(**small))
        assert [setting.value for setting in properties(target).settings] == ["ddl"]


def test_untouched_acl_of_an_owner_comes_back_as_the_same_rights(
    server: TestServer, target: Target, small: dict[str, Any]
) -> None:
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        had = properties(target)
        assert had.acl is None
        rebuild.rebuild(operators.as_role(target, owner), options(**small))
        assert properties(target).effective_acl() == had.effective_acl()


def test_database_that_another_tool_created_keeps_its_own_properties(
    server: TestServer, odd: Odd, small: dict[str, Any]
) -> None:
    target, _ = odd
    rebuild.drop(target, options(**small))
    server.execute(f'CREATE DATABASE "{target.database}" TEMPLATE template0 CONNECTION LIMIT 3')
    rebuild.rebuild(target, options(**small))
    assert properties(target).connection_limit == 3
    assert operators.scratch_databases(server) == []


def test_roles_and_other_databases_stay_byte_for_byte_the_same(own_server: TestServer, small: dict[str, Any]) -> None:
    target = own_server.target(servers.fresh_name())
    with odd_database(own_server, target), servers.database(own_server) as other:
        own_server.execute(f"ALTER DATABASE \"{other.database}\" SET work_mem TO '9MB'")
        own_server.execute(f'GRANT CREATE ON DATABASE "{other.database}" TO PUBLIC')
        before = surroundings(own_server, target)
        rebuild.rebuild(target, options(**small))
        assert surroundings(own_server, target) == before


def surroundings(server: TestServer, target: Target) -> tuple[list[str], str]:
    """Return all roles as pg_dumpall writes them, and everything that is known of the other databases."""
    address = ["--dbname", server.url("postgres")]
    dumped = subprocess.run(
        [local_installation().binaries / "pg_dumpall", "--roles-only", *address],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    roles = [line for line in dumped.splitlines() if not line.startswith(("\\restrict", "\\unrestrict", "--"))]
    databases = server.execute(f"""
        SELECT to_jsonb(d) - 'datfrozenxid' - 'datminmxid', shobj_description(d.oid, 'pg_database'),
               (SELECT jsonb_agg(to_jsonb(s) ORDER BY s.setrole) FROM pg_db_role_setting s WHERE s.setdatabase = d.oid)
        FROM pg_database d WHERE datname <> '{target.database}' ORDER BY datname""")
    assert "CREATE ROLE" in dumped
    return roles, json.dumps(databases, default=str)


def test_restoring_flag_of_a_restore_is_not_kept(server: TestServer, odd: Odd, small: dict[str, Any]) -> None:
    target, _ = odd
    rebuild.rebuild(target, options(**small))
    query = f"""SELECT 1 FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
                WHERE datname = '{target.database}'"""
    assert server.execute(query)
    assert not server.execute(f"{query} AND array_to_string(setconfig, ',') LIKE '%restoring%'")


def test_lock_is_free_after_a_rebuild(target: Target, small: dict[str, Any]) -> None:
    rebuild.rebuild(target, options(**small))
    with postgres.operator_session(target, timeout=0.1):
        pass
