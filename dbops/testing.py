"""A pytest plugin for the repositories that use this schema: `kapman_db` is a fresh database for one test.

Each is a clone of a template that holds the baseline. The template is built once per server, kept between runs, and
named by a hash of the migrations. The server is the one that KAPMAN_TEST_DATABASE_URL names (as a superuser, or a role
that may create databases), else the embedded server.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dbops import migrations, postgres
from dbops.postgres import Connection, lock_key
from dbops.settings import MIGRATIONS, Target, parse_url, read_environ

VARIABLE = "KAPMAN_TEST_DATABASE_URL"
PREFIX = "kapman_template_"
# The comment of a template that is complete: one without it was left over from an interrupted run.
COMPLETE = f"{postgres.APPLICATION}: a template for tests"
# How long a template may take until the background workers in it are gone, in seconds.
TIMEOUT = 10.0
_CONNECTION = pytest.StashKey[Connection]()


@dataclass(frozen=True, slots=True)
class Database:
    """A database of one test."""

    target: Target

    @property
    def name(self) -> str:
        """Return the database's name."""
        return self.target.database

    @property
    def url(self) -> str:
        """Return the address as DATABASE_URL takes it, with the password if there is one."""
        return url_of(self.target)

    def connect(self, **parameters: Any) -> psycopg.Connection[Any]:
        """Return a new connection, with further parameters as psycopg.connect takes them."""
        return psycopg.connect(make_conninfo("", **{**self.target.parameters, "dbname": self.name}), **parameters)


def url_of(target: Target) -> str:
    """Return a target as a URL; what has no position in a URL, such as a socket directory, becomes a parameter."""
    rest = dict(target.parameters)
    user, password = rest.pop("user", ""), rest.pop("password", "")
    login = f"{quote(user, safe='')}{':' + quote(password, safe='') if password else ''}@" if user else ""
    host = rest.pop("host", "")
    port = rest.pop("port", "")
    if host.startswith("/") or "," in host:
        rest["host"], host = host, ""
    address = f"{'[' + host + ']' if ':' in host else host}{':' + port if port and host else ''}"
    if port and not host:
        rest["port"] = port
    query = f"?{urlencode(rest, quote_via=quote)}" if rest else ""
    return f"postgresql://{login}{address}/{quote(target.database, safe='')}{query}"


@pytest.fixture(scope="session")
def kapman_server() -> Target:
    """Return the server for tests, as the target of its maintenance database."""
    if url := os.environ.get(VARIABLE):
        parameters = parse_url(url, VARIABLE)
    else:
        from dbops import server

        parameters = parse_url(server.ensure_running(read_environ(os.environ)), "the embedded server")
    parameters.pop("dbname", None)
    return Target(parameters, "postgres")


@pytest.fixture(scope="session")
def kapman_template(kapman_server: Target) -> str:
    """Return the name of the template, which is built if the server has none for these migrations."""
    return build_template(kapman_server)


@pytest.fixture
def kapman_db(request: pytest.FixtureRequest, kapman_server: Target, kapman_template: str) -> Iterator[Database]:
    """Return a database of its own for a test, with the schema; it is dropped afterwards, unless the test failed."""
    session = request.session
    if _CONNECTION not in session.stash or session.stash[_CONNECTION].closed:
        session.stash[_CONNECTION] = postgres.connect(kapman_server)
    connection = session.stash[_CONNECTION]
    target = replace(kapman_server, database=f"kapman_test_{uuid.uuid4().hex[:12]}")
    clone(connection, kapman_template, target.database)
    yield Database(target)
    if not getattr(request.node, "kapman_failed", False):
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(target.database)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Keep the database of a test that failed, and show its address, without a password, with the failure."""
    report = yield
    database = getattr(item, "funcargs", {}).get("kapman_db")
    if report.failed and database is not None and call.when == "call":
        item.kapman_failed = True  # type: ignore[attr-defined]
        parameters = {k: v for k, v in database.target.parameters.items() if k != "password"}
        address = url_of(replace(database.target, parameters=parameters))
        report.sections.append(("kapman_db", f"kept for inspection: {address}"))
    return report


def clone(connection: Connection, template: str, name: str) -> None:
    """Create a database as a copy of a template's files."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
    connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))


def build_template(server: Target, directory: Path = MIGRATIONS) -> str:
    """Return the name of a complete template on a server; build it if it is not there.

    Processes that want it at the same time wait for the one that builds. It accepts no connections, so TimescaleDB
    starts no scheduler in it. Raises MigrationError if the migrations do not apply.
    """
    files = migrations.discover(directory)
    digest = hashlib.sha256("\n".join(f"{file.name} {file.checksum}" for file in files).encode()).hexdigest()
    name = f"{PREFIX}{digest[:12]}"
    database = sql.Identifier(name)
    with postgres.maintenance(server) as connection:
        connection.execute("SELECT pg_catalog.pg_advisory_lock(%s)", [lock_key("template", name)])
        found: Any = connection.execute(
            "SELECT pg_catalog.shobj_description(d.oid, 'pg_database') FROM pg_catalog.pg_database AS d"
            " WHERE d.datname = %s",
            [name],
        ).fetchone()
        if found and found[0] == COMPLETE:
            return name
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(database))
        migrations.migrate(replace(server, database=name), files, migrations.Options(fresh=True))
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database))
        # TimescaleDB's scheduler is connected, too.
        query = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = %s"
        deadline = time.monotonic() + TIMEOUT
        while connection.execute(query, [name]).fetchall() and time.monotonic() < deadline:
            time.sleep(0.02)
        connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, COMPLETE))
    return name
