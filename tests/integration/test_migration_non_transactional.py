"""Files that run outside a transaction: their state after a failure, and how they are resumed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dbops.database.status import status
from dbops.errors import MigrationError
from dbops.events import Event, Message
from dbops.migrations.files import Migration, discover
from dbops.migrations.ledger import State
from dbops.migrations.options import MigrationOptions
from dbops.migrations.run import migrate
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.migration_files import write, written
from tests.support.servers import TestServer, fresh_name, run

TABLE = "CREATE TABLE public.t (n integer); INSERT INTO public.t VALUES (1), (1);"
INDEX = "-- migrate: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY t_n_key\n    ON public.t (n);"
AFTER = "CREATE TABLE public.after (n integer);"


def states(target: Target, directory: Path) -> list[State]:
    """Return the state of each version."""
    return [item.state for item in status(target, discover(directory)).items]


def indexes(target: Target) -> list[tuple[object, ...]]:
    """Return the indexes of the test's table, and whether each is valid."""
    with servers.connect(target) as connection:
        return connection.execute(
            "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'public.t'::regclass"
        ).fetchall()


def test_index_that_an_attempt_left_invalid_is_built_anew_in_the_next_attempt(empty: Target, tmp_path: Path) -> None:
    """A writer's transaction keeps CREATE INDEX CONCURRENTLY waiting with an invalid index until the lock timeout."""
    migrate(empty, written(tmp_path, TABLE.replace(", (1)", "")))
    said: list[str] = []
    with servers.connect(empty) as writer:
        writer.execute("BEGIN; INSERT INTO public.t VALUES (2)")

        def watch(event: Event) -> None:
            if isinstance(event, Message):
                said.append(event.text)
                if "attempt 2" in event.text:
                    writer.execute("COMMIT")

        files = discover(write(tmp_path, INDEX, first=2))
        result = migrate(empty, files, MigrationOptions(lock_timeout="300ms"), report=watch)
    assert result.retries == 1
    assert any("drops the invalid index public.t_n_key" in text for text in said)
    assert indexes(empty) == [("t_n_key", True)]


@pytest.mark.slow
def test_index_that_another_session_builds_meanwhile_is_not_left_by_the_file(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, TABLE))
    wait = """DO $$ BEGIN
        FOR n IN 1..600 LOOP
            EXIT WHEN EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = 'theirs');
            PERFORM pg_catalog.pg_sleep(0.05);
        END LOOP;
    END $$;"""
    runs = """SELECT EXISTS (SELECT FROM pg_stat_activity
        WHERE query LIKE '%theirs%' AND state = 'active' AND pid <> pg_backend_pid())"""
    with servers.connect(empty) as holder, ThreadPoolExecutor(2) as pool:
        holder.execute("BEGIN; LOCK TABLE public.t IN ROW EXCLUSIVE MODE")
        running = pool.submit(migrate, empty, discover(write(tmp_path, f"-- migrate: no-transaction\n{wait}", first=2)))
        until = time.monotonic() + 30
        while servers.rows(empty, runs) != [(True,)]:
            assert time.monotonic() < until
            time.sleep(0.02)
        building = pool.submit(run, empty, "CREATE INDEX CONCURRENTLY theirs ON public.t (n)")
        try:
            applied = running.result().applied
        finally:
            holder.execute("COMMIT")
        building.result()
    assert len(applied) == 1
    assert indexes(empty) == [("theirs", True)]


