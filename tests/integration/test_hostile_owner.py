"""A hostile owner of a database: none of the owner's code runs with the rights of the superuser who operates it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from dbops.database import existing, properties, rebuild, status
from dbops.database.inspection import look_inside
from dbops.database.properties import Kind
from dbops.errors import DbopsError
from dbops.migrations.files import Migration, discover
from dbops.settings import CHECKS, ROOT, Target
from tests.support import odd_databases, operators, servers, shadows, verifying
from tests.support.pooler import pooler_of
from tests.support.servers import TestServer

# Who plants the traps: what is another role's must run neither as the superuser nor as the owner.
PLANTERS = ("owner", "member", "guest")


@dataclass(frozen=True, slots=True)
class Hostile:
    """A database full of traps, kept as a template, on a server whose log shows what ran."""

    server: TestServer
    owner: str
    template: str


@pytest.fixture(scope="module")
def hostiles(own_server: TestServer) -> Iterator[Callable[[str], Hostile]]:
    """Return what gives a database of the baseline, built by its owner and then set with traps by a planter.

    A member belongs to the owner's role; a guest may create databases, and objects in the schema public.
    """
    made: dict[str, Hostile] = {}
    with ExitStack() as stack:

        def give(planter: str) -> Hostile:
            if planter not in made:
                name = servers.fresh_name("hostile")
                target = own_server.target(name)
                owner = stack.enter_context(operators.role(own_server))
                rebuild.rebuild(operators.as_role(target, owner), operators.options())
                who = owner
                if planter != "owner":
                    who = stack.enter_context(operators.role(own_server))
                    right = f"GRANT {owner} TO {who}"
                    if planter == "guest":
                        right = f"GRANT USAGE, CREATE ON SCHEMA public TO {who}"
                    own_server.execute(right, name)
                shadows.plant(operators.as_role(target, who))
                close(own_server, name)
                made[planter] = Hostile(own_server, owner, name)
            return made[planter]

        yield give
        for hostile in made.values():
            servers.drop_quietly(own_server, hostile.template)


def close(server: TestServer, name: str) -> None:
    """Keep everybody out of a database, so that it can be copied."""
    server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = "
    server.execute(f"{end}'{name}'")


@contextmanager
def copied(hostile: Hostile, *, as_owner: bool = False) -> Iterator[Target]:
    """Yield a copy of a database with traps, in which sessions find what is in the schema public first, as its owner.

    An owner may not keep the settings of other roles in it.
    """
    name, server = servers.fresh_name(), hostile.server
    server.execute(f'CREATE DATABASE "{name}" OWNER {hostile.owner} TEMPLATE "{hostile.template}"')
    server.execute(f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog')
    server.execute(f'ALTER DATABASE "{name}" SET role = {hostile.owner}')
    if not as_owner:
        server.execute(f'ALTER ROLE postgres IN DATABASE "{name}" SET search_path = public, pg_catalog')
    try:
        yield server.target(name)
    finally:
        servers.drop_quietly(server, name)


@pytest.fixture
def hostile(hostiles: Callable[[str], Hostile]) -> Hostile:
    """Return the database in which the owner has planted the traps."""
    return hostiles("owner")


@pytest.fixture
def trap(hostile: Hostile) -> Iterator[Target]:
    """Return a copy of that database."""
    with copied(hostile) as target:
        yield target


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
    # All files of checks, those that it runs without --empty too. What is wrong with thousands of objects takes longer
    # to draw for a reader than to find.
    "verify": ["db.verify", "--empty", "--format", "json"],
    "fingerprint": ["db.fingerprint"],
    "diagram": ["db.diagram"],
    "drift": ["db.drift", "--format", "json"],
    "drift --build": ["db.drift", "--build", "--format", "json"],
    "migrate": ["db.migrate"],
    "migrate --plan": ["db.migrate", "--plan"],
    "migrate --check": ["db.migrate", "--check"],
    "create": ["db.create"],
    "rebuild --plan": ["db.rebuild", "--plan"],
    "psql": ["db.psql", "--command", "SELECT 1"],
    "drop without consent": ["db.drop"],
    "rebuild": ["db.rebuild", "--yes"],
    "drop": ["db.drop", "--yes"],
}
# What a pooler is refused for, since it cannot keep the operator's lock.
WRITING = {
    "diagram",
    "drift --build",
    "migrate",
    "migrate --check",
    "create",
    "rebuild --plan",
    "drop without consent",
    "rebuild",
    "drop",
}
# What takes the traps away with their database.
LAST = {"rebuild", "drop"}


def expected_codes(way: str, verb: str) -> tuple[int, ...]:
    """Return the exit codes with which a verb may end in a database full of traps."""
    if way.startswith("pooled") and verb in WRITING:
        return (3,)
    if verb == "drop without consent":
        return (5,)
    return (0,) if verb in LAST else (0, 1)


def run_in_a_trap(hostile: Hostile, way: str, trap: Target, verb: str, output: Path) -> list[str]:
    """Run a verb in a copy of a database with traps, and return what was wrong."""
    words = [*VERBS[verb], *(["--output", str(output)] if verb == "diagram" else [])]
    run = operators.invoke_alone if verb == "psql" else operators.invoke
    operator = operators.as_role(trap, hostile.owner) if way == "as the owner" else trap
    with ExitStack() as stack:
        through = operator
        if way.startswith("pooled"):
            # A new one for each verb: its sessions have no settings of another's.
            ignored = ("options",) if way.endswith("dropped") else ()
            through = stack.enter_context(pooler_of(hostile.server, ignored=ignored)).target(trap.database)
        log = shadows.Log.of(hostile.server)
        done = run(*words, target=through)
    wrong = [f"{verb}: ran as the operator: {what}" for what in sorted(log.planted(operator))]
    refused = way.startswith("pooled") and verb in WRITING
    if (
        done.returncode not in expected_codes(way, verb)
        or "Traceback" in done.stderr
        or (refused and "pooler" not in done.stderr)
    ):
        wrong.append(f"{verb}: exit code {done.returncode}: {done.stderr}")
    return wrong


# How the operator connects. An owner operates where the traps are another role's; a member is the owner's equal.
@pytest.mark.parametrize(
    ("planter", "way"),
    [
        *((planter, way) for planter in PLANTERS for way in ("direct", "pooled", "pooled, options dropped")),
        ("guest", "as the owner"),
    ],
)
@pytest.mark.slow
def test_nothing_of_other_roles_runs_as_the_operator(
    hostiles: Callable[[str], Hostile], tmp_path: Path, planter: str, way: str
) -> None:
    hostile, output = hostiles(planter), tmp_path / "schema.md"
    as_owner = way == "as the owner"
    wrong = []
    with copied(hostile, as_owner=as_owner) as trap:
        for verb in VERBS:
            if verb not in LAST:
                wrong += run_in_a_trap(hostile, way, trap, verb, output)
    for verb in LAST:
        with copied(hostile, as_owner=as_owner) as trap:
            wrong += run_in_a_trap(hostile, way, trap, verb, output)
    assert wrong == []


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
    files = (*discover(ROOT / "db" / "migrations"), pending(tmp_path))
    log = shadows.Log.of(hostile.server)
    for run in (status.status, existing.migrate):
        with suppress(DbopsError):
            run(trap, files)
    assert log.planted(trap) == set()


def pending(directory: Path) -> Migration:
    """Return a migration that no database has, and that calls nothing."""
    (directory / "0001_create_nothing.sql").write_text("-- Nothing.\nSELECT 1;\n")
    (found,) = discover(directory)
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
    found = verifying.verify(trap, CHECKS, baseline=True, only=("empty",))
    (count,) = (check for check in found.checks if check.name == f"rows public.{table}")
    assert (count.passed, count.actual == "missing" or "not counted" in str(count.actual)) == (False, True)
    assert log.planted(trap) == set()
    # The owner's own rights are another matter.
    assert "not counted: the table depends" not in str(verifying.verify(own, CHECKS, baseline=True).checks)
