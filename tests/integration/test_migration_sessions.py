"""The session that files share: nothing leaks from one to the next, and the runner's own work is not theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dbops import postgres
from dbops.errors import MigrationError, PreflightError
from dbops.events import Event, Message, StatementFinished
from dbops.migrations import session, watch
from dbops.migrations.alone import MIGRATION_LOCK
from dbops.migrations.files import discover
from dbops.migrations.options import MigrationOptions
from dbops.migrations.run import apply, migrate
from dbops.settings import Target
from tests.support import servers
from tests.support.migration_files import write, written

SEEN = "CREATE TABLE public.seen AS SELECT {} AS found;"

# What a file leaves in the session, and a query that finds it.
LEFT = {
    "prepared_statement": ("PREPARE p AS SELECT 1;", "(SELECT count(*) FROM pg_prepared_statements WHERE name = 'p')"),
    "cursor": ("DECLARE c CURSOR WITH HOLD FOR SELECT 1;", "(SELECT count(*) FROM pg_cursors WHERE name = 'c')"),
    "advisory_lock": (
        "SELECT pg_advisory_lock(42);",
        "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42)",
    ),
    "advisory_lock_of_two_keys": (
        "SELECT pg_advisory_lock(-1, 43);",
        "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 43)",
    ),
    "shared_advisory_lock": (
        "SELECT pg_advisory_lock_shared(44);",
        "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 44)",
    ),
    "custom_setting": ("SET my.own = 'left';", "length(coalesce(current_setting('my.own', true), ''))"),
    "custom_setting_by_a_function": (
        "SELECT set_config('my.own', 'left', false);",
        "length(coalesce(current_setting('my.own', true), ''))",
    ),
    "setting_by_a_block": (
        "DO $$ BEGIN PERFORM set_config('work_mem', '65kB', false); END $$;",
        "(current_setting('work_mem') = '65kB')::int",
    ),
    "temporary_table": (
        "CREATE TEMP TABLE left_behind (n integer);",
        "(SELECT count(*) FROM pg_class WHERE relname = 'left_behind')",
    ),
    "channel": ("LISTEN somewhere;", "(SELECT count(*) FROM pg_listening_channels())"),
    "search_path": ("SET search_path = pg_catalog;", "(current_setting('search_path') <> 'public')::int"),
    "notices": ("SET client_min_messages = error;", "(current_setting('client_min_messages') <> 'notice')::int"),
    "reading_alone": (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY;",
        "(current_setting('transaction_read_only') <> 'off')::int",
    ),
}


def value(target: Target) -> object:
    """Return what the later file saw."""
    with servers.connect(target) as connection:
        return connection.execute("SELECT found FROM public.seen").fetchall()[0][0]


@pytest.mark.parametrize("name", LEFT)
def test_nothing_leaks_from_one_file_to_the_next(empty: Target, tmp_path: Path, name: str) -> None:
    leave, look = LEFT[name]
    migrate(empty, written(tmp_path, leave, SEEN.format(look)))
    assert value(empty) == 0


@pytest.mark.parametrize("name", [name for name in LEFT if name not in ("cursor", "temporary_table")])
def test_nothing_leaks_from_a_file_outside_transactions(empty: Target, tmp_path: Path, name: str) -> None:
    leave, look = LEFT[name]
    migrate(empty, written(tmp_path, "-- migrate: no-transaction\n" + leave, SEEN.format(look)))
    assert value(empty) == 0


@pytest.mark.slow
def test_file_cannot_release_the_migration_lock(empty: Target, tmp_path: Path) -> None:
    """Neither while it runs, nor for the files after it."""
    free: list[bool] = []

    def look(event: Event) -> None:
        if isinstance(event, StatementFinished):
            with servers.connect(empty) as other:
                free.append(postgres.try_lock(other, MIGRATION_LOCK))

    # The file goes on after it has released what it can, so that the look comes before anything takes the lock again.
    release = "SELECT pg_advisory_unlock_all(); SELECT pg_sleep(1);"
    texts = (release, "CREATE TABLE public.t ();", "-- migrate: no-transaction\nVACUUM;")
    migrate(empty, written(tmp_path, *texts), report=look)
    assert free == [False] * 4


def test_transaction_does_not_begin_while_another_session_has_the_migration_lock(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, "CREATE TABLE public.t ();")
    with postgres.connect(empty) as connection, servers.connect(empty) as other:
        assert postgres.try_lock(other, MIGRATION_LOCK)
        with pytest.raises(PreflightError, match="another migration of this database is running") as refused:
            apply(connection, empty, migrations)
        assert f"process {other.info.backend_pid}" in refused.value.what
        other.close()
        assert len(apply(connection, empty, migrations).applied) == 1


def test_connection_that_is_lent_is_given_back_as_it_was(empty: Target, tmp_path: Path) -> None:
    texts = ("SET work_mem = '65kB'; PREPARE p AS SELECT 1;", "-- migrate: no-transaction\nSET work_mem = '66kB';")
    look = (
        "SELECT current_setting('work_mem'), current_setting('search_path'), current_user = session_user,"
        " (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        " AND pid = pg_backend_pid())"
    )
    with postgres.connect(empty) as connection, postgres.maintenance(empty) as observer:
        before = connection.execute(look).fetchall()
        apply(connection, empty, written(tmp_path, *texts), observer=observer)
        assert connection.execute(look).fetchall() == before
        apply(connection, empty, discover(write(tmp_path, "CREATE TABLE public.t ();", first=3)), observer=observer)


def test_run_that_waits_for_nothing_needs_no_further_connection(empty: Target, tmp_path: Path) -> None:
    seen: list[object] = []

    def look(event: Event) -> None:
        if isinstance(event, StatementFinished):
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'kapman-dbops%'"
            with servers.connect(empty) as other:
                seen.extend(other.execute(query + " AND datname = current_database()").fetchall())

    with postgres.connect(empty) as connection, postgres.maintenance(empty) as observer:
        texts = ("CREATE TABLE public.t ();", "SELECT pg_sleep(0.8);")
        apply(connection, empty, written(tmp_path, *texts), observer=observer, report=look)
    assert seen == [(1,), (1,)]


def test_wait_for_a_lock_is_seen_through_the_maintenance_database(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, "CREATE TABLE public.t ();"))
    migrations = discover(write(tmp_path, "ALTER TABLE public.t ADD n integer;", first=2))
    with (
        postgres.connect(empty) as connection,
        postgres.maintenance(empty) as observer,
        servers.connect(empty) as holder,
    ):
        holder.execute("BEGIN; LOCK TABLE public.t")
        with pytest.raises(MigrationError) as failure:
            apply(
                connection,
                empty,
                migrations,
                MigrationOptions(lock_timeout="400ms", lock_budget="500ms"),
                observer=observer,
            )
        assert any(f"process {holder.info.backend_pid}" in note for note in failure.value.notes)


@pytest.mark.slow
def test_statement_that_takes_long_is_reported(empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_ALIVE_SECONDS", 0.5)
    events: list[Event] = []
    text = "CREATE TABLE public.t ();\nSELECT 1,\n    pg_sleep(1.6);"
    migrate(empty, written(tmp_path, text), MigrationOptions(lock_timeout="400ms"), report=events.append)
    alive = [e for e in events if isinstance(e, Message) and e.text.startswith("running for ")]
    assert "SELECT 1, pg_sleep(1.6);" in alive[-1].text
    assert alive[-1].where.endswith("0001_do_step1.sql:2")
    assert 1 <= len(alive) <= 4


@pytest.mark.slow
def test_progress_of_an_index_is_shown(empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_ALIVE_SECONDS", 0.3)
    events: list[Event] = []
    slow = "CREATE FUNCTION public.slow(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS"
    slow += " $$ BEGIN PERFORM pg_sleep(0.001); RETURN 1; END $$;"
    table = "CREATE TABLE public.t AS SELECT n FROM generate_series(1, 1500) AS g (n);"
    index = "CREATE INDEX t_n_idx ON public.t (public.slow(n));"
    migrate(empty, written(tmp_path, table + slow, index), MigrationOptions(lock_timeout="400ms"), report=events.append)
    alive = [e.text for e in events if isinstance(e, Message) and e.text.startswith("running for ")]
    assert any("building index" in text and "%" in text for text in alive)


def test_file_of_definitions_costs_its_settings_its_statement_and_its_row(empty: Target, tmp_path: Path) -> None:
    """The durations, and the check that the ledger is as it should be, are sent once for all."""
    texts = [f"CREATE TABLE public.t{n} (id integer);" for n in range(20)]
    sent: list[str] = []
    original = session.MigrationSession.send

    def send(self: session.MigrationSession, text: str, *rest: Any, **named: Any) -> None:
        sent.append(text)
        original(self, text, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session.MigrationSession, "send", send)
        migrate(empty, written(tmp_path, *texts))
    assert len(sent) == 3 * len(texts) + 4


def test_each_file_has_its_own_limits(empty: Target, tmp_path: Path) -> None:
    patient = "-- lock-timeout: 2s\n"
    texts = (
        "CREATE TABLE public.t1 ();",
        f"{patient}CREATE TABLE public.t2 ();",
        f"{patient}CREATE TABLE public.seen AS SELECT current_setting('lock_timeout') AS value;",
    )
    migrate(empty, written(tmp_path, *texts))
    assert servers.rows(empty, "SELECT value FROM public.seen") == [("2s",)]


def test_search_path_of_migrations_is_in_force_for_their_own_statements_only(empty: Target, tmp_path: Path) -> None:
    """What a database has in public is found by its migrations, and by nothing of the runner's."""
    plant = """
    CREATE TABLE public.ran (what text);
    CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.ran VALUES ('now'); RETURN pg_catalog.now(); END $$;
    CREATE FUNCTION public.round(double precision) RETURNS bigint LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.ran VALUES ('round'); RETURN 0; END $$;
    CREATE FUNCTION public.concat_ws(text, integer, text, text, boolean) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.ran VALUES ('concat_ws'); RETURN ''; END $$;
    CREATE FUNCTION public.set_config(varchar, varchar, boolean) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.ran VALUES ('set_config'); RETURN ''; END $$;
    CREATE FUNCTION public.seen() RETURNS text LANGUAGE sql AS $$ SELECT current_setting('search_path') $$;
    """
    migrate(empty, written(tmp_path, plant, "CREATE TABLE public.found AS SELECT seen();", "CREATE TABLE t ();"))
    with servers.connect(empty) as connection:
        assert connection.execute("SELECT * FROM public.ran").fetchall() == []
        assert connection.execute("SELECT * FROM public.found").fetchall() == [("public",)]


