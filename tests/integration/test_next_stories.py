"""What the next stories add: beside its migration, each edits db/schema.txt alone, by `db.fingerprint --write`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dbops.database import rebuild, schema
from dbops.migrations.files import discover
from dbops.migrations.run import migrate
from dbops.settings import CHECKS, MIGRATIONS, Target
from tests.support import operators, restores, servers
from tests.support.servers import TestServer

HEAD = "-- Why:   the next story.\n-- Needs: 0006.\n-- Locks: {}\n\n"
TABLE = """CREATE TABLE public.splits (
    ticker_id uuid NOT NULL,
    day date NOT NULL,
    kind varchar(8) NOT NULL,
    CONSTRAINT splits_pkey PRIMARY KEY (ticker_id, day),
    CONSTRAINT splits_kind_check CHECK (kind::text IN ('forward', 'reverse'))
);
CREATE INDEX splits_day_idx ON public.splits (day) WHERE kind::text IN ('forward', 'reverse');
"""
HYPERTABLE = """SELECT public.create_hypertable(
    'public.options_chains', 'time', chunk_time_interval => interval '7 days', migrate_data => true
);
"""
POLICIES = """ALTER TABLE public.options_chains SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'ticker_id', timescaledb.compress_orderby = 'time DESC'
);
SELECT public.add_compression_policy('public.options_chains', interval '30 days');
SELECT public.add_retention_policy('public.options_chains', interval '730 days');
"""
VIEW = "CREATE VIEW public.active_tickers AS SELECT symbol FROM public.tickers WHERE is_active;\n"
MATERIALIZED = """CREATE MATERIALIZED VIEW public.phases AS
SELECT wyckoff_phase, count(*) AS snapshots FROM public.daily_snapshots
WHERE wyckoff_phase::text IN ('A', 'B') GROUP BY wyckoff_phase;
"""


@pytest.fixture
def directory(built: Target, tmp_path: Path) -> Path:
    """Return the migrations with four more; the edition decides whether the hypertable has policies."""
    shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    free = servers.rows(built, "SHOW timescaledb.license") == [("timescale",)]
    exclusive = "ACCESS EXCLUSIVE on public.options_chains"
    for number, (name, locks, text) in enumerate(
        (
            ("create_splits", "none", TABLE),
            ("partition_options_chains", exclusive, HYPERTABLE + POLICIES * free),
            ("create_active_tickers", "none", VIEW),
            ("create_phases", "none", MATERIALIZED),
        ),
        start=7,
    ):
        (tmp_path / "migrations" / f"{number:04}_{name}.sql").write_text(HEAD.format(locks) + text)
    return tmp_path / "migrations"


@pytest.mark.slow
def test_story_edits_nothing_but_the_expected_schema_beside_its_migration(
    built: Target, directory: Path, tmp_path: Path
) -> None:
    files, path = discover(directory), tmp_path / "schema.txt"
    migrate(built, files)
    outdated = schema.verify(built, files)
    names = {check.name: check.change for check in outdated.failed}
    assert names["table public.splits"] == names["view public.active_tickers"] == "extra"
    assert names["materialized view public.phases"] == "extra"
    assert names["table public.options_chains"] == "changed"
    assert {check.file for check in outdated.failed} == {"db/schema.txt"}
    assert outdated.advice[0].startswith("db/schema.txt is older than the migrations: run `invoke db.fingerprint")
    new = schema.new_schema(built, files, path)
    path.write_text(new.content)
    assert schema.verify(built, files, schema=path, baseline=True).failed == ()
    assert not schema.drift(built, files, schema=path).found
    assert not schema.drift(built, files, schema=None).found
    options = operators.options(migrations=directory, checks=CHECKS, schema=path)
    assert rebuild.rebuild(built, options).fingerprint == new.fingerprint
    assert not schema.new_schema(built, files, path).objects


@pytest.mark.slow
def test_stories_survive_a_dump_and_restore(own_server: TestServer, directory: Path, tmp_path: Path) -> None:
    files, path = discover(directory), tmp_path / "schema.txt"
    with servers.database(own_server) as target:
        migrate(target, files)
        path.write_text(schema.new_schema(target, files, path).content)
        with restores.restored(own_server, target, tmp_path / "dump") as copy:
            assert schema.drift(copy, files, schema=path).objects == ()


@pytest.mark.slow
def test_drifted_database_is_never_written_into_the_expected_schema(built: Target, tmp_path: Path) -> None:
    files, path = discover(MIGRATIONS), tmp_path / "schema.txt"
    servers.run(built, "CREATE TABLE public.stray (id integer)")
    new = schema.new_schema(built, files, path)
    assert "stray" not in new.content
    assert {item.change for item in new.objects} == {"extra"}
