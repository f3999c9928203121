"""Nothing is lost that nobody agreed to lose: looked at with real databases, and through a real terminal."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pexpect
import psycopg
import pytest
from dbops.lifecycle import label

from dbops import lifecycle, migrations, rebuild
from dbops.errors import ConsentError
from dbops.settings import ROOT, Target
from tests.support import operators, servers
from tests.support.operators import as_role, dsn, options
from tests.support.servers import TestServer

PLACES = {
    "a table": ("CREATE TABLE t AS SELECT 1 AS x", "public.t"),
    "another schema": ("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS x", "s.t"),
    "a materialised view": ("CREATE MATERIALIZED VIEW m AS SELECT 1 AS x", "public.m"),
    "a partition": (
        "CREATE TABLE p (x int) PARTITION BY LIST (x); CREATE TABLE p1 PARTITION OF p DEFAULT;INSERT INTO p VALUES (1)",
        "public.p1",
    ),
    "an unlogged table": ("CREATE UNLOGGED TABLE u AS SELECT 1 AS x", "public.u"),
    "a chunk": (
        "CREATE TABLE c (d date NOT NULL); SELECT create_hypertable('c', 'd'); INSERT INTO c VALUES ('2024-01-02')",
        "_timescaledb_internal._hyper_",
    ),
    "an extension's table": (
        "CREATE TABLE x AS SELECT 1 AS x; CREATE EXTENSION pgcrypto; ALTER EXTENSION pgcrypto ADD TABLE x",
        "public.x",
    ),
    "a large object": ("SELECT lo_from_bytea(0, 'x')", "a large object"),
}


@pytest.mark.parametrize("place", PLACES)
def test_row_is_seen_wherever_it_is(server, built, place):
    statements, evidence = PLACES[place]
    for statement in statements.split(";"):
        server.execute(statement, built.database)
    found = lifecycle.stakes(built)
    assert found.at_stake
    assert evidence in found.evidence


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1",
        "CREATE SEQUENCE s",
        "CREATE VIEW v AS SELECT 1 AS x",
        "INSERT INTO tickers (symbol) VALUES ('K'); DELETE FROM tickers",
        "UPDATE dbops.schema_migrations SET applied_by = 'x'",
    ],
)
def test_what_is_no_row_is_not_at_stake(server, built, statement):
    for part in statement.split(";"):
        server.execute(part, built.database)
    assert not lifecycle.stakes(built).at_stake


def test_table_that_is_locked_or_may_not_be_read_counts_as_full(server, built):
    server.execute("CREATE TABLE t AS SELECT 1 AS x; ", built.database)
    server.execute("DELETE FROM t", built.database)
    assert not lifecycle.stakes(built).at_stake
    with psycopg.connect(dsn(built)) as locking:
        locking.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        assert "cannot be read" in lifecycle.stakes(built).evidence
    with operators.role(server, "LOGIN") as stranger:
        assert "permission denied" in lifecycle.stakes(as_role(built, stranger)).evidence


def test_rows_that_a_policy_hides_count(server, target, state):
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        own = as_role(target, owner)
        with psycopg.connect(dsn(own)) as connection:
            connection.execute("CREATE SCHEMA mine")
            connection.execute("CREATE TABLE mine.hidden AS SELECT 1 AS x")
            connection.execute("ALTER TABLE mine.hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        assert "policy" in lifecycle.stakes(own).evidence or "row-level" in lifecycle.stakes(own).evidence


def test_database_that_lets_nobody_in_counts_as_full_and_needs_its_name(server, built, state):
    server.execute(f'ALTER DATABASE "{built.database}" ALLOW_CONNECTIONS false')
    with pytest.raises(ConsentError, match="may hold rows"):
        rebuild.rebuild(built, options(state, yes=True))
    assert operators.exists(server, built.database)
    rebuild.rebuild(built, options(state, confirm=built.database))


def test_stakes_tell_rows_sizes_and_the_newest_bar(server, built):
    server.execute("INSERT INTO tickers (symbol) SELECT 'S' || i FROM generate_series(1, 50) i", built.database)
    server.execute(
        "INSERT INTO ohlcv (ticker_id, date) SELECT id, d FROM tickers, generate_series('2024-01-01'::date, "
        "'2024-03-31', '1 day') d",
        built.database,
    )
    server.execute("ANALYZE", built.database)
    found = lifecycle.stakes(built)
    bars = next(table for table in found.tables if table.name == "public.ohlcv")
    assert (bars.estimated_rows, bars.newest) == (50 * 91, "2024-03-31")
    assert bars.size > 100_000
    assert found.size > bars.size
    assert found.tables[0] == bars
    assert not any("_hyper_" in table.name for table in found.tables)


def test_prod_database_is_refused_through_dev_and_in_prod_wants_its_name(server, target, state):
    prod = replace(target, environment="prod")
    rebuild.rebuild(prod, options(state))
    with pytest.raises(ConsentError, match="is a prod database"):
        rebuild.drop(target, options(state, yes=True))
    planned = rebuild.plan(target, options(state))
    assert planned.refused
    with pytest.raises(ConsentError, match="is a prod database"):
        planned.assert_possible(target)
    operators.fill(prod)
    assert rebuild.plan(prod, options(state)).consent == f"--confirm {target.database}"
    with pytest.raises(ConsentError, match="rows would be lost"):
        rebuild.drop(prod, options(state, yes=True, ask=lambda _: target.database))
    assert rebuild.drop(prod, options(state, confirm=target.database)).existed


@pytest.mark.parametrize("killed", [False, True])
def test_prod_database_is_protected_from_its_first_row_on(server, target, state, small, killed):
    prod = replace(target, environment="prod")
    if killed:
        died = operators.operator(prod, state, **small, at="StepFinished(step='migrate'", action="SIGKILL")
        assert died.returncode == -9, died.stderr
        rebuild.create(prod, options(state))
    else:
        rebuild.create(prod, options(state))
        rebuild.migrate(prod, migrations.discover(small["migrations"]))
    operators.fill(prod)
    with pytest.raises(ConsentError, match="is a prod database"):
        rebuild.drop(target, options(state, yes=True, confirm=target.database))
    assert operators.rows_left(prod) == operators.ROWS


def test_label_of_another_server_does_not_count(server, built, state):
    text = '{"environment": "prod", "system_identifier": "1"}'
    server.execute(f"COMMENT ON SCHEMA dbops IS '{text}'", built.database)
    with servers.connect(built) as connection:
        assert label.read(connection) == label.Label("prod", native=False)
    said = []
    rebuild.rebuild(built, options(state), report=said.append)
    assert any("copy of another server" in str(event) for event in said)


@pytest.mark.parametrize("comment", ["NULL", "'words'", "'[1]'", "'{\"environment\": 1}'"])
def test_comment_that_is_no_label_is_none(server, built, comment):
    server.execute(f"COMMENT ON SCHEMA dbops IS {comment}", built.database)
    with servers.connect(built) as connection:
        assert label.read(connection) is None


def terminal(target, state, command=""):
    environment = {**operators.surroundings(target, state), "TERM": "dumb"}
    words = f"exec {sys.executable} -m invoke db.drop {command}"
    return pexpect.spawn(
        "sh", ["-c", words], cwd=ROOT, env=environment, encoding="utf-8", timeout=60, dimensions=(50, 200)
    )


def test_terminal_shows_the_stakes_and_asks_for_the_name(server, precious, state):
    child = terminal(precious, state)
    child.expect("At stake, and lost for good")
    child.expect("public.precious")
    child.expect("type the name of the database")
    child.sendline("no")
    child.expect("error: the name that was typed is another one")
    child.wait()
    assert child.exitstatus == 5
    assert operators.rows_left(precious) == operators.ROWS


def test_results_of_drop_and_create_name_database_server_and_environment(target, empty, state):
    for task in ("db.drop", "db.create"):
        done = operators.invoke(task, "--env", "dev", "--format", "json", target=target, state=state)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        named = (result["database"], result["server"], result["environment"])
        assert named == (target.database, target.server, "dev")
    said = operators.invoke("db.drop", target=target, state=state)
    assert f"{target.database} on {target.server}" in said.stderr


def test_name_typed_at_a_terminal_drops_the_database(server, precious, state):
    child = terminal(precious, state)
    child.expect("type the name of the database")
    child.sendline(precious.database)
    child.expect("is dropped in")
    child.wait()
    assert child.exitstatus == 0
    assert not operators.exists(server, precious.database)


def ended(child: pexpect.spawn) -> tuple[int, list[str]]:
    """Return the exit code of a task at a terminal, and the lines that it printed since it was looked at."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, child.before.replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("redirection", ["2>{}", "</dev/null 2>{}", "</dev/null"])