def test_row_of_a_file_is_written_without_a_search_path(empty: Target, tmp_path: Path) -> None:
    """A function that a file of definitions runs puts public before pg_catalog: the runner finds nothing there."""
    shadows = [
        "FUNCTION public.now() RETURNS timestamptz",
        "FUNCTION public.clock_timestamp() RETURNS timestamptz",
        "FUNCTION public.round(numeric) RETURNS numeric",
        "FUNCTION public.concat_ws(text, integer, text, text, boolean) RETURNS text",
        "FUNCTION public.set_config(text, text, boolean) RETURNS text",
        "FUNCTION public.times(numeric, numeric) RETURNS numeric",
        "FUNCTION public.minus(timestamptz, timestamptz) RETURNS interval",
        "FUNCTION public.same(integer, integer) RETURNS boolean",
        "FUNCTION public.same(oid, oid) RETURNS boolean",
    ]
    body = "LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'shadow'; END $$;"
    plant = "\n".join(f"CREATE {shadow} {body}" for shadow in shadows)
    plant += """
    CREATE OPERATOR public.* (leftarg = numeric, rightarg = numeric, function = public.times);
    CREATE OPERATOR public.- (leftarg = timestamptz, rightarg = timestamptz, function = public.minus);
    CREATE OPERATOR public.= (leftarg = integer, rightarg = integer, function = public.same);
    CREATE OPERATOR public.= (leftarg = oid, rightarg = oid, function = public.same);
    CREATE TABLE public.t (n integer);
    INSERT INTO public.t VALUES (1);
    CREATE FUNCTION public.away(integer) RETURNS integer LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_catalog.set_config('search_path', 'public, pg_catalog', true); RETURN 1; END $$;
    """
    turn = "ALTER TABLE public.t ALTER COLUMN n TYPE integer USING public.away(n);"
    look = "CREATE TABLE public.found AS SELECT pg_catalog.current_setting('search_path');"
    migrate(empty, written(tmp_path, plant, turn, look, turn))
    with servers.connect(empty) as connection:
        assert connection.execute("SELECT * FROM public.found").fetchall() == [("public",)]
        assert connection.execute("SELECT count(*) FROM dbops.schema_migrations").fetchone() == (4,)
