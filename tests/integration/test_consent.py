"""Nothing is lost without consent: tested with real databases, and through a real terminal."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pexpect
import psycopg
import pytest

from dbops import label, postgres
from dbops.database import existing, rebuild
from dbops.database.consent import BY_NAME, Agreement
from dbops.database.inspection import inspect, look_inside
from dbops.errors import ConsentError
from dbops.migrations.files import discover
from dbops.settings import ROOT, Target
from tests.support import operators, servers
from tests.support.operators import as_role, dsn, options
from tests.support.processes import run_invoke
from tests.support.servers import TestServer

ROWS_IN = {
    "a table": ("CREATE TABLE t AS SELECT 1 AS x", "public.t"),
    "another schema": ("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS x", "s.t"),
    "a materialised view": ("CREATE MATERIALIZED VIEW m AS SELECT 1 AS x", "public.m"),
    "a partition": (
        "CREATE TABLE p (x int) PARTITION BY LIST (x); CREATE TABLE p1 PARTITION OF p DEFAULT;INSERT INTO p VALUES (1)",
        "public.p",
    ),
    "an unlogged table": ("CREATE UNLOGGED TABLE u AS SELECT 1 AS x", "public.u"),
    "a chunk": (
        "CREATE TABLE c (d date NOT NULL); SELECT create_hypertable('c', 'd'); INSERT INTO c VALUES ('2024-01-02')",
        "public.c",
    ),
    "an extension's table": (
        "CREATE TABLE x AS SELECT 1 AS x; CREATE EXTENSION pgcrypto; ALTER EXTENSION pgcrypto ADD TABLE x",
        "public.x",
    ),
    "a table that was made TimescaleDB's": (
        "CREATE SCHEMA y; CREATE TABLE y.x AS SELECT 1 AS x; ALTER EXTENSION timescaledb ADD SCHEMA y;"
        "ALTER EXTENSION timescaledb ADD TABLE y.x",
        "y.x",
    ),
    "a large object": ("SELECT lo_from_bytea(0, 'x')", "a large object"),
}


@pytest.mark.parametrize("kind", ROWS_IN)
def test_row_is_seen_wherever_it_is(server: TestServer, built: Target, kind: str) -> None:
    statements, evidence = ROWS_IN[kind]
    for statement in statements.split(";"):
        server.execute(statement, built.database)
    found = look_inside(built)
    assert found.rows
    assert found.evidence == evidence


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
def test_what_is_not_a_row_is_not_counted(server: TestServer, built: Target, statement: str) -> None:
    for part in statement.split(";"):
        server.execute(part, built.database)
    assert not look_inside(built).rows


@pytest.mark.slow
def test_table_that_is_locked_or_may_not_be_read_counts_as_full(server: TestServer, built: Target) -> None:
    server.execute("CREATE TABLE t AS SELECT 1 AS x; ", built.database)
    server.execute("DELETE FROM t", built.database)
    assert not look_inside(built).rows
    with psycopg.connect(dsn(built)) as locking:
        locking.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        assert "cannot be read" in look_inside(built).evidence
    with operators.role(server, "LOGIN") as other:
        assert "permission denied" in look_inside(as_role(built, other)).evidence


def test_rebuild_without_the_consent_that_is_known_to_be_needed_builds_nothing(
    precious: Target, small: dict[str, Any]
) -> None:
    said: list[str] = []
    with pytest.raises(ConsentError, match="rows would be lost"):
        rebuild.rebuild(precious, options(**small), report=lambda event: said.append(str(event)))
    assert said
    assert not any("CREATE DATABASE" in event for event in said)


def test_rows_that_a_policy_hides_count(server: TestServer, target: Target) -> None:
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        own = as_role(target, owner)
        with psycopg.connect(dsn(own)) as connection:
            connection.execute("CREATE SCHEMA mine")
            connection.execute("CREATE TABLE mine.hidden AS SELECT 1 AS x")
            connection.execute("ALTER TABLE mine.hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        assert "policy" in look_inside(own).evidence or "row-level" in look_inside(own).evidence


@pytest.mark.slow
def test_database_that_accepts_no_connections_counts_as_full_and_needs_its_name(
    server: TestServer, built: Target
) -> None:
    server.execute(f'ALTER DATABASE "{built.database}" ALLOW_CONNECTIONS false')
    with pytest.raises(ConsentError, match="may hold rows"):
        rebuild.rebuild(built, options(yes=True))
    assert operators.exists(server, built.database)
    rebuild.rebuild(built, options(confirm=built.database))


def test_impact_names_rows_sizes_and_the_newest_bar(server: TestServer, built: Target) -> None:
    server.execute("INSERT INTO tickers (symbol) SELECT 'S' || i FROM generate_series(1, 50) i", built.database)
    server.execute(
        "INSERT INTO ohlcv (ticker_id, date) SELECT id, d FROM tickers, generate_series('2024-01-01'::date, "
        "'2024-03-31', '1 day') d",
        built.database,
    )
    server.execute("ANALYZE", built.database)
    with postgres.maintenance(built) as connection:
        inspection = inspect(connection, built)
    found = look_inside(built)
    assert inspection.database
    bars = next(table for table in found.tables if table.name == "public.ohlcv")
    assert (bars.estimated_rows, bars.newest) == (50 * 91, "2024-03-31")
    assert bars.size > 100_000
    assert inspection.database.size is not None
    assert inspection.database.size > bars.size
    assert found.estimated_rows >= 50 * 91 + 50
    assert found.tables[0] == bars
    assert not any("_hyper_" in table.name for table in found.tables)


def compress(server: TestServer, target: Target) -> None:
    """Compress the chunks of a hypertable, or let the catalog say so where the edition cannot compress.

    What TimescaleDB keeps compressed is a hypertable of its own, with a row for each batch.
    """
    try:
        server.execute("ALTER TABLE bars SET (timescaledb.compress)", target.database)
        server.execute("SELECT compress_chunk(c) FROM show_chunks('bars') AS c", target.database)
    except psycopg.errors.FeatureNotSupported:
        for statement in (
            "CREATE TABLE _timescaledb_internal._compressed_hypertable_2 (d date NOT NULL, batch int)",
            "SELECT create_hypertable('_timescaledb_internal._compressed_hypertable_2', 'd')",
            "INSERT INTO _timescaledb_internal._compressed_hypertable_2 VALUES ('2024-01-02', 1), ('2024-02-02', 2)",
            """UPDATE _timescaledb_catalog.hypertable AS h
               SET compression_state = 1, compressed_hypertable_id = c.id FROM _timescaledb_catalog.hypertable AS c
               WHERE h.table_name = 'bars' AND c.table_name = '_compressed_hypertable_2'""",
            "DELETE FROM bars",
        ):
            server.execute(statement, target.database)


def aggregate(server: TestServer, target: Target) -> None:
    """Keep the rows of a hypertable in a continuous aggregate, or let the catalog say so as above."""
    try:
        server.execute(
            "CREATE MATERIALIZED VIEW weekly WITH (timescaledb.continuous) AS "
            "SELECT time_bucket('7 days', d) AS week, count(*) AS n FROM bars GROUP BY 1",
            target.database,
        )
        server.execute("DELETE FROM bars", target.database)
    except psycopg.errors.FeatureNotSupported:
        for statement in (
            # First: newer versions refuse to change a hypertable that has a continuous aggregate.
            "DELETE FROM bars",
            "CREATE TABLE _timescaledb_internal._materialized_hypertable_2 (week date NOT NULL, n bigint)",
            "SELECT create_hypertable('_timescaledb_internal._materialized_hypertable_2', 'week')",
            "INSERT INTO _timescaledb_internal._materialized_hypertable_2 VALUES ('2024-01-02', 1)",
            "CREATE VIEW weekly AS SELECT * FROM _timescaledb_internal._materialized_hypertable_2",
            """INSERT INTO _timescaledb_catalog.continuous_agg (
                   mat_hypertable_id, raw_hypertable_id, user_view_schema, user_view_name,
                   partial_view_schema, partial_view_name, direct_view_schema, direct_view_name)
               SELECT m.id, r.id, 'public', 'weekly', 'x', 'x', 'x', 'x'
               FROM _timescaledb_catalog.hypertable AS m, _timescaledb_catalog.hypertable AS r
               WHERE m.table_name = '_materialized_hypertable_2' AND r.table_name = 'bars'""",
        ):
            server.execute(statement, target.database)


def test_rows_in_a_continuous_aggregate_are_shown_by_its_view(server: TestServer, empty: Target) -> None:
    for statement in (
        "CREATE EXTENSION timescaledb",
        "CREATE TABLE bars (d date NOT NULL, x int)",
        "SELECT create_hypertable('bars', 'd')",
        "INSERT INTO bars VALUES ('2024-01-02', 1)",
    ):
        server.execute(statement, empty.database)
    aggregate(server, empty)
    found = look_inside(empty)
    assert (found.evidence, found.seen) == ("public.weekly", True)
    assert {table.name for table in found.tables} == {"public.bars", "public.weekly"}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.slow
def test_rows_in_chunks_are_shown_by_their_hypertable_compressed_or_not(
    server: TestServer, empty: Target, compressed: bool
) -> None:
    for statement in (
        "CREATE EXTENSION timescaledb",
        "CREATE TABLE bars (d date NOT NULL, x int)",
        "SELECT create_hypertable('bars', 'd', chunk_time_interval => interval '7 days')",
        "INSERT INTO bars SELECT d, n FROM generate_series('2024-01-01'::date, '2024-02-19', '1 day') AS d, "
        "generate_series(1, 10) AS n",
    ):
        server.execute(statement, empty.database)
    if compressed:
        compress(server, empty)
    server.execute("ANALYZE", empty.database)
    found = look_inside(empty)
    assert (found.evidence, found.seen) == ("public.bars", True)
    assert [table.name for table in found.tables] == ["public.bars"]
    (bars,) = found.tables
    assert bars.size > 0
    if not compressed:
        assert (bars.estimated_rows, bars.newest) == (500, "2024-02-19")
    with pytest.raises(ConsentError, match="not built by this tool") as refused:
        rebuild.drop(empty, options())
    assert "_timescaledb_internal" not in refused.value.render()


@pytest.mark.slow
def test_prod_database_is_refused_through_dev_and_in_prod_wants_its_name(server: TestServer, target: Target) -> None:
    prod = replace(target, environment="prod")
    rebuild.rebuild(prod, options())
    for filled in (False, True):
        with pytest.raises(ConsentError, match="is a prod database, and the environment chosen is dev") as refused:
            rebuild.drop(target, options(yes=True))
        assert f"--confirm {target.database}" in refused.value.hint
        assert "--env prod" in refused.value.hint
        for chosen in (target, prod):
            assert rebuild.plan(chosen, options()).consent.kind == BY_NAME
        if not filled:
            operators.fill(prod)
    typed = Agreement(yes=True, ask=lambda _: target.database)
    with pytest.raises(ConsentError, match="rows would be lost"):
        rebuild.drop(prod, rebuild.RebuildOptions(agreement=typed))
    assert operators.rows_left(prod) == operators.ROWS
    assert rebuild.drop(prod, options(confirm=target.database)).existed


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.slow
def test_prod_database_is_protected_from_its_first_row_on(
    server: TestServer, target: Target, small: dict[str, Any], killed: bool
) -> None:
    prod = replace(target, environment="prod")
    if killed:
        died = operators.operator(prod, **small, at="StepFinished(step='swap'", action="SIGKILL")
        assert died.returncode == -9, died.stderr
    else:
        rebuild.create(prod, options())
        existing.migrate(prod, discover(small["migrations"]))
    operators.fill(prod)
    with pytest.raises(ConsentError, match="is a prod database"):
        rebuild.drop(target, options(yes=True))
    assert operators.rows_left(prod) == operators.ROWS


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.slow
def test_copy_of_a_prod_database_is_dropped_as_dev_only_by_its_name(
    server: TestServer, built: Target, small: dict[str, Any], rows: int
) -> None:
    text = '{"environment": "prod", "system_identifier": "1"}'
    server.execute(f"COMMENT ON SCHEMA dbops IS '{text}'", built.database)
    operators.fill(built, rows)
    with servers.connect(built) as connection:
        assert label.read(connection) == label.Label("prod", native=False)
    for run in (rebuild.drop, rebuild.rebuild):
        with pytest.raises(ConsentError, match="copy of another server's prod database"):
            run(built, options(yes=True, **small))
    assert operators.rows_left(built) == rows
    rebuild.rebuild(built, options(confirm=built.database, **small))
    with servers.connect(built) as connection:
        assert label.read(connection) == label.Label("dev", native=True)


def test_copy_of_a_prod_database_keeps_its_label_from_a_migration_as_dev(server: TestServer, built: Target) -> None:
    text = '{"environment": "prod", "system_identifier": "1"}'
    server.execute(f"COMMENT ON SCHEMA dbops IS '{text}'", built.database)
    files = discover(ROOT / "db" / "migrations")
    with pytest.raises(ConsentError, match="prod"):
        existing.migrate(built, files)
    with servers.connect(built) as connection:
        assert label.read(connection) == label.Label("prod", native=False)
    existing.migrate(replace(built, environment="prod"), files)


def test_database_of_another_environment_is_not_migrated_as_prod(built: Target) -> None:
    with pytest.raises(ConsentError, match="is a dev database, and the environment chosen is prod") as refused:
        existing.migrate(replace(built, environment="prod"), discover(ROOT / "db" / "migrations"))
    assert refused.value.state == "Nothing was applied."
    with servers.connect(built) as connection:
        assert label.read(connection) == label.Label("dev", native=True)


@pytest.mark.parametrize(("written", "chosen"), [("dev", "test"), ("test", "dev"), ("dev", "prod"), ("prod", "dev")])
def test_change_of_environment_needs_the_name_even_where_there_are_no_rows(
    server: TestServer, built: Target, small: dict[str, Any], written: str, chosen: str
) -> None:
    with servers.connect(built) as connection:
        label.write(connection, written)
    other = replace(built, environment=chosen)
    with pytest.raises(ConsentError, match=f"is a {written} database, and the environment chosen is {chosen}"):
        rebuild.rebuild(other, options(yes=True, **small))
    rebuild.rebuild(other, options(confirm=built.database, **small))
    with servers.connect(built) as connection:
        assert label.read(connection) == label.Label(chosen, native=True)


FOREIGN = {
    "CREATE VIEW v AS SELECT 1 AS x": "1 view",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1": "1 function",
    "CREATE SEQUENCE s": "1 sequence",
    "CREATE EXTENSION pgcrypto": "1 extension",
    "CREATE TYPE mood AS ENUM ('fine')": "1 type",
    "CREATE SCHEMA theirs": "1 schema",
    "CREATE TABLE alembic_version (version_num varchar(32))": "1 table, seems to be built with Alembic",
}


@pytest.mark.parametrize("statement", FOREIGN)
def test_database_that_this_tool_did_not_build_is_dropped_only_by_its_name(
    server: TestServer, empty: Target, small: dict[str, Any], statement: str
) -> None:
    server.execute(statement, empty.database)
    with pytest.raises(ConsentError, match="was not built by this tool") as refused:
        rebuild.rebuild(empty, options(yes=True, **small))
    assert refused.value.what.endswith(f"it holds {FOREIGN[statement]}")
    rebuild.rebuild(empty, options(confirm=empty.database, **small))


@pytest.mark.parametrize(
    "comment", ["NULL", "'words'", "'[1]'", "'{\"environment\": 1}'", f"'{'[' * 100_000}'"], ids=range(5)
)
def test_comment_that_is_not_a_label_is_ignored_and_the_ledger_alone_does_not_say_whose_database_it_is(
    server: TestServer, built: Target, comment: str
) -> None:
    server.execute(f"COMMENT ON SCHEMA dbops IS {comment}", built.database)
    with servers.connect(built) as connection:
        assert label.read(connection) is None
    found = look_inside(built)
    assert (found.label, found.has_ledger, found.foreign, found.rows) == (None, True, True, False)


def test_label_that_says_prod_is_believed_without_the_name_of_a_server(server: TestServer, built: Target) -> None:
    server.execute('COMMENT ON SCHEMA dbops IS \'{"environment": "prod"}\'', built.database)
    assert look_inside(built).label == label.Label("prod", native=False)


def terminal(target: Target, redirection: str = "") -> Any:
    environment = {**operators.surroundings(target), "TERM": "dumb"}
    words = f"exec {sys.executable} -m invoke db.drop {redirection}"
    return pexpect.spawn(
        "sh", ["-c", words], cwd=ROOT, env=environment, encoding="utf-8", timeout=60, dimensions=(50, 200)
    )


def test_terminal_shows_what_would_be_lost_and_asks_for_the_name(server: TestServer, precious: Target) -> None:
    child = terminal(precious)
    child.expect("This deletes, for good:")
    child.expect("public.precious")
    child.expect("Type the database name to confirm")
    child.sendline("no")
    child.expect("error: the name typed is not the database's name")
    child.wait()
    assert child.exitstatus == 5
    assert operators.rows_left(precious) == operators.ROWS


def test_results_of_drop_and_create_name_database_server_and_environment(target: Target, empty: Target) -> None:
    for task in ("db.drop", "db.create"):
        done = run_invoke(task, "--env", "dev", "--format", "json", DATABASE_URL=operators.dsn(target))
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        named = (result["database"], result["server"], result["environment"])
        assert named == (target.database, target.server, "dev")
    said = run_invoke("db.drop", DATABASE_URL=operators.dsn(target))
    assert f"{target.database} on {target.server}" in said.stderr


@pytest.mark.slow
def test_name_typed_at_a_terminal_drops_the_database(server: TestServer, precious: Target) -> None:
    child = terminal(precious)
    child.expect("Type the database name to confirm")
    child.sendline(precious.database)
    child.expect("is dropped in")
    child.wait()
    assert child.exitstatus == 0
    assert not operators.exists(server, precious.database)


def test_plan_advises_the_command_with_the_consent_that_it_needs(server: TestServer, empty: Target) -> None:
    server.execute("CREATE TABLE public.theirs AS SELECT 1 AS id", empty.database)
    done = operators.invoke("db.rebuild", "--plan", target=empty)
    assert (done.returncode, f"db.rebuild --confirm {empty.database}` does it" in done.stdout) == (0, True), done.stdout


def ended(child: pexpect.spawn) -> tuple[int, list[str]]:
    """Return the exit code of a task at a terminal, and the lines that it printed since it was looked at."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, child.before.replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("redirection", ["2>{}", "</dev/null 2>{}", "</dev/null"])
