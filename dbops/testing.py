"""A pytest plugin for the repositories that use this schema: `kapman_db` is a fresh database for one test.

Each is a clone of a template that holds the baseline. The template is built once per server and role, kept between
runs, and named by a hash of the migrations. The server is the one that KAPMAN_TEST_DATABASE_URL names (as a superuser,
or a role that may create databases), else one for tests alone, without durability, on this machine.

python -m dbops.testing     drops the templates and the databases of tests that the role has on that server
"""

from __future__ import annotations

import hashlib
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dbops import postgres
from dbops.errors import DbopsError, ServerError
from dbops.migrations.files import discover
from dbops.migrations.options import MigrationOptions
from dbops.migrations.run import migrate
from dbops.postgres import Connection, lock_key, quoted, try_lock, unlock
from dbops.settings import MIGRATIONS, Target, parse_url, read_environ, variable

VARIABLE = "KAPMAN_TEST_DATABASE_URL"
PREFIX = "kapman_template_"
# A database of a test is named by the process that runs tests, and a number.
TEST_PREFIX = "kapman_test_"
TEST_NAME = f"^{TEST_PREFIX}[0-9a-f]{{12}}(_[0-9]+)?$"
# How the comment begins of a template that is complete, and of a database that is kept since its test failed.
COMPLETE = f"{postgres.MARKER}a template for tests"
KEPT = f"{postgres.MARKER}kept, since this test failed"
# How long a template may take until the jobs and sessions in it are gone, in seconds.
TIMEOUT = 10.0
HINT = (
    f"{VARIABLE} must name a server that runs and has TimescaleDB, as a superuser or a role with CREATEDB. Without it, "
    "a server for tests is started on this machine."
)
_CLONES = pytest.StashKey["Clones"]()


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
        return self.target.url()

    def connect(self, **parameters: Any) -> psycopg.Connection[Any]:
        """Return a new connection, with further parameters as psycopg.connect takes them."""
        # What the target leaves out is nothing that libpq's variables may say.
        server = {**dict.fromkeys(("host", "hostaddr", "port"), ""), **self.target.parameters}
        return psycopg.connect(make_conninfo("", **{**server, "dbname": self.name}), **parameters)


@dataclass(slots=True)
class Clones:
    """What a process clones databases with: a session, and the name that all of them begin with.

    The session holds a lock on that name: databases whose lock is free were left over from a process that was killed.
    """

    connection: Connection
    name: str
    count: int = 0

    @classmethod
    def on(cls, server: Target) -> Clones:
        """Return what to clone with on a server."""
        connection, name = postgres.connect(server), f"{TEST_PREFIX}{uuid.uuid4().hex[:12]}"
        try_lock(connection, lock_key("tests", name))
        return cls(connection, name)

    def clone(self, template: str) -> str:
        """Create a database for a test and return its name."""
        self.count += 1
        name = f"{self.name}_{self.count}"
        clone(self.connection, template, name)
        return name


@pytest.fixture(scope="session")
def kapman_server() -> Target:
    """Return the server for tests, as the target of its maintenance database."""
    with _explained():
        return _server()


@pytest.fixture(scope="session")
def kapman_template(kapman_server: Target) -> str:
    """Return the name of the template, which is built if the server has none that fits."""
    with _explained(kapman_server):
        return build_template(kapman_server)


@pytest.fixture
def kapman_db(request: pytest.FixtureRequest, kapman_server: Target, kapman_template: str) -> Iterator[Database]:
    """Return a database of its own for a test, with the schema; it is dropped afterwards, unless the test failed."""
    stash, node = request.session.stash, request.node
    with _explained(kapman_server):
        if _CLONES not in stash or stash[_CLONES].connection.closed:
            stash[_CLONES] = Clones.on(kapman_server)
        name = stash[_CLONES].clone(kapman_template)
    yield Database(replace(kapman_server, database=name))
    connection = stash[_CLONES].connection
    with _explained(kapman_server):
        if getattr(node, "kapman_failed", False):
            comment = sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), f"{KEPT}: {node.nodeid}")
            connection.execute(comment)
        else:
            drop(connection, name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Keep the database of a test that failed, and show its address, without a password, with the failure."""
    report = yield
    database = getattr(item, "funcargs", {}).get("kapman_db")
    if report.failed and database is not None and call.when != "teardown":
        item.kapman_failed = True  # type: ignore[attr-defined]
        report.sections.append(("kapman_db", f"kept for inspection: {database.target.url(with_secrets=False)}"))
    return report


def clone(connection: Connection, template: str, name: str) -> None:
    """Create a database as a copy of a template's files."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
    connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))


