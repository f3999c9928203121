"""Whatever role, database and server have set for their sessions: every verb sees and does the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dbops import catalog, postgres
from dbops.catalog.diagram import diagram
from dbops.database import existing, rebuild, status
from dbops.database.inspection import look_inside
from dbops.database.schema import drift
from dbops.label import Label
from dbops.migrations.files import discover
from dbops.migrations.run import migrate
from dbops.settings import CHECKS, MIGRATIONS, Target
from tests.support import operators, verifying
from tests.support.migration_files import written
from tests.support.operators import as_role, options
from tests.support.servers import TestServer

STYLES = {
    "German": {"datestyle": "German, DMY", "intervalstyle": "sql_standard", "timezone": "Asia/Kathmandu"},
    "SQL": {"datestyle": "SQL, MDY", "intervalstyle": "postgres_verbose", "timezone": "America/St_Johns"},
    "Postgres": {"datestyle": "Postgres, DMY", "intervalstyle": "iso_8601", "timezone": "Pacific/Kiritimati"},
}
OTHERS = {
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "default_tablespace": "",
    "statement_timeout": "1",
    "lock_timeout": "1",
    "idle_session_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "client_min_messages": "error",
    "search_path": "nowhere",
    "check_function_bodies": "off",
    "jit_above_cost": "0",
    "enable_seqscan": "off",
}


@pytest.fixture(params=STYLES)
def styled(request: pytest.FixtureRequest, server: TestServer, built: Target) -> Iterator[Target]:
    """Return the baseline with unusual settings for all its sessions, as a role that has others again sees it."""
    for name, value in {**STYLES[request.param], **OTHERS}.items():
        server.execute(f"ALTER DATABASE \"{built.database}\" SET {name} = '{value}'")
    if server.session().info.server_version >= 170000:
        server.execute(f"ALTER DATABASE \"{built.database}\" SET transaction_timeout = '50ms'")
    if server.execute("SELECT current_setting('restrict_nonsystem_relation_kind', true)") != [(None,)]:
        server.execute(f"ALTER DATABASE \"{built.database}\" SET restrict_nonsystem_relation_kind = 'view'")
    with operators.role(server, "SUPERUSER LOGIN") as role:
        server.execute(f"ALTER ROLE {role} SET datestyle = 'SQL, DMY'")
        server.execute(f"ALTER ROLE {role} IN DATABASE \"{built.database}\" SET lc_monetary = 'C'")
        yield as_role(built, role)
        server.execute(f'DROP DATABASE IF EXISTS "{built.database}" WITH (FORCE)')


def fingerprint(target: Target) -> str:
    with postgres.connect(target) as connection:
        return catalog.fingerprint(catalog.schema_text(connection))


@pytest.mark.slow
def test_every_verb_works_under_any_settings(styled: Target, built: Target, tmp_path: Path) -> None:
    files = discover(MIGRATIONS)
    found = status.status(styled, files)
    assert found.consistent
    assert found.label == Label("dev", native=True)
    assert all(item.entry and item.entry.applied_at.utcoffset() is not None for item in found.items)
    assert existing.migrate(styled, files).applied == ()
    assert verifying.verify(styled, CHECKS, baseline=True).passed
    assert not drift(styled, files, schema=None).found
    expected = fingerprint(styled)
    with postgres.connect(replace(styled, parameters=built.parameters)) as connection:
        assert "erDiagram" in diagram(connection)
    assert rebuild.rebuild(styled, options()).fingerprint == expected
    assert fingerprint(styled) == expected


def test_newest_time_is_written_in_the_same_way_under_any_settings(server: TestServer, styled: Target) -> None:
    statements = (
        "CREATE TABLE public.ticks (at timestamptz PRIMARY KEY)",
        "INSERT INTO public.ticks VALUES ('2024-03-31 12:00:00+00')",
    )
    with postgres.connect(styled) as connection:
        for statement in statements:
            connection.execute(statement.encode())
    (ticks,) = (table for table in look_inside(styled).tables if table.name == "public.ticks")
    assert ticks.newest == "2024-03-31 12:00:00+00"


@pytest.mark.parametrize("header", ["", "-- migrate: no-transaction\n"])
def test_migrations_run_with_the_same_settings_in_any_environment(
    empty: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    table = (
        "CREATE TABLE public.t AS SELECT current_setting('datestyle') AS style, current_setting('timezone') AS zone;"
    )
    migrate(empty, written(tmp_path, header + table, header + table.replace("public.t", "public.u")))
    with postgres.connect(empty) as connection:
        for name in ("t", "u"):
            rows = connection.execute(f"SELECT style, zone FROM public.{name}".encode()).fetchall()
            assert rows == [("ISO, MDY", "UTC")]


@pytest.mark.parametrize("verb", ["db.status", "db.migrate", "db.drift", "db.verify"])
def test_tasks_end_as_ever_under_a_style_of_dates_that_is_not_iso(server: TestServer, built: Target, verb: str) -> None:
    server.execute(f"ALTER DATABASE \"{built.database}\" SET datestyle = 'German, DMY'")
    done = operators.invoke(verb, target=built)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
