"""Changes to the ledger, by a migration or by others, are detected."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dbops.database.status import status
from dbops.errors import MigrationError, PreflightError
from dbops.migrations import ledger
from dbops.migrations.files import discover
from dbops.migrations.ledger import State
from dbops.migrations.options import MigrationOptions
from dbops.migrations.run import migrate
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.migration_files import write, written
from tests.support.operators import as_role
from tests.support.servers import TestServer, run

TABLE = "CREATE TABLE public.t (n integer);"
FUNCTION = """
CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$;
CREATE TRIGGER f BEFORE INSERT ON dbops.schema_migrations FOR EACH ROW EXECUTE FUNCTION public.f();
"""

CHANGES = {
    "rule": "CREATE RULE r AS ON INSERT TO dbops.schema_migrations DO INSTEAD NOTHING;",
    "rule_that_does_nothing_yet": "CREATE RULE r AS ON DELETE TO dbops.schema_migrations DO INSTEAD NOTHING;",
    "trigger_that_drops_the_row": FUNCTION.format("RETURN NULL;"),
    "trigger_that_changes_the_row": FUNCTION.format("NEW.name := 'other'; RETURN NEW;"),
    "trigger_that_does_nothing": FUNCTION.format("RETURN NEW;"),
    "row_security": "ALTER TABLE dbops.schema_migrations ENABLE ROW LEVEL SECURITY;",
    "row_of_its_own": "INSERT INTO dbops.schema_migrations (version, name, checksum, duration_ms, tool_version)"
    " VALUES (2, '0002_do_step2', repeat('0', 64), 1, '1');",
    "row_of_a_later_version": "INSERT INTO dbops.schema_migrations (version, name, checksum, duration_ms, tool_version)"
    " VALUES (9, '0009_do_step9', repeat('0', 64), 1, '1');",
    "deletion": "DELETE FROM dbops.schema_migrations;",
    "update": "UPDATE dbops.schema_migrations SET checksum = repeat('0', 64);",
    "truncation": "TRUNCATE dbops.schema_migrations;",
    "replacement": "ALTER TABLE dbops.schema_migrations RENAME TO old;"
    " CREATE TABLE dbops.schema_migrations (LIKE dbops.old INCLUDING ALL);",
    "drop": "DROP TABLE dbops.schema_migrations;",
    "column": "ALTER TABLE dbops.schema_migrations ADD COLUMN remark text;",
    "constraint": "ALTER TABLE dbops.schema_migrations ADD CHECK (version < 30);",
    "default": "ALTER TABLE dbops.schema_migrations ALTER applied_at DROP DEFAULT, ALTER applied_at SET DEFAULT now();",
    "label": "COMMENT ON SCHEMA dbops IS NULL;",
    "change_by_dynamic_sql": "DO $$ BEGIN EXECUTE 'DELETE FROM dbops.' || 'schema' || '_migrations'; END $$;",
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("before", ["in an earlier run", "in the same run"])
def test_file_that_changes_the_ledger_fails_and_leaves_nothing(
    empty: Target, tmp_path: Path, name: str, before: str
) -> None:
    first = written(tmp_path, TABLE)
    if before == "in an earlier run":
        migrate(empty, first)
    with pytest.raises(MigrationError) as failure:
        migrate(empty, discover(write(tmp_path, CHANGES[name], "CREATE TABLE public.after ();", first=2)))
    assert "ledger" in failure.value.what or "schema_migrations" in failure.value.what
    if "dynamic" not in name:
        assert "0002_do_step2" in failure.value.what
        assert "0002_do_step2" in failure.value.where
    with servers.connect(empty) as connection:
        assert connection.execute("SELECT to_regclass('public.after') IS NULL").fetchall() == [(True,)]
    found = status(empty, discover(tmp_path))
    assert [item.state for item in found.items][1:] == [State.PENDING, State.PENDING]
    assert not found.problems


@pytest.mark.parametrize("right", ["SELECT", "INSERT", "UPDATE"])
def test_file_cannot_take_from_its_own_role_what_the_next_run_needs(
    server: TestServer, target: Target, tmp_path: Path, right: str
) -> None:
    with operators.role(server) as owner:
        server.execute(f'CREATE DATABASE "{target.database}" OWNER {owner} TEMPLATE template0')
        own = as_role(target, owner)
        migrate(own, written(tmp_path, TABLE))
        revoke = f"REVOKE {right} ON dbops.schema_migrations FROM {owner};"
        with pytest.raises(MigrationError, match="0002_do_step2"):
            migrate(own, discover(write(tmp_path, revoke, first=2)))
        assert len(migrate(own, discover(write(tmp_path, "SELECT 1;", first=2))).applied) == 1


@pytest.mark.parametrize("text", ["GRANT SELECT ON dbops.schema_migrations TO pg_monitor;", "ANALYZE;"])
def test_file_may_let_others_read_the_ledger(empty: Target, tmp_path: Path, text: str) -> None:
    assert len(migrate(empty, written(tmp_path, TABLE, text)).applied) == 2


def test_clock_that_was_set_back_is_no_reason_to_fail(empty: Target, tmp_path: Path) -> None:
    """The row before the file's is from the future."""
    migrate(empty, written(tmp_path, TABLE))
    run(empty, "UPDATE dbops.schema_migrations SET applied_at = clock_timestamp() + interval '1 hour'")
    (done,) = migrate(empty, discover(write(tmp_path, "SELECT 1;", first=2))).applied
    assert done.seconds == 0