@pytest.mark.parametrize("quoted", [False, True])
def test_detaching_that_was_interrupted_is_completed(empty: Target, tmp_path: Path, quoted: bool) -> None:
    """A reader of the partitioned table keeps DETACH PARTITION CONCURRENTLY waiting after its first commit."""
    part = 'public."Part 1"' if quoted else "public.part"
    tables = (
        f"CREATE TABLE public.t (n integer) PARTITION BY LIST (n); CREATE TABLE {part} PARTITION OF public.t DEFAULT;"
    )
    tables = tables.replace("DEFAULT", "FOR VALUES IN (1)")
    detach = f"-- migrate: no-transaction\nALTER TABLE public.t DETACH PARTITION {part} CONCURRENTLY;"
    files = written(tmp_path, tables, detach)
    with servers.connect(empty) as reader:
        migrate(empty, files, MigrationOptions(to=1))
        reader.execute("BEGIN; SELECT FROM public.t")
        with pytest.raises(MigrationError, match="statement timeout"):
            migrate(empty, files, MigrationOptions(statement_timeout="500ms"))
        reader.execute("COMMIT")
    assert states(empty, tmp_path) == [State.APPLIED, State.UNFINISHED]
    migrate(empty, files)
    assert states(empty, tmp_path) == [State.APPLIED] * 2
    run(empty, f"DROP TABLE {part}")
    with servers.connect(empty) as looking:
        assert looking.execute("SELECT count(*) FROM pg_inherits").fetchall() == [(0,)]


def test_file_outside_a_transaction_is_applied_between_two_transactions(empty: Target, tmp_path: Path) -> None:
    result = migrate(empty, written(tmp_path, TABLE.replace(", (1)", ""), INDEX, AFTER))
    assert [done.version for done in result.applied] == [1, 2, 3]
    assert result.transactions == 2
    assert indexes(empty) == [("t_n_key", True)]
    assert status(empty, discover(tmp_path)).consistent


def test_first_file_may_run_outside_a_transaction(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, "-- migrate: no-transaction\nVACUUM;"))
    assert states(empty, tmp_path) == [State.APPLIED]


def test_failure_outside_a_transaction_leaves_the_file_unfinished(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLE, INDEX, AFTER)
    with pytest.raises(MigrationError, match="0002_do_step2 failed: could not create unique index") as failure:
        migrate(empty, migrations)
    said = failure.value.render()
    assert "0002_do_step2.sql:2:1" in said
    assert "left behind: public.t_n_key, an invalid index; the next run drops and rebuilds it" in said
    assert "0001_do_step1 is committed" in said
    assert "0002_do_step2 ran outside a transaction: the ledger has it as unfinished" in said
    found = status(empty, migrations)
    assert [item.state for item in found.items] == [State.APPLIED, State.UNFINISHED, State.PENDING]
    assert "did not finish" in found.items[1].explanation
    assert not found.consistent


def test_file_below_one_that_was_only_begun_is_pending_and_was_not_skipped(empty: Target, tmp_path: Path) -> None:
    with pytest.raises(MigrationError):
        migrate(empty, written(tmp_path, TABLE, INDEX))
    run(empty, "DELETE FROM dbops.schema_migrations WHERE version = 1")
    assert states(empty, tmp_path) == [State.PENDING, State.UNFINISHED]


def test_second_run_drops_the_invalid_index_and_continues(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLE, INDEX, AFTER)
    with pytest.raises(MigrationError):
        migrate(empty, migrations)
    assert indexes(empty) == [("t_n_key", False)]
    run(empty, "DELETE FROM public.t WHERE ctid = (SELECT min(ctid) FROM public.t)")
    events: list[Event] = []
    result = migrate(empty, migrations, report=events.append)
    assert [done.version for done in result.applied] == [2, 3]
    assert indexes(empty) == [("t_n_key", True)]
    assert any(isinstance(e, Message) and "drops the invalid index public.t_n_key" in e.text for e in events)
    assert states(empty, tmp_path) == [State.APPLIED] * 3


def test_unfinished_file_may_be_corrected(empty: Target, tmp_path: Path) -> None:
    with pytest.raises(MigrationError):
        migrate(empty, written(tmp_path, TABLE, INDEX))
    write(tmp_path, INDEX.replace("UNIQUE ", ""), first=2)
    migrate(empty, discover(tmp_path))
    assert states(empty, tmp_path) == [State.APPLIED] * 2


