"""A physical standby: what the verbs do there, and how a rebuild on the primary arrives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from dbops import testing
from dbops.settings import Target
from tests.support import operators, replicas, servers
from tests.support.operators import dsn
from tests.support.servers import TestServer


@pytest.fixture(scope="module")
def standby(own_server: TestServer) -> Iterator[TestServer]:
    with replicas.standby_of(own_server) as made:
        yield made


@pytest.fixture
def primary(own_server: TestServer, standby: TestServer) -> Iterator[Target]:
    """Return the baseline with a row, which the standby has too."""
    target = own_server.target(servers.fresh_name())
    testing.clone(own_server.session(), testing.build_template(own_server.target()), target.database)
    servers.run(target, "INSERT INTO public.tickers (symbol) VALUES ('AAPL')")
    replicas.wait_for(standby, own_server)
    yield target
    servers.drop_quietly(own_server, target.database)


@pytest.fixture
def replica(primary: Target, standby: TestServer) -> Target:
    """Return the same database as the standby has it."""
    return standby.target(primary.database)


READING = [
    "db.status",
    "db.status --require-current",
    "db.verify",
    "db.drift --against db/schema.txt",
    "db.fingerprint",
]


@pytest.mark.parametrize("words", READING)
def test_what_only_reads_works_on_a_standby_as_on_its_primary(primary: Target, replica: Target, words: str) -> None:
    there, here = (operators.invoke(*words.split(), target=target) for target in (primary, replica))
    assert (here.returncode, here.stderr.count("\n")) == (0, there.stderr.count("\n")), here.stderr
    if words != "db.verify":
        assert here.stdout == there.stdout.replace(primary.parameters["host"], replica.parameters["host"])


WRITING = [
    *("db.migrate", "db.migrate --rehearse", "db.drift --build", "db.diagram --output /dev/null"),
    *("db.rebuild --plan", "db.rebuild", "db.undo", "db.drop", "db.create", "db.upgrade --plan", "db.upgrade"),
]


@pytest.mark.parametrize("words", WRITING)
def test_what_writes_says_that_it_is_a_standby(replica: Target, words: str) -> None:
    done = operators.invoke(*words.split(), target=replica)
    assert done.returncode == 3
    assert "standby" in done.stderr
    assert "primary" in done.stderr
    assert "server's log" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--yes"], ["--yes", "--keep"]], ids=" ".join)
def test_rebuild_arrives_also_while_a_session_reads_the_old_database(
    own_server: TestServer, standby: TestServer, primary: Target, replica: Target, options: list[str]
) -> None:
    with psycopg.connect(dsn(replica)) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert reader.execute("SELECT symbol FROM public.tickers").fetchall() == [("AAPL",)]
        done = operators.invoke("db.rebuild", *options, target=primary)
        assert done.returncode == 0, done.stderr
        # Replay may wait for the reader's snapshot, for max_standby_streaming_delay, which is 30 s by default.
        assert replicas.wait_for(standby, own_server) < 45
        if "--keep" in options:
            with contextlib.suppress(psycopg.OperationalError):
                assert reader.execute("SELECT symbol FROM public.tickers").fetchall() == [("AAPL",)]
        else:
            with pytest.raises(psycopg.OperationalError):
                reader.execute("SELECT symbol FROM public.tickers")
    assert servers.rows(replica, "SELECT symbol FROM public.tickers") == []
    assert operators.invoke("db.verify", "--empty", target=replica).returncode == 0
    names = "SELECT datname FROM pg_database ORDER BY 1"
    assert standby.execute(names) == own_server.execute(names)
    if "--keep" in options:
        assert operators.invoke("db.undo", target=primary).returncode == 0
        replicas.wait_for(standby, own_server)
        assert servers.rows(replica, "SELECT symbol FROM public.tickers") == [("AAPL",)]


def test_several_hosts_lead_to_the_primary_for_what_makes_one_connection(primary: Target, replica: Target) -> None:
    hosts = {name: f"{replica.parameters[name]},{primary.parameters[name]}" for name in ("host", "port")}
    both = replace(primary, parameters={**primary.parameters, **hosts, "target_session_attrs": "read-write"})
    for words in ("db.status", "db.verify", "db.migrate"):
        done = operators.invoke(words, target=both)
        assert done.returncode == 0, done.stderr
        assert f"{replica.server} or {primary.server}" in done.stderr
    assert f"{primary.server}: PostgreSQL" in operators.invoke("db.status", target=both).stdout
    servers.run(primary, "CREATE TABLE public.only_here (id integer)")
    assert operators.invoke("db.verify", target=both).returncode == 1
    for verb in ("db.rebuild --plan", "db.drop", "db.upgrade"):
        refused = operators.invoke(*verb.split(), target=both)
        assert refused.returncode == 2, (verb, refused)
        assert "more than one host is named" in refused.stderr
