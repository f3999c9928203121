"""What a role may do: each verb works, or says before it changes anything which statement of a superuser is missing."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from dbops.database import existing
from dbops.migrations.files import discover
from dbops.settings import MIGRATIONS, Target
from tests.support import operators, servers
from tests.support.operators import PASSWORD, as_role
from tests.support.servers import TestServer

LOOKS = (
    ("db.status",),
    ("db.verify",),
    ("db.drift",),
    ("db.drift", "--build"),
    ("db.fingerprint",),
    ("db.migrate", "--plan"),
    ("db.upgrade", "--plan"),
    ("db.rebuild", "--plan"),
)
WORKS = (
    ("db.migrate",),
    ("db.upgrade",),
    ("db.rebuild", "--check"),
    ("db.rebuild", "--keep"),
    ("db.undo",),
    ("db.drop", "db.create", "db.migrate"),
)
LEDGER = {"db.status", "db.verify", "db.migrate", "db.migrate --plan"}
REPLACES = {"db.rebuild --plan", "db.rebuild --check", "db.rebuild --keep", "db.drop db.create db.migrate"}
BUILDS = REPLACES | {"db.drift --build"}
# What a message tells a superuser to run.
STATEMENT = re.compile(r'(?:GRANT [^;\n]+? TO "?\w+"?(?: WITH SET TRUE)?|ALTER ROLE "?\w+"? [A-Z]+)')


@dataclass(frozen=True)
class Case:
    """The attributes of the owner and of a role, statements on the two, and the verbs that are refused to the role."""

    owner: str
    role: str
    statements: tuple[str, ...] = ()
    refused: frozenset[str] = frozenset()
    since: int = 15


def case(owner: str, role: str, *statements: str, refused: set[str] = frozenset(), since: int = 15) -> Case:  # type: ignore[assignment]
    """Return a case."""
    return Case(owner, role, statements, frozenset(refused), since)


MEMBER = "GRANT {owner} TO {role}"
CASES = {
    "a member": case("CREATEDB", "", MEMBER),
    "a member that may create databases": case("", "CREATEDB", MEMBER),
    "a member in two steps": case("CREATEDB", "", "GRANT {owner} TO {group}", "GRANT {group} TO {role}"),
    "a member with a search path": case("CREATEDB", "", MEMBER, "ALTER ROLE {role} SET search_path = public, pg_temp"),
    "a member that reads": case("CREATEDB", "", MEMBER, "ALTER ROLE {role} SET default_transaction_read_only = on"),
    "a member whose sessions begin as the owner": case(
        "CREATEDB", "NOINHERIT", MEMBER, "ALTER ROLE {role} SET role = {owner}"
    ),
    "a member whose sessions begin as another role": case(
        "CREATEDB",
        "NOINHERIT",
        MEMBER,
        "GRANT {group} TO {role}",
        "ALTER ROLE {role} SET role = {group}",
        refused={"db.verify"},
    ),
    "a member where nobody may create databases": case("", "", MEMBER, refused=BUILDS),
    "a member that does not inherit": case("CREATEDB", "NOINHERIT", MEMBER, refused={"db.verify"}),
    "a member in two steps that does not inherit": case(
        "CREATEDB", "NOINHERIT", "GRANT {owner} TO {group}", "GRANT {group} TO {role}", refused={"db.verify"}
    ),
    "a member that does not inherit and may create databases": case(
        "", "NOINHERIT CREATEDB", MEMBER, refused={"db.verify", *REPLACES}
    ),
    "a stranger": case("CREATEDB", "", refused=LEDGER | BUILDS),
    "a stranger that may create databases": case("CREATEDB", "CREATEDB", refused=LEDGER | REPLACES),
    "a stranger that may read all data": case("CREATEDB", "", "GRANT pg_read_all_data TO {role}", refused=BUILDS),
    "a stranger that may not connect": case(
        "CREATEDB",
        "",
        "REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",
        refused={*LEDGER, *BUILDS, "db.drift", "db.fingerprint", "db.upgrade", "db.upgrade --plan"},
    ),
    "a member that may only become the owner": case(
        "CREATEDB", "CREATEDB", MEMBER + " WITH INHERIT FALSE, SET TRUE", refused={"db.verify"}, since=16
    ),
    "a member that may not become the owner": case(
        "CREATEDB", "CREATEDB", MEMBER + " WITH INHERIT TRUE, SET FALSE", refused=REPLACES, since=16
    ),
    "a member in name": case(
        "CREATEDB", "CREATEDB", MEMBER + " WITH INHERIT FALSE, SET FALSE", refused=LEDGER | REPLACES, since=16
    ),
    "a member that may only grant": case(
        "CREATEDB", "", MEMBER + " WITH ADMIN TRUE, INHERIT FALSE, SET FALSE", refused=LEDGER | BUILDS, since=16
    ),
}


@contextmanager
def made(server: TestServer, target: Target, chosen: Case) -> Iterator[Target]:
    """Make the roles of a case, and a database that the owner has migrated; yield it as the role sees it."""
    mark = uuid.uuid4().hex[:8]
    names = {kind: f"{kind}_{mark}" for kind in ("role", "group", "owner")}
    server.execute(f"CREATE ROLE {names['owner']} LOGIN {chosen.owner} PASSWORD '{PASSWORD}'")
    server.execute(f"CREATE ROLE {names['group']}")
    server.execute(f"CREATE ROLE {names['role']} LOGIN {chosen.role} PASSWORD '{PASSWORD}'")
    server.execute(f'CREATE DATABASE "{target.database}" OWNER {names["owner"]} TEMPLATE template0')
    try:
        existing.migrate(as_role(target, names["owner"]), discover(MIGRATIONS))
        for statement in chosen.statements:
            server.execute(statement.format(**names, database=f'"{target.database}"'))
        yield as_role(target, names["role"])
    finally:
        for name in (target.database, *operators.scratch_databases(server)):
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        for name in names.values():
            server.execute(f"DROP OWNED BY {name} CASCADE")
        for name in names.values():
            server.execute(f"DROP ROLE {name}")


def tried(server: TestServer, mine: Target) -> dict[str, list[str]]:
    """Run each verb as the role; return those that are refused, with the statements that a superuser is told to run."""
    found: dict[str, list[str]] = {}
    for words in (*LOOKS, *WORKS):
        verb = " ".join(words)
        if words == ("db.undo",) and "db.rebuild --keep" in found:
            continue
        before = server.execute(f"SELECT oid FROM pg_database WHERE datname = '{mine.database}'")
        done = operators.invoke(*words, target=mine)
        if done.returncode:
            said = done.stdout + done.stderr
            found[verb] = list(dict.fromkeys(STATEMENT.findall(said)))
            assert found[verb], f"{verb} does not say what is missing: {said}"
            assert server.execute(f"SELECT oid FROM pg_database WHERE datname = '{mine.database}'") == before, said
            assert "CREATE DATABASE" not in said
        assert operators.scratch_databases(server) == [] or verb in ("db.rebuild --keep",), done.stderr
    return found


@pytest.mark.parametrize("name", CASES)
@pytest.mark.slow
def test_each_verb_works_or_names_the_statement_after_which_it_does(
    server: TestServer, target: Target, name: str
) -> None:
    chosen = CASES[name]
    version = int(str(server.execute("SHOW server_version_num")[0][0])) // 10_000
    if version < chosen.since:
        return  # There is no such grant to try.
    # Up to PostgreSQL 15 such a role has no rights in schema public of a database of its own.
    more = {"db.drift --build"} if version < 16 and chosen.role == "NOINHERIT CREATEDB" else set()
    with made(server, target, chosen) as mine:
        refused = tried(server, mine)
        assert set(refused) == chosen.refused | more
        for _ in range(3):
            for statement in dict.fromkeys(s for statements in refused.values() for s in statements):
                servers.run(target, statement)
            if not (refused := tried(server, mine)):
                break
        assert refused == {}