def test_if_not_exists_does_not_pass_over_an_invalid_index(empty: Target, tmp_path: Path) -> None:
    run(empty, "CREATE SCHEMA dbops")
    migrate(empty, written(tmp_path, TABLE))
    with pytest.raises(Exception, match="could not create unique index"):
        run(empty, "CREATE UNIQUE INDEX CONCURRENTLY t_n_key ON public.t (n)")
    text = INDEX.replace("UNIQUE ", "").replace("CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS")
    write(tmp_path, text, first=2)
    with pytest.raises(MigrationError, match=r"public\.t_n_key is an invalid index, which IF NOT EXISTS passed over"):
        migrate(empty, discover(tmp_path))
    assert states(empty, tmp_path) == [State.APPLIED, State.UNFINISHED]
    migrate(empty, discover(tmp_path))
    assert indexes(empty) == [("t_n_key", True)]


@pytest.mark.parametrize("comment", ["-- x\n", "/* x /* y */ */"])
def test_comment_does_not_hide_an_invalid_index(empty: Target, tmp_path: Path, comment: str) -> None:
    text = (
        f"-- migrate: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS t_n_key {comment} ON public.t (n);"
    )
    migrations = written(tmp_path, TABLE, text)
    for _ in range(2):
        with pytest.raises(MigrationError, match="could not create unique index"):
            migrate(empty, migrations)
        assert states(empty, tmp_path) == [State.APPLIED, State.UNFINISHED]
    assert indexes(empty) == [("t_n_key", False)]


def test_index_that_becomes_invalid_otherwise_is_not_recorded(empty: Target, tmp_path: Path) -> None:
    """Whatever runs outside a transaction, an index that it leaves invalid is not passed over in silence."""
    body = "UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indexrelid = 'public.t_n_idx'::regclass"
    index = "CREATE TABLE public.t (n integer); CREATE INDEX t_n_idx ON public.t (n);"
    migrations = written(tmp_path, index, f"-- migrate: no-transaction\n{body};")
    with pytest.raises(MigrationError, match=r"ran, and left invalid indexes: public\.t_n_idx"):
        migrate(empty, migrations)
    assert states(empty, tmp_path) == [State.APPLIED, State.UNFINISHED]


def test_reindex_that_leaves_an_index_is_not_tried_again(empty: Target, tmp_path: Path) -> None:
    """Each further attempt would leave one more; all that this run left is named."""
    index = "CREATE TABLE public.t (n integer); CREATE INDEX t_n_idx ON public.t (n);"
    text = "-- migrate: no-transaction\n-- lock-timeout: 200ms\nREINDEX INDEX CONCURRENTLY public.t_n_idx;"
    migrations = written(tmp_path, index, text)
    migrate(empty, migrations, MigrationOptions(to=1))
    with servers.connect(empty) as other:
        other.execute("BEGIN")
        other.execute("SELECT FROM public.t")
        with pytest.raises(MigrationError) as failure:
            migrate(empty, migrations)
    assert "after 1 attempt:" in failure.value.what
    left = [note for note in failure.value.notes if note.startswith("left behind: ")]
    assert len(left) == len([name for name, valid in indexes(empty) if not valid]) == 1


def test_statement_that_cannot_run_in_a_transaction_gets_a_hint(empty: Target, tmp_path: Path) -> None:
    with pytest.raises(MigrationError) as failure:
        migrate(empty, written(tmp_path, TABLE, "CREATE INDEX CONCURRENTLY t_n_idx ON public.t (n);"))
    assert "-- migrate: no-transaction" in failure.value.advice


def test_index_of_that_name_elsewhere_is_left_alone(empty: Target, tmp_path: Path) -> None:
    """Only an index of the statement's own table is what an earlier attempt left."""
    migrations = written(tmp_path, TABLE, INDEX)
    run(empty, "CREATE SCHEMA dbops")
    migrate(empty, migrations, MigrationOptions(to=1))
    run(empty, "CREATE SCHEMA other; CREATE TABLE other.t (n integer); INSERT INTO other.t VALUES (1), (1)")
    with pytest.raises(Exception, match="could not create unique index"):
        run(empty, "CREATE UNIQUE INDEX CONCURRENTLY t_n_key ON other.t (n)")
    with pytest.raises(MigrationError):
        migrate(empty, migrations)
    run(empty, "DELETE FROM public.t WHERE ctid = (SELECT min(ctid) FROM public.t)")
    migrate(empty, migrations)
    with servers.connect(empty) as connection:
        assert connection.execute("SELECT to_regclass('other.t_n_key') IS NOT NULL").fetchall() == [(True,)]