def drop(connection: Connection, name: str) -> None:
    """Drop a database with the sessions in it."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    _when_free(lambda: connection.execute(statement))


def _when_free(work: Callable[[], object]) -> None:
    """Do what fails while one of TimescaleDB's jobs is in the database: it is over in a moment.

    Only a superuser may end it.
    """
    for _ in postgres.attempts(TIMEOUT, 0.05):
        with suppress(psycopg.errors.ObjectInUse, psycopg.errors.InsufficientPrivilege):
            work()
            return
    work()


def build_template(server: Target, directory: Path = MIGRATIONS) -> str:
    """Return the name of a template on a server; build it if it is not there, or does not fit the server any more.

    Each role has its own: it owns what is in the clones. Processes that want it at the same time wait for the one that
    builds. It accepts no connections, so TimescaleDB starts no scheduler in it. Databases left over from processes that
    were killed are dropped. Raises MigrationError if the migrations do not apply, ServerError if the name is taken.
    """
    files = discover(directory)
    with postgres.maintenance(server) as connection:
        role = connection.info.user
        key = "\n".join([role, *(f"{file.name} {file.checksum}" for file in files)])
        name = f"{PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:12]}"
        connection.execute("SELECT pg_catalog.pg_advisory_lock(%s)", [lock_key("template", name)])
        _drop_left_over(connection)
        row = connection.execute(_TEMPLATE, [name]).fetchone()
        # Only the role's own is believed: any role that may create databases can give one that name and comment.
        if row and row[1:] == (True, _mark(connection), True):
            return name
        # It gets its name when it is complete.
        building = f"{name}_new"
        for old in (name, building):
            row = connection.execute(_TEMPLATE, [old]).fetchone()
            if row and not row[1]:
                raise ServerError(
                    f"the database {old} has the name of a template for tests, but belongs to {row[0]}",
                    where=str(replace(server, database=old)),
                    hint=f"If nothing in it is needed, run DROP DATABASE {quoted(old)} as a superuser or as its owner.",
                )
            drop(connection, old)
        own, final = sql.Identifier(building), sql.Identifier(name)

        def name_and_mark() -> None:
            # The new name stops TimescaleDB's scheduler in it.
            with connection.transaction():
                connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(own, _mark(connection)))
                connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(own, final))

        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(own))
        try:
            migrate(replace(server, database=building), files, MigrationOptions(fresh=True))
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(own))
            _when_free(name_and_mark)
        except BaseException:
            drop(connection, building)
            raise
    return name


_TEMPLATE = """
    SELECT pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_get_userbyid(d.datdba) = current_user,
           pg_catalog.shobj_description(d.oid, 'pg_database'),
           d.datcollversion IS NOT DISTINCT FROM pg_catalog.pg_database_collation_actual_version(d.oid)
    FROM pg_catalog.pg_database AS d WHERE d.datname = %s"""
_OWN = """
    SELECT d.datname, pg_catalog.shobj_description(d.oid, 'pg_database') FROM pg_catalog.pg_database AS d
    WHERE d.datname ~ %s AND pg_catalog.pg_get_userbyid(d.datdba) = current_user ORDER BY 1"""


def _mark(connection: Connection) -> str:
    """Return the comment of a template that is complete and of the version of TimescaleDB that the server offers."""
    query = "SELECT default_version FROM pg_catalog.pg_available_extensions WHERE name = 'timescaledb'"
    row = connection.execute(query).fetchone()
    return f"{COMPLETE}, with TimescaleDB {row[0] if row else 'missing'}"


def _drop_left_over(connection: Connection, *, kept: bool = False) -> list[str]:
    """Drop the role's databases of processes that were killed, with `kept` those of failed tests too; return names."""
    dropped = []
    rows = connection.execute(_OWN, [TEST_NAME]).fetchall()
    names = [str(name) for name, comment in rows if kept or comment is None]
    for run in sorted({name[: len(TEST_PREFIX) + 12] for name in names}):
        key = lock_key("tests", run)
        if not try_lock(connection, key):
            continue
        for name in (name for name in names if name.startswith(run)):
            drop(connection, name)
            dropped.append(name)
        unlock(connection, key)
    return dropped


def _server() -> Target:
    """Return the server that the variable names, else the one for tests on this machine, which is started."""
    environ = read_environ(os.environ)
    url, source = variable(environ, VARIABLE)
    if not url:
        from dbops import server

        return server.ensure_running(environ, for_tests=True)
    parameters = parse_url(url, source)
    parameters.pop("dbname", None)
    return Target(parameters, "postgres")


@contextmanager
def _explained(server: Target | None = None) -> Iterator[None]:
    """Make an error of a fixture one message, without a traceback: what, where, on which server, what to do."""
    try:
        yield
    except (DbopsError, psycopg.Error) as error:
        found = (
            error if isinstance(error, DbopsError) else postgres.translate(error, server or Target({}, ""), "postgres")
        )
        if server:
            named = "the server for tests on this machine" if server.embedded else VARIABLE
            found.notes = (f"server: {server.url(with_secrets=False)} ({named})", *found.notes)
        if server and not server.embedded and isinstance(found, ServerError):
            found.state, found.hint = "", HINT
        pytest.fail(f"kapman_db: {found.render().removeprefix('error: ')}", pytrace=False)


def clean(server: Target) -> list[str]:
    """Drop the connecting role's templates, and its databases of tests that no process runs; return their names."""
    with postgres.maintenance(server) as connection:
        dropped = _drop_left_over(connection, kept=True)
        for name, _ in connection.execute(_OWN, [f"^{PREFIX}[0-9a-f]{{12}}(_new)?$"]).fetchall():
            drop(connection, str(name))
            dropped.append(str(name))
    return dropped


def main() -> int:
    """Drop what tests left over, say what it was, and return the exit code."""
    try:
        dropped = clean(_server())
    except DbopsError as error:
        sys.stderr.write(f"{error.render()}\n")
        return error.exit_code
    sys.stdout.write("".join(f"dropped {name}\n" for name in dropped) or "nothing to drop\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
