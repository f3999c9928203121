"""The owner of a database tries to put code where a superuser's rebuild would run it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dbops.database import rebuild
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.operators import as_role, dsn, options
from tests.support.servers import TestServer

# A better match for the call of a migration than TimescaleDB's own function, and an operator that hides PostgreSQL's.
# Each says RESET ROLE, as code of the owner's would: SET ROLE is no barrier.
PLANTED = """
CREATE FUNCTION public.rise() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'RESET ROLE';
    IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        EXECUTE pg_catalog.format('ALTER ROLE %I SUPERUSER', (SELECT pg_catalog.pg_get_userbyid(nspowner)
            FROM pg_catalog.pg_namespace WHERE nspname = 'planted'));
    END IF;
    RETURN true;
END $$;
CREATE SCHEMA planted;
CREATE FUNCTION public.create_hypertable(text, text, chunk_time_interval interval) RETURNS boolean
    LANGUAGE sql AS 'SELECT public.rise()';
CREATE FUNCTION public.differs(varchar, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT public.rise()';
CREATE OPERATOR public.<> (FUNCTION = public.differs, LEFTARG = varchar, RIGHTARG = varchar);
CREATE FUNCTION public.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.rise(); END';
"""


class Hostile:
    """Polls for databases, in a thread, opens what it may, connects to all, and plants what it can."""

    def __init__(self, target: Target, role: str) -> None:
        self.own = as_role(target, role)
        self.role = role
        self.seen: set[str] = set()
        self.planted: set[str] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Hostile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        query = "SELECT datname::text FROM pg_database WHERE datname LIKE 'kapman\\_scratch\\_%'"
        while not self._done.is_set():
            # To alter a database that is being dropped ends the session.
            with suppress(psycopg.OperationalError), servers.connect(self.own, "postgres") as outside:
                while not self._done.is_set():
                    for (name,) in outside.execute(query).fetchall():
                        self.seen.add(str(name))
                        self._try(outside, str(name))
                    time.sleep(0.002)

    def _try(self, outside: Any, name: str) -> None:
        database = sql.Identifier(name)
        for statement in ("ALTER DATABASE {} ALLOW_CONNECTIONS true", "ALTER DATABASE {} CONNECTION LIMIT -1"):
            try:
                outside.execute(sql.SQL(statement).format(database))
            except psycopg.Error:
                continue
        try:
            with psycopg.connect(dsn(self.own).replace(self.own.database, name), autocommit=True) as inside:
                inside.execute(PLANTED.encode())
                self.planted.add(name)
        except psycopg.Error:
            return


@pytest.fixture
def owned(server: TestServer, target: Target) -> Iterator[str]:
    """Return the name of the role that owns the target's database, which its migrations have built."""
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        yield owner
        servers.drop_quietly(server, target.database)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "times", [pytest.param(5, marks=pytest.mark.slow, id="sample"), pytest.param(40, marks=pytest.mark.soak, id="full")]
)
def test_owner_who_polls_opens_connects_and_plants_never_becomes_a_superuser(
    server: TestServer, target: Target, owned: str, times: int
) -> None:
    with Hostile(target, owned) as hostile:
        for _ in range(times):
            rebuild.rebuild(target, options(confirm=target.database))
    assert len(hostile.seen) >= times
    # What it can open is the old database, which is its own, on the way out.
    rights = f"SELECT rolsuper FROM pg_roles WHERE rolname = '{owned}'"
    assert server.execute(rights) == [(False,)]
    there = "SELECT to_regprocedure('public.create_hypertable(text, text, interval)') IS NULL"
    assert server.execute(there, target.database) == [(True,)]
    assert rebuild.rebuild(target, options()).fingerprint
    assert operators.scratch_databases(server) == []


@pytest.mark.slow
@pytest.mark.parametrize("who", ["owner", "createdb", "member"])
@pytest.mark.parametrize("verb", ["rebuild", "rebuild --check", "drop and create", "undo"])
def test_code_in_the_old_database_or_in_one_that_only_looks_like_ours_never_runs(
    server: TestServer, target: Target, small: dict[str, Any], owned: str, who: str, verb: str
) -> None:
    (small["migrations"] / "0002_check_it.sql").write_text(
        "-- Why:   x\n-- Needs: 0001.\n-- Locks: none\n"
        "CREATE TABLE public.c (symbol varchar(20), CONSTRAINT c_check CHECK (symbol <> 'ZZZ'));\n"
        "INSERT INTO public.c VALUES ('A');\n"
    )
    with operators.role(server) as stranger, operators.role(server, f"LOGIN IN ROLE {owned}") as member:
        role = {"owner": owned, "createdb": stranger, "member": member}[who]
        rebuild.rebuild(target, options(**small))
        keep = verb == "undo"
        if keep:
            rebuild.rebuild(target, options(confirm=target.database, keep=True, **small))
        if who != "createdb":
            servers.run(as_role(target, role), PLANTED)
        with Hostile(target, role):
            agreed = options(confirm=target.database, check="check" in verb, **small)
            if verb == "drop and create":
                rebuild.drop(target, agreed)
                rebuild.create(target, agreed)
            else:
                (rebuild.undo if keep else rebuild.rebuild)(target, agreed)
        rights = f"SELECT bool_or(rolsuper) FROM pg_roles WHERE rolname IN ('{owned}', '{stranger}', '{member}')"
        assert server.execute(rights) == [(False,)]
        for name in (*operators.scratch_databases(server), target.database):
            servers.drop_quietly(server, name)