def test_hypertables_index_is_built_chunk_by_chunk_and_resumed(empty: Target, tmp_path: Path) -> None:
    first = (
        "CREATE EXTENSION timescaledb; CREATE TABLE public.t (t date NOT NULL, n integer);"
        "SELECT create_hypertable('public.t', 't', chunk_time_interval => interval '1 day');"
        "INSERT INTO public.t VALUES ('2024-01-01', 1), ('2024-01-02', 0);"
    )
    index = "CREATE INDEX t_n_idx ON public.t ((1 / n)) WITH (timescaledb.transaction_per_chunk);"
    second = f"-- migrate: no-transaction\n{index}"
    migrations = written(tmp_path, first, second)
    with pytest.raises(MigrationError, match="division by zero") as failure:
        migrate(empty, migrations)
    assert "left behind: public.t_n_idx, an invalid index; the next run drops and rebuilds it" in failure.value.notes
    run(empty, "UPDATE public.t SET n = 2")
    migrate(empty, migrations)
    assert ("t_n_idx", True) in indexes(empty)
    assert states(empty, tmp_path) == [State.APPLIED] * 2


def test_index_whose_name_the_server_cuts_is_resumed(empty: Target, tmp_path: Path) -> None:
    name = "t_n_" + "é" * 40
    migrations = written(tmp_path, TABLE, INDEX.replace("t_n_key", name))
    with pytest.raises(MigrationError, match="could not create unique index"):
        migrate(empty, migrations)
    run(empty, "DELETE FROM public.t WHERE ctid = (SELECT min(ctid) FROM public.t)")
    migrate(empty, migrations)
    assert [valid for _, valid in indexes(empty)] == [True]


@pytest.fixture
def invalid(empty: Target, tmp_path: Path) -> tuple[Migration, ...]:
    """Leave an invalid index that cannot be dropped concurrently, and return the files that build it.

    TimescaleDB 2.28 refuses DROP INDEX CONCURRENTLY for a hypertable; here a trigger refuses it instead.
    """
    run(
        empty,
        """
        CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF current_query() ILIKE 'DROP INDEX CONCURRENTLY%' THEN
                RAISE feature_not_supported USING MESSAGE = 'does not support dropping multiple objects';
            END IF;
        END $$;
        CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('DROP INDEX') EXECUTE FUNCTION public.refuse();
        CREATE SCHEMA dbops;
        """,
    )
    migrations = written(tmp_path, TABLE, INDEX)
    with pytest.raises(MigrationError, match="could not create unique index"):
        migrate(empty, migrations)
    run(empty, "DELETE FROM public.t WHERE ctid = (SELECT min(ctid) FROM public.t)")
    return migrations


def test_index_of_a_hypertable_that_cannot_be_dropped_concurrently_is_dropped_without_it(
    empty: Target, invalid: tuple[Migration, ...]
) -> None:
    migrate(empty, invalid)
    assert indexes(empty) == [("t_n_key", True)]


@pytest.mark.slow
def test_drop_that_blocks_readers_waits_only_briefly_for_its_lock(
    empty: Target, invalid: tuple[Migration, ...]
) -> None:
    with servers.connect(empty) as reader:
        reader.execute("BEGIN; SELECT FROM public.t")
        began = time.monotonic()
        with pytest.raises(MigrationError, match="could not acquire a lock"):
            migrate(empty, invalid, MigrationOptions(lock_timeout="20s", lock_budget="1s"))
        assert time.monotonic() - began < 15