def test_name_is_not_asked_for_where_the_operator_does_not_see_what_would_be_lost(
    server: TestServer, precious: Target, state: Path, tmp_path: Path, redirection: str
) -> None:
    child = terminal(precious, state, redirection.format(tmp_path / "log"))
    child.sendline(precious.database)
    code, lines = ended(child)
    said = "\n".join(lines) + ((tmp_path / "log").read_text() if "2>" in redirection else "")
    assert code == 5
    assert "type the name" not in said
    assert "--yes" in said
    assert operators.rows_left(precious) == operators.ROWS


def test_output_may_be_redirected_where_the_question_stays_visible(precious: Target, state: Path) -> None:
    child = terminal(precious, state, ">/dev/null")
    child.expect("type the name of the database")
    child.sendline("no")
    assert ended(child)[0] == 5


def test_end_of_input_at_the_question_is_no_other_name(precious: Target, state: Path) -> None:
    child = terminal(precious, state)
    child.expect("type the name of the database.*:")
    child.sendeof()
    code, lines = ended(child)
    assert code == 5
    assert [line.split(":")[0] for line in lines if line.startswith(("error", "hint"))] == ["error", "hint"]
    assert "rows would be lost" in "\n".join(lines)
    assert "another" not in "\n".join(lines)
    assert operators.rows_left(precious) == operators.ROWS


def test_interruption_at_the_question_has_a_line_of_its_own(precious: Target, state: Path) -> None:
    child = terminal(precious, state)
    child.expect("type the name of the database.*:")
    child.sendintr()
    code, lines = ended(child)
    assert code == 130
    assert lines[-1].startswith("interrupted: ")
    assert operators.rows_left(precious) == operators.ROWS
