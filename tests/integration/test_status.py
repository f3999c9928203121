"""What db.status says of a database that is not as it should be, and the gate for deployments."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from dbops import label
from dbops.database import existing, rebuild, status
from dbops.errors import CheckError, ConsentError, ServerError
from dbops.label import Label
from dbops.migrations.files import discover
from dbops.settings import MIGRATIONS, Target
from tests.support import operators
from tests.support.operators import dsn, options
from tests.support.servers import TestServer

FILES = discover(MIGRATIONS)


def test_database_that_was_dropped_is_explained_by_its_successor(empty: Target) -> None:
    successor = rebuild.drop(empty, options()).successor
    with pytest.raises(ServerError) as missing:
        status.status(empty, FILES)
    assert successor in missing.value.hint
    assert "`invoke db.create` puts it in place" in missing.value.hint


def test_database_that_never_was_is_explained_too(target: Target) -> None:
    with pytest.raises(ServerError) as missing:
        status.status(target, FILES)
    assert f"There is no database {target.database}" in missing.value.hint


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_label_is_shown_and_a_lost_one_is_never_chosen_by_default(built: Target, environment: str) -> None:
    """It may be a prod database's that was restored without comments: prod is no risk then, anything else is."""
    target = replace(built, environment=environment)
    with psycopg.connect(dsn(built), autocommit=True) as connection:
        connection.execute("COMMENT ON SCHEMA dbops IS 'mine'")
    assert status.status(built, FILES).label is None
    shown = operators.invoke("db.status", target=built)
    assert "label: missing" in shown.stdout
    if environment == "dev":
        refused = operators.invoke("db.migrate", target=built)
        assert (refused.returncode, "no label" in refused.stderr) == (5, True)
        with pytest.raises(ConsentError, match="names another database"):
            existing.migrate(target, FILES, confirm="another")
        assert status.status(built, FILES).label is None
        existing.migrate(target, FILES, confirm=built.database)
    else:
        existing.migrate(target, FILES)
    assert status.status(built, FILES).label == Label(environment, native=True)


def test_rebuilds_are_kept_in_the_label_over_rebuilds_and_shown(built: Target) -> None:
    earlier = tuple(label.Rebuild(f"day {n}", "ops", "10.0.0.7", "1.2.3", "f" * 64) for n in range(label.KEPT_REBUILDS))
    with psycopg.connect(dsn(built), autocommit=True) as connection:
        label.add_rebuild(connection, Label("dev", native=True, rebuilds=earlier), "abc" * 20)
        role = connection.info.user
    found = status.status(built, FILES).label
    assert found == Label("dev", native=True)
    assert found.rebuilds[:-1] == earlier[1:]
    assert (found.rebuilds[-1].by, found.rebuilds[-1].fingerprint) == (role, "abc" * 20)
    shown = operators.invoke("db.status", target=built).stdout
    assert f"the last 3 of {label.KEPT_REBUILDS} rebuilds:" in shown
    assert "rebuilt day 49 by ops from 10.0.0.7, kapman-dbops 1.2.3, fingerprint ffffffffffff\n" in shown
    # A label that is written anew, as on a copy, keeps them.
    with psycopg.connect(dsn(built), autocommit=True) as connection:
        label.write(connection, "test", found.rebuilds)
    assert status.status(built, FILES).label.rebuilds == found.rebuilds  # type: ignore[union-attr]


WHOLE = {"at": "a", "by": "b", "address": "c", "tool": "d", "fingerprint": "e"}


@pytest.mark.parametrize("written", [None, 7, "x", {"at": 1}, [7, [], {}, {**WHOLE, "by": None}, WHOLE]])
def test_what_is_no_rebuild_in_a_label_does_not_hide_its_environment(written: object) -> None:
    found = label.parse([(json.dumps({"environment": "prod", "system_identifier": "1", "rebuilds": written}), "1")])
    assert found == Label("prod", native=True)
    assert found.rebuilds == ((label.Rebuild(**WHOLE),) if isinstance(written, list) else ())


def test_gate_for_deployments_names_what_is_pending_or_inconsistent(built: Target, tmp_path: Path) -> None:
    status.status(built, FILES).assert_current()
    shutil.copytree(MIGRATIONS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "0007_add_more.sql").write_text("-- Why: more.\nSELECT 1;\n")
    with pytest.raises(CheckError, match="0007_add_more is pending") as refused:
        status.status(built, discover(tmp_path)).assert_current()
    assert refused.value.exit_code == 1
    with psycopg.connect(dsn(built), autocommit=True) as connection:
        connection.execute("DELETE FROM dbops.schema_migrations")
    found = status.status(built, FILES)
    with pytest.raises(CheckError, match=r"is not current.*and 6 more"):
        found.assert_current()


def test_gate_of_the_command_line_exits_1_only_where_something_is_pending(server: TestServer, built: Target) -> None:
    assert operators.invoke("db.status", "--require-current", target=built).returncode == 0
    server.execute(f'DROP DATABASE "{built.database}" WITH (FORCE)')
    server.execute(f'CREATE DATABASE "{built.database}" TEMPLATE template0')
    gate = operators.invoke("db.status", "--require-current", target=built)
    assert gate.returncode == 1
    assert "error: the database is not current: 0001_create_timescaledb_extension is pending" in gate.stderr