def test_index_that_another_role_is_building_is_not_blamed_on_a_file(
    server: TestServer, empty: Target, tmp_path: Path
) -> None:
    """The database's owner does not see in pg_stat_progress_create_index what another role builds."""
    owner = fresh_name("owner")
    server.execute(f"CREATE ROLE {owner} LOGIN PASSWORD '{operators.PASSWORD}'")
    server.execute(f'ALTER DATABASE "{empty.database}" OWNER TO {owner}')
    target = operators.as_role(empty, owner)
    migrate(target, written(tmp_path, "CREATE TABLE public.mine ();"))
    run(empty, "CREATE TABLE public.other (n integer)")
    # A transaction that holds a lock on the table keeps CREATE INDEX CONCURRENTLY waiting with an invalid index.
    with servers.connect(empty) as blocker, ThreadPoolExecutor(1) as pool:
        blocker.execute("BEGIN; LOCK TABLE public.other IN ROW EXCLUSIVE MODE")
        building = pool.submit(run, empty, "CREATE INDEX CONCURRENTLY other_n_idx ON public.other (n)")
        with servers.connect(empty) as looking:
            query = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
            deadline = time.monotonic() + 30
            while looking.execute(query.encode()).fetchall() != [(1,)]:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        text = "-- migrate: no-transaction\nVACUUM public.mine;"
        assert len(migrate(target, discover(write(tmp_path, text, first=2))).applied) == 1
        blocker.execute("COMMIT")
        building.result(30)
    server.execute(f'DROP DATABASE "{empty.database}" WITH (FORCE)')
    server.execute(f"DROP ROLE {owner}")


@pytest.mark.parametrize(
    ("statement", "patient"),
    [
        ("CREATE INDEX CONCURRENTLY t_n_idx ON public.t ((n || 'a'))", True),
        ("/* now */ drop index -- of t\n concurrently public.t_n_idx", True),
        ("ALTER TABLE public.t DETACH PARTITION public.p CONCURRENTLY", True),
        ("VACUUM (ANALYZE) public.t", True),
        ("ANALYZE", True),
        ("VACUUM (VERBOSE, FULL) public.t", False),
        ("VACUUM FULL", False),
        ("ALTER TABLE public.t ADD COLUMN m integer", False),
        ("COMMENT ON TABLE public.t IS 'built CONCURRENTLY'", False),
        ("DO $$ BEGIN LOCK TABLE public.t; -- CONCURRENTLY\nEND $$", False),
        ("CREATE INDEX i ON public.h (n) WITH (timescaledb.transaction_per_chunk)", False),
        ("CALL public.p()", False),
    ],
)
def test_only_what_blocks_nobody_while_it_waits_waits_for_long(tmp_path: Path, statement: str, patient: bool) -> None:
    (file,) = written(tmp_path, f"-- migrate: no-transaction\n{statement};")
    assert MigrationOptions().lock_timeout_for(file) == ("10min" if patient else "1s")
    assert MigrationOptions(lock_timeout="3s").lock_timeout_for(file) == "3s"


UNLIMITED = """DO $$ DECLARE name text := 'lock_'; BEGIN
EXECUTE 'SET ' || name || 'timeout = 0'; LOCK TABLE public.t; END $$"""


@pytest.mark.slow
@pytest.mark.parametrize("statement", ["VACUUM FULL public.t", UNLIMITED])
def test_reader_does_not_queue_behind_a_statement_outside_a_transaction(
    empty: Target, tmp_path: Path, statement: str
) -> None:
    migrate(empty, written(tmp_path, TABLE))
    with servers.connect(empty) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("BEGIN")
        holder.execute("SELECT FROM public.t")
        files = discover(write(tmp_path, f"-- migrate: no-transaction\n{statement};", first=2))
        running = pool.submit(migrate, empty, files, MigrationOptions(lock_budget="20s"))
        waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'public.t'::regclass)"
        while servers.rows(empty, waits) != [(True,)]:
            time.sleep(0.01)
        began = time.monotonic()
        assert servers.rows(empty, "SELECT count(*) FROM public.t") == [(2,)]
        assert time.monotonic() - began < 5
        holder.execute("COMMIT")
        assert running.result().retries > 0