@pytest.mark.slow
def test_name_is_not_asked_for_where_the_operator_does_not_see_what_would_be_lost(
    precious: Target, tmp_path: Path, redirection: str
) -> None:
    child = terminal(precious, redirection.format(tmp_path / "log"))
    child.sendline(precious.database)
    code, lines = ended(child)
    said = "\n".join(lines) + ((tmp_path / "log").read_text() if "2>" in redirection else "")
    assert code == 5
    assert "Type the database name" not in said
    assert "--yes" in said
    assert operators.rows_left(precious) == operators.ROWS


@pytest.mark.slow
def test_output_may_be_redirected_where_the_question_stays_visible(precious: Target) -> None:
    child = terminal(precious, ">/dev/null")
    child.expect("Type the database name")
    child.sendline("no")
    assert ended(child)[0] == 5


@pytest.mark.slow
def test_end_of_input_at_the_question_is_not_a_wrong_name(precious: Target) -> None:
    child = terminal(precious)
    child.expect("Type the database name.*:")
    child.sendeof()
    code, lines = ended(child)
    assert code == 5
    assert [line.split(":")[0] for line in lines if line.startswith(("error", "hint"))] == ["error", "hint"]
    assert "name typed" not in "\n".join(lines)
    assert operators.rows_left(precious) == operators.ROWS


@pytest.mark.slow
def test_interruption_at_the_question_has_a_line_of_its_own(precious: Target) -> None:
    child = terminal(precious)
    child.expect("Type the database name.*:")
    child.sendintr()
    code, lines = ended(child)
    assert code == 130
    assert lines[-1].startswith("interrupted: ")
    assert operators.rows_left(precious) == operators.ROWS