def test_file_outside_a_transaction_that_loses_its_row_is_not_reported_as_applied(
    empty: Target, tmp_path: Path
) -> None:
    run(empty, "CREATE SCHEMA dbops")
    text = "-- migrate: no-transaction\nCREATE RULE r AS ON INSERT TO dbops.schema_migrations DO INSTEAD NOTHING;"
    migrations = written(tmp_path, TABLE, text)
    with pytest.raises(MigrationError):
        migrate(empty, migrations)
    found = status(empty, migrations)
    assert [item.state for item in found.items] == [State.APPLIED, State.UNFINISHED]
    assert found.problems == ("the ledger dbops.schema_migrations has a rule",)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("DELETE FROM dbops.schema_migrations", "is empty, but the database has relations (such as public.t)"),
        ("CREATE RULE r AS ON INSERT TO dbops.schema_migrations DO INSTEAD NOTHING", "has a rule"),
        (FUNCTION.format("RETURN NEW;"), "has a trigger"),
        ("ALTER TABLE dbops.schema_migrations ENABLE ROW LEVEL SECURITY", "has row-level security"),
        (
            "ALTER TABLE dbops.schema_migrations RENAME TO old;"
            "CREATE VIEW dbops.schema_migrations AS SELECT * FROM dbops.old",
            "is not a plain table",
        ),
    ],
)
def test_changed_ledger_is_reported_by_status_and_refused_by_migrate(
    empty: Target, tmp_path: Path, change: str, problem: str
) -> None:
    migrations = written(tmp_path, TABLE)
    migrate(empty, migrations)
    run(empty, change)
    found = status(empty, migrations)
    assert any(problem in text for text in found.problems)
    assert not found.consistent
    with pytest.raises(MigrationError, match="the ledger"):
        migrate(empty, migrations)


def test_locked_ledger_is_reported_with_its_holder_after_a_limit(
    empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LOCK_SECONDS", 0.3)
    migrations = written(tmp_path, TABLE)
    migrate(empty, migrations)
    with servers.connect(empty) as holder:
        holder.execute("BEGIN; LOCK TABLE dbops.schema_migrations IN ACCESS EXCLUSIVE MODE")
        for ask in (status, migrate):
            with pytest.raises(PreflightError, match=r"could not be read for 0\.3 s") as refused:
                ask(empty, migrations)
            assert str(holder.info.backend_pid) in refused.value.render()


@pytest.mark.slow
def test_lock_on_the_ledger_that_comes_later_is_waited_for_in_attempts(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, TABLE))
    migrations = discover(write(tmp_path, "CREATE TABLE public.u ();", first=2))
    with servers.connect(empty) as holder:
        holder.execute("BEGIN; LOCK TABLE dbops.schema_migrations IN SHARE MODE")
        with pytest.raises(MigrationError, match="could not acquire a lock") as refused:
            migrate(empty, migrations, MigrationOptions(lock_timeout="200ms", lock_budget="1s"))
        assert f"process {holder.info.backend_pid}" in refused.value.render()
    assert len(migrate(empty, migrations).applied) == 1


def test_empty_file_is_an_error_only_when_it_is_to_be_applied(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, TABLE))
    migrations = discover(write(tmp_path, "-- Why: not yet", first=2), allow_empty=True)
    found = status(empty, migrations)
    assert [item.state for item in found.items] == [State.APPLIED, State.EMPTY]
    assert found.consistent
    with pytest.raises(Exception, match="has comments only, and no statement"):
        migrate(empty, migrations)
    assert migrate(empty, migrations, MigrationOptions(to=1)).applied == ()


@pytest.mark.slow
def test_lock_that_keeps_the_ledger_from_being_created_is_waited_for_in_attempts(empty: Target, tmp_path: Path) -> None:
    with servers.connect(empty) as holder:
        holder.execute("BEGIN; CREATE SCHEMA dbops")
        release = threading.Timer(1, holder.rollback)
        release.start()
        result = migrate(empty, written(tmp_path, TABLE), MigrationOptions(lock_timeout="200ms"))
        release.join()
    assert result.retries >= 1
    assert len(result.applied) == 1
