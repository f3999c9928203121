"""Nothing that a database's owner put into it runs with the rights of the superuser who operates on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dbops.database import status
from dbops.database.inspection import look_inside
from dbops.database.operator import operating
from dbops.migrations.files import discover
from dbops.migrations.run import migrate
from dbops.settings import MIGRATIONS, Target
from tests.support import operators, servers
from tests.support.operators import as_role
from tests.support.servers import TestServer

# Ends the session of a superuser who runs it, so that no error handling hides that it ran.
SPY = """
CREATE FUNCTION public.spy(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        PERFORM pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid());
        PERFORM pg_catalog.pg_sleep(5);
    END IF;
    RETURN true;
END $$;
"""
JOINS_EXTENSION = "ALTER EXTENSION timescaledb ADD FUNCTION public.spy(integer);"
HYPERTABLE = """
CREATE TABLE public.t (d date NOT NULL);
CREATE INDEX ON public.t (d);
SELECT public.create_hypertable('public.t', 'd');
INSERT INTO public.t VALUES ('2024-01-02');
"""
PARTITIONS = """
CREATE TABLE public.t (d date) PARTITION BY RANGE (d);
CREATE INDEX ON public.t (d);
CREATE TABLE public.part PARTITION OF public.t DEFAULT;
INSERT INTO public.t VALUES ('2024-01-02');
"""
TABLES = {
    "an index": "CREATE TABLE public.t AS SELECT 1 AS a; CREATE INDEX ON public.t (a) WHERE public.spy(1);",
    "an index with a function that joined an extension": (
        f"CREATE TABLE public.t AS SELECT 1 AS a; CREATE INDEX ON public.t (a) WHERE public.spy(1); {JOINS_EXTENSION}"
    ),
    "a constraint on a partition": f"{PARTITIONS} ALTER TABLE public.part ADD CHECK (public.spy(1));",
    "a constraint on a hypertable": f"{HYPERTABLE} ALTER TABLE public.t ADD CHECK (public.spy(1));",
    "statistics": (
        "CREATE TABLE public.t AS SELECT 1 AS a;"
        "CREATE STATISTICS public.s ON public.spy(a), public.spy(a + 1) FROM public.t;"
    ),
}
LEDGERS = {
    "a view": (
        "ALTER TABLE dbops.schema_migrations RENAME TO rows;"
        "CREATE VIEW dbops.schema_migrations AS SELECT * FROM dbops.rows WHERE public.spy(1)"
    ),
    "an index": "CREATE INDEX ON dbops.schema_migrations (name) WHERE public.spy(1)",
    "a child": "CREATE TABLE dbops.child (CHECK (public.spy(1))) INHERITS (dbops.schema_migrations)",
}


@pytest.fixture
def owned(server: TestServer, target: Target) -> Iterator[Target]:
    """Return a database as its owner sees it, who is not a superuser but owns the extension."""
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        servers.run(as_role(target, owner), "CREATE EXTENSION timescaledb")
        servers.run(as_role(target, owner), SPY)
        yield as_role(target, owner)


@pytest.mark.parametrize("change", TABLES)
def test_search_for_rows_runs_no_function_of_the_owner(owned: Target, target: Target, change: str) -> None:
    servers.run(owned, TABLES[change])
    impact = look_inside(target)
    assert impact.readable
    assert (impact.seen, impact.evidence.startswith("public.t is not empty on disk")) == (False, True)
    assert "public.spy(integer)" in impact.evidence
    assert look_inside(owned).evidence == "public.t", "for the owner the same function is harmless"


@pytest.mark.parametrize("change", LEDGERS)
def test_ledger_that_would_run_a_function_of_the_owner_is_a_problem_and_is_not_read(
    owned: Target, target: Target, change: str
) -> None:
    files = discover(MIGRATIONS)
    servers.run(owned, "DROP FUNCTION public.spy(integer)")
    migrate(owned, files)
    servers.run(owned, SPY + LEDGERS[change])
    found = status.status(target, files)
    assert found.problems
    assert not any(item.entry for item in found.items)


def test_scheduler_is_not_started_by_a_function_that_the_owner_added_to_the_extension(
    server: TestServer, owned: Target, target: Target
) -> None:
    servers.run(
        owned,
        "CREATE FUNCTION public.start_background_workers() RETURNS boolean LANGUAGE sql AS 'SELECT public.spy(1)';"
        "ALTER EXTENSION timescaledb ADD FUNCTION public.start_background_workers()",
        # Plans that find the function in schema public first.
        *(
            f'ALTER DATABASE "{owned.database}" SET enable_{plan} = off'
            for plan in ("seqscan", "hashjoin", "mergejoin")
        ),
    )
    # A rename stops the scheduler.
    for old, new in ((target.database, f"{target.database}_"), (f"{target.database}_", target.database)):
        server.execute(f'ALTER DATABASE "{old}" RENAME TO "{new}"')
    with operating(target) as operator:
        assert operator.restart_scheduler()


@pytest.mark.parametrize("attributes", ["LOGIN", "LOGIN NOINHERIT", "LOGIN CREATEDB NOINHERIT"])
def test_member_of_the_owner_runs_none_of_its_code_even_where_it_becomes_the_owner(
    server: TestServer, target: Target, attributes: str
) -> None:
    """Such code says SET ROLE NONE, and then has what else the member may do."""
    with operators.role(server) as owner, operators.role(server, f"{attributes} IN ROLE {owner}") as member:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        spy = SPY.replace("(SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)", "{}")
        servers.run(
            as_role(target, owner),
            spy.format(f"session_user = '{member}'"),
            "CREATE TABLE public.t (a integer)",
            "CREATE INDEX ON public.t (a) WHERE public.spy(1)",
            "INSERT INTO public.t VALUES (1)",
        )
        with operating(as_role(target, member)) as operator:
            found = operator.clean_up_and_inspect()
        assert found.impact
        assert "would run the function, operator or domain public.spy(integer)" in found.impact.evidence
        servers.drop_quietly(server, target.database)
