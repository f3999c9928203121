"""Applying migrations: the ledger, all or nothing, drift, session settings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dbops import __version__
from dbops.database.status import status
from dbops.errors import MigrationError, PreflightError, ServerError, UsageError
from dbops.events import Event, Message, Progress, StatementFinished, StepFinished, StepStarted
from dbops.migrations.files import discover
from dbops.migrations.ledger import State
from dbops.migrations.options import MigrationOptions
from dbops.migrations.run import migrate, plan
from dbops.settings import ROOT, Target
from tests.support import operators, servers
from tests.support.migration_files import write, written
from tests.support.servers import TestServer, fresh_name, rows

TABLE = "CREATE TABLE public.t (id integer PRIMARY KEY);"
COLUMN = "ALTER TABLE public.t ADD COLUMN n integer;"
BROKEN = "SELECT 1 / 0;"
INDEX = "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY t_n_idx ON public.t (n);"


def tables(target: Target) -> list[str]:
    """Return the tables in our schemas."""
    found = rows(
        target,
        "SELECT relnamespace::regnamespace || '.' || relname FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace::regnamespace::text IN ('public', 'dbops') ORDER BY 1",
    )
    return [str(row[0]) for row in found]


def applied(target: Target) -> list[int]:
    """Return the versions in the ledger."""
    return [int(str(row[0])) for row in rows(target, "SELECT version FROM dbops.schema_migrations ORDER BY 1")]


def states(target: Target, directory: Path) -> list[State]:
    """Return the state of each version."""
    return [item.state for item in status(target, discover(directory)).items]


def test_ledger_records_who_applied_what_and_when(empty: Target, tmp_path: Path) -> None:
    [migration] = written(tmp_path, TABLE)
    result = migrate(empty, (migration,))
    [row] = rows(
        empty,
        "SELECT version, name, checksum, applied_by = session_user, tool_version, duration_ms >= 0,"
        " abs(extract(epoch FROM clock_timestamp() - applied_at)) < 60 FROM dbops.schema_migrations",
    )
    assert row == (1, "0001_do_step1", migration.checksum, True, __version__, True, True)
    assert [(done.name, done.statements) for done in result.applied] == [("0001_do_step1", 1)]
    assert (result.before, result.pending, result.transactions) == (0, 0, 1)


def test_second_run_applies_nothing(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLE, COLUMN)
    migrate(empty, migrations)
    again = migrate(empty, migrations)
    assert (again.applied, again.before, again.pending) == ((), 2, 0)


def test_no_files_apply_nothing_and_make_no_ledger(empty: Target) -> None:
    assert migrate(empty, ()).applied == ()
    assert tables(empty) == []


def test_failed_migration_leaves_no_trace(empty: Target, tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="0003_do_step3 failed: division by zero") as failure:
        migrate(empty, written(tmp_path, TABLE, COLUMN, BROKEN))
    assert failure.value.exit_code == 4
    assert tables(empty) == []
    assert "Nothing was applied." in failure.value.advice


def test_failure_keeps_what_earlier_runs_applied(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, TABLE))
    with pytest.raises(MigrationError):
        migrate(empty, written(tmp_path, COLUMN, BROKEN, first=2))
    assert applied(empty) == [1]
    assert states(empty, tmp_path) == [State.APPLIED, State.PENDING, State.PENDING]


def test_target_version_is_the_last_to_be_applied(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLE, COLUMN, BROKEN)
    result = migrate(empty, migrations, MigrationOptions(to=2))
    assert applied(empty) == [1, 2]
    assert result.pending == 1
    assert migrate(empty, migrations, MigrationOptions(to=1)).applied == ()


def test_target_version_that_does_not_exist_is_refused(empty: Target, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no migration 0007"):
        migrate(empty, written(tmp_path, TABLE), MigrationOptions(to=7))
    assert tables(empty) == []


@pytest.mark.parametrize("option", ["lock_timeout", "statement_timeout"])
def test_timeout_that_is_not_a_duration_is_refused(empty: Target, tmp_path: Path, option: str) -> None:
    with pytest.raises(UsageError, match="invalid duration"):
        migrate(empty, written(tmp_path, TABLE), MigrationOptions(**{option: "soon"}))  # type: ignore[arg-type]


def test_database_with_tables_but_no_ledger_is_refused(empty: Target, tmp_path: Path) -> None:
    with servers.connect(empty) as connection:
        connection.execute("CREATE SCHEMA other; CREATE VIEW other.somebodys AS SELECT 1")
    with pytest.raises(PreflightError, match=r"such as other\.somebodys\) but no ledger") as refused:
        migrate(empty, written(tmp_path, TABLE))
    assert "invoke db.rebuild" in refused.value.advice
    assert tables(empty) == []


def test_database_with_extensions_only_counts_as_empty(empty: Target, tmp_path: Path) -> None:
    with servers.connect(empty) as connection:
        connection.execute("CREATE EXTENSION timescaledb")
        connection.execute("CREATE SCHEMA dbops")
    migrate(empty, written(tmp_path, TABLE))
    assert applied(empty) == [1]


def test_table_of_the_ledgers_name_with_other_columns_is_refused(empty: Target, tmp_path: Path) -> None:
    with servers.connect(empty) as connection:
        connection.execute("CREATE SCHEMA dbops; CREATE TABLE dbops.schema_migrations (version text)")
    with pytest.raises(MigrationError, match="is not a ledger of this tool"):
        migrate(empty, written(tmp_path, TABLE))


@pytest.mark.parametrize(
    ("change", "state", "words"),
    [
        ("edit", State.EDITED, "the file now has"),
        ("comment", State.EDITED, "the file now has"),
        ("rename", State.RENAMED, "as 0001_do_step1"),
        ("remove", State.REMOVED, "the file is gone"),
    ],
)
def test_changed_file_stops_everything_and_is_shown(
    empty: Target, tmp_path: Path, change: str, state: State, words: str
) -> None:
    before = written(tmp_path, TABLE)
    migrate(empty, before)
    path = tmp_path / "0001_do_step1.sql"
    if change == "edit":
        path.write_text(TABLE.replace("t (", "u ("))
    elif change == "comment":
        path.write_text(TABLE + "\n-- a comment\n")
    elif change == "rename":
        path.rename(tmp_path / "0001_do_other.sql")
    after = () if change == "remove" else discover(write(tmp_path, "CREATE TABLE public.never ();", first=2))
    if change == "remove":
        path.unlink()
    with pytest.raises(MigrationError) as refused:
        migrate(empty, after)
    found = status(empty, after)
    assert tables(empty) == ["dbops.schema_migrations", "public.t"]
    assert found.items[0].state == state
    assert not found.consistent
    assert words in found.items[0].explanation
    assert re.search(r"applied 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", found.items[0].explanation)
    assert words in refused.value.render()
    if state == State.EDITED:
        assert before[0].checksum[:12] in found.items[0].explanation
        assert after[0].checksum[:12] in found.items[0].explanation


def test_unapplied_file_before_an_applied_one_stops_everything(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLE, COLUMN, "SELECT 3;")
    migrate(empty, migrations)
    with servers.connect(empty) as connection:
        connection.execute("DELETE FROM dbops.schema_migrations WHERE version = 2")
    assert states(empty, tmp_path) == [State.APPLIED, State.SKIPPED, State.APPLIED]
    with pytest.raises(MigrationError, match="1 skipped"):
        migrate(empty, migrations)


def test_file_that_changes_during_the_run_is_sent_as_it_was_validated(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLE)
    write(tmp_path, BROKEN)
    migrate(empty, migrations)
    assert tables(empty) == ["dbops.schema_migrations", "public.t"]
    assert [item.state for item in status(empty, migrations).items] == [State.APPLIED]


def test_each_file_runs_with_the_same_settings(server: TestServer, empty: Target, tmp_path: Path) -> None:
    leave = """
    SET search_path = pg_catalog; SET TimeZone = 'Asia/Tokyo'; SET my.own = 'left';
    SELECT set_config(reverse('tuoemit_tnemetats'), '1h', false);
    CREATE TEMP TABLE left_behind (); SET ROLE {role};
    """
    look = """
    CREATE TABLE public.seen AS SELECT current_setting('search_path') AS path, current_setting('TimeZone') AS zone,
        current_setting('statement_timeout') AS timeout, current_setting('lock_timeout') AS locks,
        coalesce(current_setting('my.own', true), '') AS own, to_regclass('pg_temp.left_behind') IS NULL AS gone,
        current_user = session_user AS me;
    """
    with operators.role(server) as role:
        migrate(empty, written(tmp_path, leave.format(role=role), look))
    assert rows(empty, "SELECT * FROM public.seen") == [("public", "UTC", "0", "100ms", "", True, True)]


def test_settings_of_role_and_database_do_not_reach_migrations(
    server: TestServer, empty: Target, tmp_path: Path
) -> None:
    settings = (
        "search_path = nowhere",
        "lock_timeout = 1",
        "client_encoding = latin1",
        "TimeZone = 'Asia/Tokyo'",
        "DateStyle = 'German'",
        "default_transaction_read_only = on",
        "client_min_messages = error",
        "session_replication_role = replica",
        "row_security = off",
    )
    for setting in settings:
        server.execute(f'ALTER DATABASE "{empty.database}" SET {setting}')
    text = "CREATE TABLE t AS SELECT '価格'::text AS s, current_setting('TimeZone') AS zone, '2.3.2024'::date AS d;"
    seen = "current_setting('session_replication_role'), current_setting('row_security')"
    check = f"DO $$ BEGIN RAISE NOTICE '% %', {seen}; END $$;"
    events: list[Event] = []
    texts = (text, check, "-- migrate: no-transaction\nALTER TABLE t ADD COLUMN n integer;")
    migrate(empty, written(tmp_path, *texts), report=events.append)
    assert "NOTICE: origin on" in [event.text for event in events if isinstance(event, Message)]
    [(value, zone, day)] = rows(empty, "SELECT encode(convert_to(s, 'UTF8'), 'hex'), zone, d::text FROM public.t")
    assert (value, zone, day) == ("価格".encode().hex(), "UTC", "03.02.2024")


def test_percent_signs_are_sent_as_they_are(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, "CREATE TABLE public.t AS SELECT '100 %s %(a)s %'::text AS s;"))
    assert rows(empty, "SELECT s FROM public.t") == [("100 %s %(a)s %",)]


def test_objects_belong_to_the_databases_owner(server: TestServer, empty: Target, tmp_path: Path) -> None:
    owner = fresh_name("owner")
    server.execute(f"CREATE ROLE {owner}")
    try:
        server.execute(f'ALTER DATABASE "{empty.database}" OWNER TO {owner}')
        migrate(empty, written(tmp_path, TABLE, COLUMN))
        owners = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relname IN ('t', 'schema_migrations')"
        assert rows(empty, owners) == [(owner,)]
        by = f"SELECT DISTINCT applied_by = session_user AND applied_by <> '{owner}' FROM dbops.schema_migrations"
        assert rows(empty, by) == [(True,)]
    finally:
        server.execute(f'DROP DATABASE "{empty.database}" WITH (FORCE)')
        server.execute(f"DROP ROLE {owner}")


def test_objects_belong_to_the_role_that_was_named(server: TestServer, empty: Target) -> None:
    """As for a build in a database that belongs to the operator until it is handed over."""
    owner = fresh_name("owner")
    server.execute(f"CREATE ROLE {owner}")
    try:
        server.execute(f'GRANT CREATE, CONNECT, TEMPORARY ON DATABASE "{empty.database}" TO {owner}')
        server.execute(f"ALTER SCHEMA public OWNER TO {owner}", empty.database)
        migrate(empty, discover(ROOT / "db" / "migrations"), MigrationOptions(fresh=True, owner=owner))
        found = rows(
            empty,
            "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname IN ('public', 'dbops')"
            " UNION SELECT extowner::regrole::text FROM pg_extension WHERE extname = 'timescaledb'",
        )
        assert found == [(owner,)]
    finally:
        server.execute(f'DROP DATABASE "{empty.database}" WITH (FORCE)')
        server.execute(f"DROP ROLE {owner}")


def test_plain_owner_builds_the_baseline(server: TestServer, empty: Target) -> None:
    owner = fresh_name("owner")
    server.execute(f"CREATE ROLE {owner} LOGIN PASSWORD 'pw'")
    try:
        server.execute(f'ALTER DATABASE "{empty.database}" OWNER TO {owner}')
        target = replace(empty, parameters={**empty.parameters, "user": owner, "password": "pw"})
        migrate(target, discover(ROOT / "db" / "migrations"))
        found = rows(empty, "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname IN ('public', 'dbops')")
        assert found == [(owner,)]
    finally:
        server.execute(f'DROP DATABASE "{empty.database}" WITH (FORCE)')
        server.execute(f"DROP ROLE {owner}")


def test_role_that_may_not_read_the_ledger_is_shown_the_missing_grants(
    server: TestServer, empty: Target, tmp_path: Path
) -> None:
    migrations = written(tmp_path, TABLE)
    migrate(empty, migrations)
    role = fresh_name("Role")
    server.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'pw'")
    try:
        guest = replace(empty, parameters={**empty.parameters, "user": role, "password": "pw"})
        with pytest.raises(ServerError, match="may not read the ledger") as refused:
            status(guest, migrations)
        grants = refused.value.advice.split(": ", 1)[1]
        server.execute(grants, empty.database)
        assert status(guest, migrations).consistent
    finally:
        server.execute(f'DROP OWNED BY "{role}"', empty.database)
        server.execute(f'DROP ROLE "{role}"')


def test_role_that_may_not_create_is_refused_and_nothing_is_left(
    server: TestServer, empty: Target, tmp_path: Path
) -> None:
    role = fresh_name("role")
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    try:
        target = replace(empty, parameters={**empty.parameters, "user": role, "password": "pw"})
        with pytest.raises(ServerError, match="permission denied for database"):
            migrate(target, written(tmp_path, TABLE))
        assert tables(empty) == []
    finally:
        server.execute(f"DROP ROLE {role}")


def test_position_is_right_where_the_server_counts_bytes(server: TestServer, target: Target, tmp_path: Path) -> None:
    server.execute(f'CREATE DATABASE "{target.database}" TEMPLATE template0 ENCODING SQL_ASCII LOCALE "C"')
    with pytest.raises(MigrationError) as failure:
        migrate(target, written(tmp_path, "SELECT 1;\nSELECT '価格', nope;"))
    source = failure.value.location
    assert source is not None
    assert (source.line, source.column) == (2, 14)


@pytest.mark.parametrize("words", ["DEFERRABLE INITIALLY DEFERRED", "INITIALLY DEFERRED"])
def test_deferred_constraint_is_blamed_on_the_file_that_broke_it(empty: Target, tmp_path: Path, words: str) -> None:
    first = TABLE + f"CREATE TABLE public.u (t_id integer REFERENCES public.t {words});"
    with pytest.raises(MigrationError, match="0002_do_step2 failed: insert or update on table"):
        migrate(empty, written(tmp_path, first, "INSERT INTO public.u VALUES (1);", "INSERT INTO public.t VALUES (1);"))
    assert tables(empty) == []


def test_deferred_constraint_is_checked_at_the_end_of_its_file_only(empty: Target, tmp_path: Path) -> None:
    first = TABLE + "CREATE TABLE public.u (t_id integer REFERENCES public.t DEFERRABLE INITIALLY DEFERRED);"
    fill = "INSERT INTO public.u VALUES ({0}); INSERT INTO public.t VALUES ({0});"
    alter = "ALTER TABLE public.u ADD COLUMN n integer;"
    migrate(empty, written(tmp_path, first, fill.format(1), alter, fill.format(2)))
    assert applied(empty) == [1, 2, 3, 4]


def test_constraint_that_is_checked_at_once_stays_so(empty: Target, tmp_path: Path) -> None:
    """A deferrable constraint is deferred only where it says so; psql -1 runs such a file as well."""
    files = [
        f"CREATE TABLE public.t{n} (x integer UNIQUE DEFERRABLE); INSERT INTO public.t{n} VALUES (1), (2);"
        f"UPDATE public.t{n} SET x = x + 1; CREATE INDEX ON public.t{n} (x);"
        for n in (1, 2)
    ]
    again = "UPDATE public.t1 SET x = x + 1; ALTER TABLE public.t1 ADD COLUMN n integer;"
    migrate(empty, written(tmp_path, *files, again))
    assert applied(empty) == [1, 2, 3]


def test_constraint_that_a_file_defers_is_checked_at_its_end(empty: Target, tmp_path: Path) -> None:
    first = TABLE + "CREATE TABLE public.u (t_id integer REFERENCES public.t DEFERRABLE);"
    second = "SET CONSTRAINTS ALL DEFERRED; INSERT INTO public.u VALUES (1);"
    with pytest.raises(MigrationError, match="0002_do_step2 failed: insert or update on table"):
        migrate(empty, written(tmp_path, first, second, "INSERT INTO public.t VALUES (1);"))


def test_constraint_of_a_later_file_is_deferred_as_it_says(empty: Target, tmp_path: Path) -> None:
    later = (
        "CREATE TABLE public.u (t_id integer REFERENCES public.t DEFERRABLE INITIALLY DEFERRED);"
        "INSERT INTO public.u VALUES (1); INSERT INTO public.t VALUES (1);"
    )
    migrate(empty, written(tmp_path, TABLE, later))
    assert applied(empty) == [1, 2]


def test_procedure_that_commits_cannot_break_the_transaction(empty: Target, tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="invalid transaction termination"):
        migrate(empty, written(tmp_path, TABLE, "DO $$ BEGIN COMMIT; END $$;"))
    assert tables(empty) == []


def test_notices_are_reported_with_their_file_and_line(empty: Target, tmp_path: Path) -> None:
    events: list[Event] = []
    text = "SELECT 1;\nDO $$ BEGIN RAISE NOTICE 'look %', 1; RAISE WARNING 'mind' USING HINT = 'this'; END $$;"
    migrate(empty, written(tmp_path, text), report=events.append)
    reported = [(event.level, event.text, Path(event.where).name) for event in events if isinstance(event, Message)]
    assert ("INFO", "NOTICE: look 1", "0001_do_step1.sql:2") in reported
    assert ("WARNING", "WARNING: mind (this)", "0001_do_step1.sql:2") in reported


def test_events_report_the_steps_the_files_and_every_statement(empty: Target, tmp_path: Path) -> None:
    events: list[Event] = []
    migrate(empty, written(tmp_path, TABLE + "\nSELECT 1;", COLUMN), report=events.append)
    assert [event.total for event in events if isinstance(event, StepStarted)] == [2]
    assert [(event.done, event.item) for event in events if isinstance(event, Progress)] == [
        (0, "0001_do_step1"),
        (1, "0002_do_step2"),
    ]
    ran = [(event.sql, Path(event.where).name) for event in events if isinstance(event, StatementFinished)]
    assert ran == [
        (TABLE, "0001_do_step1.sql:1"),
        ("SELECT 1;", "0001_do_step1.sql:2"),
        (COLUMN, "0002_do_step2.sql:1"),
    ]
    assert [event.detail for event in events if isinstance(event, StepFinished)] == ["2 applied"]


def test_success_is_reported_after_the_commit(empty: Target, tmp_path: Path) -> None:
    seen: list[list[str]] = []
    migrate(
        empty,
        written(tmp_path, TABLE),
        report=lambda event: seen.append(tables(empty)) if isinstance(event, StepFinished) else None,
    )
    assert seen == [["dbops.schema_migrations", "public.t"]]


def test_plan_shows_files_transactions_limits_and_locks_and_runs_nothing(empty: Target, tmp_path: Path) -> None:
    first = "-- Locks: none\n-- lock-timeout: 2s\n" + TABLE + "SELECT 1;"
    found = plan(empty, written(tmp_path, first, COLUMN, INDEX, "SELECT 4;"), MigrationOptions(statement_timeout="1h"))
    assert [(item.name, item.transaction) for item in found.pending] == [
        ("0001_do_step1", 1),
        ("0002_do_step2", 1),
        ("0003_do_step3", None),
        ("0004_do_step4", 2),
    ]
    planned = found.pending[0]
    assert (planned.size, planned.statements, planned.locks) == (len(first), 2, "none")
    assert (planned.lock_timeout, planned.statement_timeout) == ("2s", "1h")
    assert found.pending[1].lock_timeout == "1s"
    assert (found.transactions, found.applied, found.later) == (2, 0, 0)
    assert tables(empty) == []


def test_plan_stops_at_the_target_version_and_leaves_out_what_is_applied(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLE, COLUMN, "SELECT 3;")
    migrate(empty, migrations, MigrationOptions(to=1))
    found = plan(empty, migrations, MigrationOptions(to=2))
    assert [item.version for item in found.pending] == [2]
    assert (found.applied, found.later) == (1, 1)


def test_plan_refuses_what_a_run_would_refuse(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, TABLE))
    with pytest.raises(MigrationError, match="1 edited"):
        plan(empty, written(tmp_path, COLUMN))


def test_check_applies_on_the_target_and_rolls_back(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLE, COLUMN)
    result = migrate(empty, migrations, MigrationOptions(check=True))
    assert result.rolled_back
    assert (len(result.applied), result.pending) == (2, 2)
    assert tables(empty) == []


def test_check_of_a_commit_for_each_file_runs_each_on_what_the_ones_before_it_made(
    empty: Target, tmp_path: Path
) -> None:
    result = migrate(empty, written(tmp_path, TABLE, COLUMN), MigrationOptions(commit="file", check=True))
    assert (len(result.applied), result.pending) == (2, 2)
    assert tables(empty) == []


def test_check_finds_what_would_fail(empty: Target, tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="0002_do_step2 failed"):
        migrate(empty, written(tmp_path, TABLE, BROKEN), MigrationOptions(check=True))
    assert tables(empty) == []


def test_check_refuses_a_file_outside_transactions(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLE, COLUMN, INDEX)
    with pytest.raises(PreflightError, match="so it cannot be tried and rolled back") as refused:
        migrate(empty, migrations, MigrationOptions(check=True))
    assert "--check --to 0002" in refused.value.advice
    assert len(migrate(empty, migrations, MigrationOptions(check=True, to=2)).applied) == 2


def test_fresh_database_takes_commits_in_between(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, *["SELECT 1;"] * 150, BROKEN)
    with pytest.raises(MigrationError) as failure:
        migrate(empty, migrations, MigrationOptions(fresh=True))
    assert applied(empty) == list(range(1, 101))
    assert "0001_do_step1 to 0100_do_step100 are committed" in failure.value.advice
    write(tmp_path, "SELECT 1;", first=151)
    assert migrate(empty, discover(tmp_path), MigrationOptions(fresh=True)).transactions == 1
    assert len(applied(empty)) == 151


def test_value_of_an_enum_is_committed_before_the_next_file_of_a_rebuild_uses_it(
    server: TestServer, empty: Target, tmp_path: Path
) -> None:
    """Applied one by one such files work, so they must on a fresh database; in one run the error says how."""
    texts = (
        "CREATE TYPE public.c AS ENUM ('a'); CREATE TABLE public.t (c public.c);",
        "ALTER TYPE public.c ADD VALUE 'b';",
        "ALTER TABLE public.t ALTER c SET DEFAULT 'b';",
    )
    migrations = written(tmp_path, *texts)
    assert migrate(empty, migrations, MigrationOptions(fresh=True)).transactions == 2
    server.execute("DROP TABLE public.t; DROP TYPE public.c; DROP SCHEMA dbops CASCADE", empty.database)
    # PostgreSQL 17 and later allow the value if its type is new too, hence a run of its own for the type.
    migrate(empty, migrations, MigrationOptions(to=1))
    with pytest.raises(MigrationError, match="unsafe use of new value") as failure:
        migrate(empty, migrations)
    assert "--commit file" in failure.value.advice
    assert applied(empty) == [1]


def test_result_of_a_query_and_dollar_parameters_do_not_matter(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, "SELECT generate_series(1, 1000);\nSELECT 1; SELECT 2;\nVALUES (1), (2);"))
    assert applied(empty) == [1]


@pytest.mark.slow
def test_thousands_of_files_need_commits_in_between(tmp_path: Path) -> None:
    """A lock table of some 2,000 entries has no room for 400 tables with their indexes, but for batches of them."""
    columns = "id integer PRIMARY KEY, a text UNIQUE, b text UNIQUE, c text UNIQUE, d text UNIQUE"
    texts = [f"CREATE TABLE public.t{n} ({columns});" for n in range(1, 401)]
    small = "max_locks_per_transaction = 10\nmax_connections = 100\nmax_prepared_transactions = 0\n"
    migrations = written(tmp_path, *texts)
    with servers.throwaway_server(small) as server:
        server.execute("CREATE DATABASE d")
        with pytest.raises(MigrationError, match="out of shared memory") as failure:
            migrate(server.target("d"), migrations)
        assert "Nothing was applied." in failure.value.advice
        assert "max_locks_per_transaction" in failure.value.advice
        assert len(migrate(server.target("d"), migrations, MigrationOptions(fresh=True)).applied) == 400
