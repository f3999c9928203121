"""What migrations lock is measured in a scratch database, and headers say no less."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.errors import MigrationError
from dbops.migrations.files import discover
from dbops.migrations.locks import described, parse
from dbops.migrations.rehearsal import assert_declared, rehearse
from dbops.settings import ROOT, Target
from tests.support.migration_files import written

BASELINE = discover(ROOT / "db" / "migrations")
TABLES = (
    "CREATE TABLE public.a (id integer PRIMARY KEY, n integer);"
    "CREATE TABLE public.b (id integer PRIMARY KEY, a_id integer);"
)


@pytest.mark.parametrize("number", range(len(BASELINE)))
def test_header_of_each_file_says_what_it_locks(empty: Target, number: int) -> None:
    [measured] = rehearse(empty, BASELINE[: number + 1], BASELINE[number : number + 1])
    assert measured.problem == ""
    assert parse(measured.locks) == parse(measured.declared)


@pytest.mark.parametrize(
    ("text", "locks", "rewritten", "scanned"),
    [
        ("ALTER TABLE public.a ADD COLUMN m integer;", "ACCESS EXCLUSIVE on public.a", (), ()),
        ("ALTER TABLE public.a ALTER n TYPE bigint;", "ACCESS EXCLUSIVE on public.a", ("public.a",), ("public.a",)),
        (
            "ALTER TABLE public.b ADD CONSTRAINT b_a_id_fkey FOREIGN KEY (a_id) REFERENCES public.a NOT VALID;",
            "SHARE ROW EXCLUSIVE on public.a, public.b",
            (),
            (),
        ),
        ("CREATE INDEX a_n_idx ON public.a (n);", "SHARE on public.a", (), ("public.a",)),
        ("COMMENT ON TABLE public.a IS 'a';", "SHARE UPDATE EXCLUSIVE on public.a", (), ()),
        ("CREATE TABLE public.c (id integer PRIMARY KEY); ALTER TABLE public.c ADD n integer;", "none", (), ()),
        ("DO $$ BEGIN PERFORM count(*) FROM public.a; END $$;", "none", (), ("public.a",)),
    ],
)
def test_locks_rewrites_and_scans_are_measured(
    empty: Target, tmp_path: Path, text: str, locks: str, rewritten: tuple[str, ...], scanned: tuple[str, ...]
) -> None:
    migrations = written(tmp_path, TABLES, text)
    [measured] = rehearse(empty, migrations, migrations[1:])
    assert measured.locks == locks
    assert tuple(t for statement in measured.statements for t in statement.rewritten) == rewritten
    assert tuple(t for statement in measured.statements for t in statement.scanned) == scanned


def test_file_outside_a_transaction_is_measured_beside_a_materialized_view(empty: Target, tmp_path: Path) -> None:
    view = "CREATE MATERIALIZED VIEW public.m AS SELECT 1 AS n;"
    alone = "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY a_n ON public.a (n);"
    migrations = written(tmp_path, TABLES, view, alone)
    (measured,) = rehearse(empty, migrations, migrations[2:])
    assert measured.locks == "SHARE UPDATE EXCLUSIVE on public.a"


def test_lock_of_a_materialized_view_is_measured(empty: Target, tmp_path: Path) -> None:
    view = "CREATE MATERIALIZED VIEW public.m AS SELECT count(*) AS number FROM public.a;"
    migrations = written(tmp_path, TABLES + view, "REFRESH MATERIALIZED VIEW public.m;")
    [measured] = rehearse(empty, migrations, migrations[1:])
    assert measured.locks == "ACCESS EXCLUSIVE on public.m"


@pytest.mark.parametrize(
    ("text", "locks"),
    [
        ("CREATE INDEX CONCURRENTLY a_n_idx ON public.a (n);", "SHARE UPDATE EXCLUSIVE on public.a"),
        ("VACUUM FULL public.a;", "ACCESS EXCLUSIVE on public.a"),
    ],
)
def test_locks_of_a_file_outside_transactions_are_measured(
    empty: Target, tmp_path: Path, text: str, locks: str
) -> None:
    migrations = written(tmp_path, TABLES, "-- migrate: no-transaction\n" + text)
    [measured] = rehearse(empty, migrations, migrations[1:])
    assert measured.locks == locks


HYPERTABLE = """
CREATE EXTENSION timescaledb;
CREATE TABLE public.known (id uuid PRIMARY KEY, name text NOT NULL CHECK (name <> ''));
CREATE TABLE public.h (d date NOT NULL, known_id uuid NOT NULL REFERENCES public.known, n integer NOT NULL);
SELECT public.create_hypertable('public.h', 'd', chunk_time_interval => interval '30 days');
CREATE TABLE public.plain (d date NOT NULL);
CREATE TABLE public.parts (n integer) PARTITION BY LIST (n);
CREATE TABLE public.part PARTITION OF public.parts FOR VALUES IN (1);
"""


@pytest.mark.parametrize(
    ("text", "locks"),
    [
        ("REINDEX TABLE public.h;", "SHARE on public.h"),
        ("SELECT public.drop_chunks('public.h', interval '1 year');", "ACCESS EXCLUSIVE on public.h"),
        ("ALTER TABLE public.h ADD COLUMN m integer;", "ACCESS EXCLUSIVE on public.h"),
        (
            "-- migrate: no-transaction\nALTER TABLE public.parts DETACH PARTITION public.part CONCURRENTLY;",
            "ACCESS EXCLUSIVE on public.part; SHARE UPDATE EXCLUSIVE on public.parts",
        ),
        (
            "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY ON public.plain (d);".replace("Y ON", "Y i ON"),
            "SHARE UPDATE EXCLUSIVE on public.plain",
        ),
    ],
)
@pytest.mark.slow
def test_locks_of_chunks_and_partitions_are_measured(empty: Target, tmp_path: Path, text: str, locks: str) -> None:
    migrations = written(tmp_path, HYPERTABLE, text)
    [measured] = rehearse(empty, migrations, migrations[1:])
    strongest = parse(measured.locks) or {}
    strongest.pop("public.known", None)
    assert described(strongest) == locks


RUNS_AS_A_WHOLE = {
    "a temporary table": "CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT 1 AS n; INSERT INTO kept VALUES (2);",
    "SET LOCAL": "SET LOCAL search_path = pg_temp, public; CREATE TABLE public.c (); ALTER TABLE c ADD n integer;",
    "deferred constraints": "ALTER TABLE public.a ADD CONSTRAINT a_n UNIQUE (n) DEFERRABLE INITIALLY DEFERRED;"
    "INSERT INTO public.a VALUES (1, 1); INSERT INTO public.a VALUES (2, 1); DELETE FROM public.a WHERE id = 1;",
    "a cursor": "DECLARE c CURSOR FOR SELECT 1; FETCH c;",
}


@pytest.mark.parametrize("kind", RUNS_AS_A_WHOLE)
def test_file_that_db_migrate_applies_can_be_rehearsed(empty: Target, tmp_path: Path, kind: str) -> None:
    migrations = written(tmp_path, TABLES, RUNS_AS_A_WHOLE[kind], "CREATE TABLE public.last ();")
    rehearse(empty, migrations, migrations[1:])


def test_statement_whose_locks_depend_on_rows_is_not_called_measured(empty: Target, tmp_path: Path) -> None:
    block = "DO $$ BEGIN IF EXISTS (SELECT FROM public.a) THEN LOCK TABLE public.b; END IF; END $$;"
    migrations = written(tmp_path, TABLES, f"SELECT 1;\n{block}")
    [measured] = rehearse(empty, migrations, migrations[1:])
    assert measured.unmeasured == (2,)


def test_statements_of_one_file_are_measured_each_by_itself(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLES, "DROP TABLE public.b;\nCREATE INDEX ON public.a (n);\nTABLE public.a;")
    [measured] = rehearse(empty, migrations, migrations[1:])
    assert [statement.locks.get("public.a", "") for statement in measured.statements] == ["", "SHARE", "ACCESS SHARE"]
    assert [statement.scanned for statement in measured.statements] == [(), ("public.a",), ("public.a",)]
    assert [statement.line for statement in measured.statements] == [1, 2, 3]
    assert measured.locks == "ACCESS EXCLUSIVE on public.b; SHARE on public.a"


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("", "its header declares no locks"),
        ("-- Locks: none\n", "its header does not declare ACCESS EXCLUSIVE on public.a"),
        ("-- Locks: SHARE on public.a\n", "its header does not declare ACCESS EXCLUSIVE on public.a"),
        ("-- Locks: a short one\n", 'invalid locks "a short one"'),
        ("-- Locks: ACCESS EXCLUSIVE on public.a (for an instant)\n", ""),
        ("-- Locks: ACCESS EXCLUSIVE on public.b, public.a;\n--        SHARE on public.c\n", ""),
    ],
)
def test_header_that_says_less_is_an_error_with_the_line_to_paste(
    empty: Target, tmp_path: Path, header: str, problem: str
) -> None:
    migrations = written(tmp_path, TABLES, f"{header}ALTER TABLE public.a ADD m integer;")
    measured = rehearse(empty, migrations, migrations[1:])
    assert measured[0].problem.startswith(problem)
    if problem:
        with pytest.raises(MigrationError) as failure:
            assert_declared(measured)
        assert "-- Locks: ACCESS EXCLUSIVE on public.a" in failure.value.notes[0]
    else:
        assert_declared(measured)


def test_rehearsal_that_fails_says_where(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLES, "SELECT 1;\nALTER TABLE public.a ADD n integer;")
    with pytest.raises(MigrationError, match="0002_do_step2 failed") as failure:
        rehearse(empty, migrations, migrations[1:])
    assert failure.value.location is not None
    assert failure.value.location.line == 2
    assert "nothing was applied to the target" in failure.value.advice


@pytest.mark.parametrize("text", ["none", "SHARE on public.a; ROW SHARE on public.b, public.c"])
def test_declared_locks_are_written_as_they_are_read(text: str) -> None:
    assert described(parse(text) or {}) == text
