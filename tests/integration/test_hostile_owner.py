"""A hostile owner of a database: none of the owner's code runs with the rights of the superuser who operates it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from dbops import migrations, verification
from dbops.database import existing, properties, rebuild
from dbops.database.inspection import look_inside
from dbops.database.properties import Kind
from dbops.errors import DbopsError
from dbops.settings import CHECKS, ROOT, Target
from tests.support import odd_databases, operators, servers, shadows
from tests.support.servers import TestServer


@dataclass(frozen=True, slots=True)
class Hostile:
    """A database full of traps, kept as a template, on a server whose log shows what ran."""

    server: TestServer
    owner: str
    template: str


@pytest.fixture(scope="module")
def hostile(own_server: TestServer) -> Iterator[Hostile]:
    """Return a database of the baseline, built and then set with traps by its owner."""
    name = servers.fresh_name("hostile")
    target = own_server.target(name)
    with operators.role(own_server) as owner:
        own = operators.as_role(target, owner)
        rebuild.rebuild(own, operators.options())
        shadows.plant(own)
        own_server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = "
        own_server.execute(f"{end}'{name}'")
        yield Hostile(own_server, owner, name)


@pytest.fixture
def trap(hostile: Hostile, own_server: TestServer) -> Iterator[Target]:
    """Return a copy of that database, in which sessions find the owner's objects first."""
    name = servers.fresh_name()
    own_server.execute(f'CREATE DATABASE "{name}" OWNER {hostile.owner} TEMPLATE "{hostile.template}"')
    own_server.execute(f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog')
    own_server.execute(f'ALTER ROLE postgres IN DATABASE "{name}" SET search_path = public, pg_catalog')
    yield own_server.target(name)
    servers.drop_quietly(own_server, name)


@pytest.mark.slow
def test_traps_work_for_a_session_without_precautions(hostile: Hostile, trap: Target) -> None:
    log = shadows.Log.of(hostile.server)
    statements = {
        "function to_regclass(text)": "SELECT to_regclass('x'::pg_catalog.text)",
        "operator = (name, text)": "SELECT relname = 'x'::pg_catalog.text FROM pg_catalog.pg_class LIMIT 1",
        "view pg_class": "SELECT FROM pg_class LIMIT 1",
        "type regclass": "SELECT 1::pg_catalog.oid::regclass",
        "aggregate": "SELECT count(*) FROM public.measured",
        "an index": "SELECT FROM ONLY public.indexed LIMIT 1",
        "check": "INSERT INTO public.watched VALUES (2)",
    }
    with servers.connect(trap) as connection:
        for statement in statements.values():
            with suppress(psycopg.Error):
                connection.execute(statement.encode())
    assert statements.keys() <= log.planted(trap)


VERBS = {
    "status": ["db.status"],
    "verify": ["db.verify"],
    "verify --empty": ["db.verify", "--empty"],
    "fingerprint": ["db.fingerprint"],
    "diagram": ["db.diagram"],
    "drift": ["db.drift"],
    "migrate": ["db.migrate"],
    "migrate --plan": ["db.migrate", "--plan"],
    "migrate --check": ["db.migrate", "--check"],
    "create": ["db.create"],
    "rebuild --plan": ["db.rebuild", "--plan"],
    "drop without consent": ["db.drop"],
    "drop": ["db.drop", "--yes"],
    "rebuild": ["db.rebuild", "--yes"],
    "psql": ["db.psql", "--command", "SELECT 1"],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.slow
def test_nothing_of_the_owners_runs_as_the_superuser(hostile: Hostile, trap: Target, tmp_path: Path, verb: str) -> None:
    log = shadows.Log.of(hostile.server)
    words = [*VERBS[verb], *(["--output", str(tmp_path / "schema.md")] if verb == "diagram" else [])]
    run = operators.invoke_alone if verb == "psql" else operators.invoke
    done = run(*words, target=trap)
    assert log.planted(trap) == set()
    assert done.returncode in (0, 1, 5), done.stderr
    assert "Traceback" not in done.stderr
    assert (done.returncode == 5) == (verb == "drop without consent")
    if verb in ("drop", "rebuild"):
        assert done.returncode == 0, done.stderr


COLUMNS = "version, name, checksum, applied_at, applied_by, duration_ms, tool_version"
LEDGERS = {
    "view": f"""ALTER TABLE dbops.schema_migrations RENAME TO kept;
        CREATE VIEW dbops.schema_migrations AS SELECT {COLUMNS} FROM dbops.kept WHERE public.caught('ledger')""",
    "rule": """CREATE RULE planted AS ON INSERT TO dbops.schema_migrations
        WHERE public.caught('ledger') DO INSTEAD NOTHING""",
    "trigger": """CREATE TRIGGER planted BEFORE INSERT ON dbops.schema_migrations
        FOR EACH STATEMENT EXECUTE FUNCTION public.planted_trigger()""",
    "policy": """ALTER TABLE dbops.schema_migrations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY planted ON dbops.schema_migrations USING (public.caught('ledger'))""",
    "index": "CREATE INDEX ON dbops.schema_migrations ((public.planted_number('ledger')))",
    "partial index": "CREATE INDEX ON dbops.schema_migrations (name) WHERE public.caught('ledger')",
    "statistics": """CREATE STATISTICS dbops.planted ON (public.planted_number('ledger') + version), version
        FROM dbops.schema_migrations""",
    "default": "ALTER TABLE dbops.schema_migrations ALTER applied_by SET DEFAULT public.planted_number('ledger')::text",
    "check": "ALTER TABLE dbops.schema_migrations ADD CHECK (public.caught('ledger'))",
}


@pytest.mark.parametrize("kind", LEDGERS)
@pytest.mark.slow
def test_nothing_that_is_planted_on_the_ledger_runs_as_the_superuser(
    hostile: Hostile, trap: Target, tmp_path: Path, kind: str
) -> None:
    with servers.connect(operators.as_role(trap, hostile.owner)) as connection:
        connection.execute("SET search_path = pg_catalog")
        for statement in LEDGERS[kind].split(";"):
            connection.execute(statement.encode())
    files = (*migrations.discover(ROOT / "db" / "migrations"), pending(tmp_path))
    log = shadows.Log.of(hostile.server)
    for run in (existing.status, existing.migrate):
        with suppress(DbopsError):
            run(trap, files)
    assert log.planted(trap) == set()


def pending(directory: Path) -> migrations.Migration:
    """Return a migration that no database has, and that calls nothing."""
    (directory / "0001_create_nothing.sql").write_text("-- Nothing.\nSELECT 1;\n")
    (found,) = migrations.discover(directory)
    return replace(found, version=9999)


@pytest.mark.slow
def test_functions_that_the_owner_made_members_of_an_extension_are_not_called(hostile: Hostile, trap: Target) -> None:
    own = operators.as_role(trap, hostile.owner)
    with servers.connect(own) as connection:
        connection.execute("SET search_path = pg_catalog")
        connection.execute("CREATE SCHEMA planted")
        for function in ("start_background_workers()", "approximate_row_count(regclass)"):
            connection.execute(
                f"""CREATE FUNCTION planted.{function} RETURNS bigint LANGUAGE plpgsql AS
                $$ BEGIN PERFORM public.caught('member'); RETURN 1; END $$""".encode()
            )
            connection.execute(f"ALTER EXTENSION timescaledb ADD FUNCTION planted.{function}".encode())
        for function in ("planted_number(text)", "caught(text)"):
            connection.execute(f"ALTER EXTENSION timescaledb ADD FUNCTION public.{function}".encode())
    marker = properties.marker(Kind.CLOSED, trap.database, odd_databases.properties(trap))
    hostile.server.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(trap.database), marker.text()))
    log = shadows.Log.of(hostile.server)
    assert rebuild.create(trap, operators.options()).opened
    found = look_inside(trap)
    assert found.rows
    rebuild.rebuild(trap, operators.options(yes=True))
    assert log.planted(trap) == set()


