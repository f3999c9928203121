"""A commit for each file, where the operator or the file asks for it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from dbops.database.status import status
from dbops.errors import MigrationError, UsageError
from dbops.migrations.files import discover
from dbops.migrations.ledger import State
from dbops.migrations.options import MigrationOptions
from dbops.migrations.run import migrate, plan
from dbops.settings import Target
from tests.support import servers
from tests.support.migration_files import write, written

TABLE = "CREATE TABLE public.t (n integer);"
OWN = "-- migrate: own-transaction\n"


def states(target: Target, directory: Path) -> list[State]:
    """Return the state of each version."""
    return [item.state for item in status(target, discover(directory)).items]


def test_commit_of_each_file_keeps_what_came_before_a_failure(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLE, "ALTER TABLE public.t ADD m integer;", "SELECT 1 / 0;", "SELECT 4;")
    with pytest.raises(MigrationError) as failure:
        migrate(empty, migrations, MigrationOptions(commit="file"))
    assert failure.value.state == (
        f"0001_do_step1 to 0002_do_step2 are committed in {empty.database}; nothing after them was applied."
    )
    assert states(empty, tmp_path) == [State.APPLIED, State.APPLIED, State.PENDING, State.PENDING]
    result = migrate(empty, discover(write(tmp_path, "SELECT 3;", first=3)), MigrationOptions(commit="file"))
    assert (len(result.applied), result.transactions) == (2, 2)


def test_file_with_a_transaction_of_its_own_splits_the_others(empty: Target, tmp_path: Path) -> None:
    migrations = written(tmp_path, TABLE, "SELECT 2;", f"{OWN}SELECT 3;", "SELECT 4;", "SELECT 1 / 0;")
    assert [item.transaction for item in plan(empty, migrations).pending] == [1, 1, 2, 3, 3]
    with pytest.raises(MigrationError, match="0005_do_step5 failed") as failure:
        migrate(empty, migrations)
    assert "0001_do_step1 to 0003_do_step3 are committed" in failure.value.advice
    assert states(empty, tmp_path) == [State.APPLIED] * 3 + [State.PENDING] * 2


def test_value_of_an_enum_can_be_used_after_a_transaction_of_its_own(empty: Target, tmp_path: Path) -> None:
    texts = (
        "CREATE TYPE public.c AS ENUM ('a'); CREATE TABLE public.t (c public.c);",
        f"{OWN}ALTER TYPE public.c ADD VALUE 'b';",
        "ALTER TABLE public.t ALTER c SET DEFAULT 'b';",
    )
    assert migrate(empty, written(tmp_path, *texts)).transactions == 3


def test_unknown_value_of_commit_is_wrong_usage(empty: Target, tmp_path: Path) -> None:
    for function in (migrate, plan):
        with pytest.raises(UsageError, match='invalid value "some"'):
            function(empty, written(tmp_path, TABLE), MigrationOptions(commit="some"))


def test_plan_warns_of_a_strong_lock_that_is_held_while_later_files_run(empty: Target, tmp_path: Path) -> None:
    migrate(empty, written(tmp_path, TABLE))
    strong = "-- Locks: ACCESS EXCLUSIVE on public.t\nALTER TABLE public.t ADD m integer;"
    weak = "-- Locks: SHARE UPDATE EXCLUSIVE on public.t; ACCESS SHARE on public.t\nSELECT 1;"
    migrations = discover(write(tmp_path, strong, weak, "SELECT 4;", first=2))
    assert plan(empty, migrations).warnings == (
        "0002_do_step2 locks public.t (ACCESS EXCLUSIVE) until 2 later files have run: use `--commit file`, "
        "or `-- migrate: own-transaction` in its header",
    )
    assert plan(empty, migrations, MigrationOptions(commit="file")).warnings == ()
    assert plan(empty, migrations, MigrationOptions(to=2)).warnings == ()


def test_plan_does_not_warn_of_tables_that_are_not_there_yet(empty: Target, tmp_path: Path) -> None:
    texts = (TABLE, "-- Locks: ACCESS EXCLUSIVE on public.t\nALTER TABLE public.t ADD m integer;", "SELECT 3;")
    assert plan(empty, written(tmp_path, *texts)).warnings == ()


@pytest.mark.parametrize(
    "second", ["ALTER TABLE public.t VALIDATE CONSTRAINT c;", 'alter table t validate constraint "c"']
)
def test_plan_warns_of_a_constraint_that_is_validated_where_it_is_made(
    empty: Target, tmp_path: Path, second: str
) -> None:
    migrate(empty, written(tmp_path, TABLE))
    first = "ALTER TABLE public.t\nADD CONSTRAINT c CHECK (n > 0) -- later\nNOT VALID;"
    migrations = discover(write(tmp_path, first, second, first=2))
    assert plan(empty, migrations).warnings == (
        "0003_do_step3 validates constraint c in the transaction in which 0002_do_step2 adds it: "
        "the lock of the first is held while the rows are read; use `--commit file`",
    )
    assert plan(empty, migrations, MigrationOptions(commit="file")).warnings == ()


@pytest.mark.slow
def test_readers_and_writers_are_blocked_for_no_longer_than_a_lock_timeout(built: Target, tmp_path: Path) -> None:
    """A migration waits behind a long transaction; a reader and a writer of ohlcv go on meanwhile."""
    migrations = discover(write_after_baseline(tmp_path))
    ticker = "INSERT INTO public.tickers (symbol) VALUES ('A') RETURNING id"
    with servers.connect(built) as connection:
        identifier = connection.execute(ticker.encode()).fetchall()[0][0]
    stop = threading.Event()
    longest = {"read": 0.0, "write": 0.0}

    def work(kind: str, statement: str) -> None:
        with servers.connect(built) as connection:
            while not stop.is_set():
                began = time.monotonic()
                connection.execute(statement.encode())
                longest[kind] = max(longest[kind], time.monotonic() - began)
                time.sleep(0.01)

    write_row = (
        f"INSERT INTO public.ohlcv (ticker_id, date, close) VALUES ('{identifier}', '2024-01-02', 1)"
        " ON CONFLICT (ticker_id, date) DO UPDATE SET close = excluded.close"
    )
    threads = [
        threading.Thread(target=work, args=("read", "SELECT count(*) FROM public.ohlcv")),
        threading.Thread(target=work, args=("write", write_row)),
    ]
    with servers.connect(built) as holder:
        holder.execute("BEGIN; SELECT FROM public.ohlcv")
        for thread in threads:
            thread.start()
        threading.Timer(4, holder.close).start()
        try:
            result = migrate(built, migrations, MigrationOptions(lock_timeout="400ms"))
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
    assert result.retries >= 2
    assert 0.2 < max(longest.values()) < 0.4 + 1.5


def write_after_baseline(directory: Path) -> Path:
    """Write the baseline's files and one more that alters ohlcv."""
    from shutil import copytree

    from dbops.settings import ROOT

    copied = copytree(ROOT / "db" / "migrations", directory / "migrations")
    (copied / f"{len(list(copied.glob('*.sql'))) + 1:04}_add_ohlcv_source.sql").write_text(
        "ALTER TABLE public.ohlcv ADD COLUMN source text;\n"
    )
    return copied
