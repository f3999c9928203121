"""Databases that look like this tool's own, and are not: no verb touches them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from psycopg import sql

from dbops.database import existing, rebuild, status
from dbops.database.properties import UNMARKED, Kind, marker
from dbops.database.schema import drift
from dbops.errors import DbopsError
from dbops.migrations.files import discover
from dbops.postgres import MARKER
from dbops.settings import SCRATCH_PREFIX, Target
from tests.support import odd_databases, operators, servers
from tests.support.operators import options
from tests.support.servers import TestServer


@contextmanager
def lookalike(server: TestServer, comment: str | None = None, limit: int = -1) -> Iterator[str]:
    """Make a database with rows and a scratch database's name."""
    name = f"{SCRATCH_PREFIX}{uuid.uuid4().hex[:12]}"
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0 CONNECTION LIMIT {limit}')
    try:
        server.execute("CREATE TABLE precious AS SELECT 1 AS id", name)
        server.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(comment)))
        yield name
    finally:
        servers.drop_quietly(server, name)


def everything(server: TestServer, names: list[str]) -> list[tuple[object, ...]]:
    """Return what is known of databases from outside, and their rows."""
    listed = sql.SQL(", ").join(sql.Literal(name) for name in names)
    query = sql.SQL("""
        SELECT d.oid::text, to_jsonb(d) - 'datfrozenxid' - 'datminmxid', shobj_description(d.oid, 'pg_database')
        FROM pg_database AS d WHERE d.datname IN ({}) ORDER BY d.datname""")
    rows = [server.execute("SELECT count(*) FROM precious", name)[0] for name in sorted(names)]
    return [*server.execute(query.format(listed)), *rows]


@pytest.mark.slow
def test_no_verb_touches_a_database_that_is_only_named_like_a_scratch_one(
    server: TestServer, built: Target, small: dict[str, Any]
) -> None:
    others = odd_databases.properties(built)
    comments = (
        None,
        "mine",
        MARKER,
        f"{MARKER}{{",
        f" {marker(Kind.BUILDING, built.database, others).text()}",
        marker(Kind.SUCCESSOR, f"{built.database}_2", others).text(),
        marker(Kind.KEPT, f"{built.database}_2", others).text(),
        marker(Kind.CLOSED, built.database, others).text(),
    )
    files = discover(small["migrations"])
    with ExitStack() as stack:
        names = [stack.enter_context(lookalike(server, comment)) for comment in comments]
        # It takes connections, so this tool did not just create it.
        names.append(stack.enter_context(lookalike(server, limit=UNMARKED)))
        before = everything(server, names)
        assert len(before) == 2 * len(names)
        drift(built, files, schema=None)
        rebuild.plan(built, options(**small))
        status.status(built, files)
        with suppress(DbopsError):
            existing.migrate(built, files)
        rebuild.drop(built, options(confirm=built.database))
        rebuild.create(built, options())
        rebuild.rebuild(built, options(**small))
        rebuild.drop(built, options(confirm=built.database), forget=True)
        rebuild.rebuild(built, options(**small))
        assert everything(server, names) == before


@pytest.mark.parametrize("verb", ["db.drop", "db.rebuild", "db.status"])
def test_database_with_the_name_of_a_scratch_one_is_refused_as_a_target(server: TestServer, verb: str) -> None:
    with lookalike(server) as name:
        done = operators.invoke(verb, *(["--confirm", name] * (verb != "db.status")), target=server.target(name))
        assert done.returncode == 2
        assert "name for scratch databases" in done.stderr
        assert server.execute("SELECT count(*) FROM precious", name) == [(1,)]