BASELINE = {
    "index": "CREATE INDEX ON public.tickers ((public.planted_number('the baseline')))",
    "index of a child": """CREATE TABLE public.child () INHERITS (public.tickers);
        CREATE INDEX ON public.child ((public.planted_number('the baseline')))""",
    "statistics": """CREATE STATISTICS public.planted_too ON (public.planted_number('the baseline')), date
        FROM public.ohlcv""",
    "view": """ALTER TABLE public.daily_snapshots RENAME TO kept;
        CREATE VIEW public.daily_snapshots AS SELECT * FROM public.kept WHERE public.caught('the baseline')""",
}


@pytest.mark.parametrize("kind", BASELINE)
@pytest.mark.slow
def test_check_files_do_not_run_what_is_planted_on_the_tables_of_the_baseline(
    hostile: Hostile, trap: Target, kind: str
) -> None:
    own = operators.as_role(trap, hostile.owner)
    with servers.connect(own) as connection:
        connection.execute("SET search_path = pg_catalog")
        for statement in BASELINE[kind].split(";"):
            connection.execute(statement.encode())
    log = shadows.Log.of(hostile.server)
    table = {"view": "daily_snapshots", "statistics": "ohlcv"}.get(kind, "tickers")
    found = verification.verify(trap, CHECKS, baseline=True, only=("empty",))
    (count,) = (check for check in found.checks if check.name == f"rows public.{table}")
    assert (count.passed, count.actual == "missing" or "not counted" in str(count.actual)) == (False, True)
    assert log.planted(trap) == set()
    # The owner's own rights are another matter.
    assert "not counted: the table depends" not in str(verification.verify(own, CHECKS, baseline=True).checks)
