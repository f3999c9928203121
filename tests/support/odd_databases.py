"""Databases with an unusual value for every property that a database has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dbops import postgres
from dbops.database.properties import Properties, find_database
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.servers import TestServer


def properties(target: Target) -> Properties:
    """Return the properties of a database that must be there, which must be open."""
    with postgres.maintenance(target) as connection:
        found = find_database(connection, target.database)
    assert found
    assert found.marker is None
    return found.properties


def remove(server: TestServer, target: Target, tablespace: str) -> None:
    """Drop a database, and what a failed test left of it, and its tablespace."""
    for name in (target.database, *operators.scratch_databases(server)):
        servers.drop_quietly(server, name)
    server.execute(f'DROP TABLESPACE "{tablespace}"')


@contextmanager
def odd_database(server: TestServer, target: Target) -> Iterator[Properties]:
    """Make a database with an unusual value for every property that it has, and yield its properties."""
    tablespace = f"kapman space {target.database}"
    with (
        operators.role(server, "LOGIN") as owner,
        operators.role(server, "LOGIN", name=f"Reader {owner}") as reader,
        operators.role(server, "LOGIN") as writer,
    ):
        statements = [
            f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0 ENCODING UTF8 LC_COLLATE "C" '
            f'LC_CTYPE "C.UTF-8" LOCALE_PROVIDER icu ICU_LOCALE "de-AT" TABLESPACE "{tablespace}" CONNECTION LIMIT 17',
            f'REVOKE ALL ON DATABASE "{target.database}" FROM PUBLIC',
            f'GRANT CONNECT ON DATABASE "{target.database}" TO "{reader}" WITH GRANT OPTION',
            f'GRANT TEMPORARY ON DATABASE "{target.database}" TO "{reader}"',
            f'SET ROLE "{reader}"; GRANT CONNECT ON DATABASE "{target.database}" TO {writer}; RESET ROLE',
            f"COMMENT ON DATABASE \"{target.database}\" IS 'it''s \"odd\" \\ größe'",
            f"""ALTER DATABASE "{target.database}" SET search_path TO 'Odd, "name"', '$user', public""",
            f"""ALTER DATABASE "{target.database}" SET kapman.note TO E'a=b, "c" ''d'' \\\\ e\\nf'""",
            f"ALTER DATABASE \"{target.database}\" SET temp_tablespaces TO ''",
            f"ALTER DATABASE \"{target.database}\" SET datestyle TO 'SQL, DMY'",
            f"ALTER DATABASE \"{target.database}\" SET timezone TO 'Europe/Vienna'",
            f'ALTER DATABASE "{target.database}" SET default_transaction_read_only TO on',
            f'ALTER DATABASE "{target.database}" SET timescaledb.restoring TO on',
            f"""ALTER ROLE "{reader}" IN DATABASE "{target.database}" SET work_mem TO '7MB'""",
            f"ALTER ROLE {writer} IN DATABASE \"{target.database}\" SET statement_timeout TO '3s'",
        ]
        with servers.connect(server.target(options="-c allow_in_place_tablespaces=on")) as connection:
            connection.execute(f"CREATE TABLESPACE \"{tablespace}\" LOCATION ''")
        for statement in statements:
            server.execute(statement)
        try:
            yield properties(target)
        finally:
            remove(server, target, tablespace)


@contextmanager
def odd_database_of_an_owner(server: TestServer, target: Target) -> Iterator[tuple[Target, Properties]]:
    """Make a database with all that an owner with CREATEDB may give it; yield it as its owner sees it."""
    tablespace = f"kapman space {target.database}"
    name = target.database
    with operators.role(server) as owner, operators.role(server, "LOGIN", name=f"Reader {owner}") as reader:
        with servers.connect(server.target(options="-c allow_in_place_tablespaces=on")) as connection:
            connection.execute(f"CREATE TABLESPACE \"{tablespace}\" LOCATION ''".encode())
        server.execute(f'GRANT CREATE ON TABLESPACE "{tablespace}" TO {owner}')
        own = operators.as_role(target, owner)
        statements = [
            f'CREATE DATABASE "{name}" TEMPLATE template0 ENCODING UTF8 LC_COLLATE "C" LC_CTYPE "C.UTF-8" '
            f'LOCALE_PROVIDER icu ICU_LOCALE "de-AT" TABLESPACE "{tablespace}" CONNECTION LIMIT 17',
            f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC',
            f'GRANT CONNECT ON DATABASE "{name}" TO "{reader}" WITH GRANT OPTION',
            f"COMMENT ON DATABASE \"{name}\" IS 'it''s mine'",
            f"ALTER DATABASE \"{name}\" SET work_mem TO '7MB'",
            f'ALTER DATABASE "{name}" SET default_transaction_read_only TO on',
            f"ALTER ROLE {owner} IN DATABASE \"{name}\" SET statement_timeout TO '3s'",
        ]
        for statement in statements:
            with servers.connect(own, "postgres") as connection:
                connection.execute(statement.encode())
        try:
            yield own, properties(target)
        finally:
            remove(server, target, tablespace)
