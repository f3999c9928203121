"""What lint takes from the files before a migration: tables in use, hypertables, columns without nulls."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.lint import schema
from dbops.lint.rules import is_wider
from dbops.lint.schema import Schema


def after(directory: Path, *texts: str) -> Schema:
    """Return the schema that a file sees which follows some others."""
    for number, text in enumerate(texts, start=1):
        (directory / f"{number:04}_do_step.sql").write_text(text)
    return schema.before(directory / "9999_last_step.sql")


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("CREATE TABLE public.a (b integer);", {"public.a"}),
        ("CREATE TABLE IF NOT EXISTS A (b integer);", {"public.a"}),
        ('CREATE UNLOGGED TABLE s . "A" (b integer);', {"s.A"}),
        ("/* CREATE TABLE a (b integer); */ SELECT 'CREATE TABLE c (d integer);';", set()),
        ("CREATE TABLE a (b integer); CREATE TABLE c (d integer); DROP TABLE IF EXISTS a, s.c;", {"public.c"}),
        ("CREATE TABLE a (b integer); CREATE TABLE c (d integer); DROP TABLE a, public . c CASCADE;", set()),
        ("CREATE TABLE a (b integer); ALTER TABLE a RENAME TO c;", {"public.c"}),
        ("CREATE TABLE a (b integer); ALTER TABLE IF EXISTS a SET SCHEMA s;", {"s.a"}),
        ("CREATE TABLE a (b integer); ALTER TABLE a RENAME COLUMN b TO c;", {"public.a"}),
    ],
)
def test_tables_are_those_that_earlier_files_leave(tmp_path: Path, sql: str, tables: set[str]) -> None:
    assert after(tmp_path, sql).tables == tables


@pytest.mark.parametrize(
    "made",
    [
        "SELECT create_hypertable('a', 'b');",
        "SELECT public.create_hypertable(relation => 'public.a', dimension => by_range('b'));",
        "SELECT * FROM create_hypertable ( 'public.A', 'b', migrate_data => true );",
    ],
)
def test_hypertable_is_what_an_earlier_file_made_one(tmp_path: Path, made: str) -> None:
    assert after(tmp_path, "CREATE TABLE a (b date NOT NULL);").hypertables == set()
    assert after(tmp_path, "CREATE TABLE a (b date NOT NULL);", made).hypertables == {"public.a"}


def test_hypertable_can_be_made_by_an_option(tmp_path: Path) -> None:
    found = after(tmp_path, "CREATE TABLE a (b date NOT NULL) WITH (tsdb.hypertable, tsdb.partition_column = 'b');")
    assert found.hypertables == {"public.a"}


@pytest.mark.parametrize(("moved", "name"), [("RENAME TO c", "public.c"), ("SET SCHEMA s", "s.a")])
def test_hypertable_stays_one_under_another_name(tmp_path: Path, moved: str, name: str) -> None:
    made = "CREATE TABLE a (b date NOT NULL); SELECT create_hypertable('a', 'b');"
    assert after(tmp_path, made, f"ALTER TABLE a {moved};").hypertables == {name}


def test_column_of_a_table_that_is_made_again_may_hold_nulls(tmp_path: Path) -> None:
    texts = ("CREATE TABLE a (b integer NOT NULL);", "DROP TABLE a;", "CREATE TABLE a (b integer);")
    assert after(tmp_path, texts[0]).not_null == {("public.a", "b")}
    assert after(tmp_path, *texts).not_null == set()


def test_nothing_that_was_known_of_a_table_counts_for_another_one_of_its_name(tmp_path: Path) -> None:
    full = "CREATE TABLE a (b integer NOT NULL, c varchar(9), CONSTRAINT a_b CHECK (b > 0)) PARTITION BY RANGE (b);"
    default = "CREATE TABLE d PARTITION OF a DEFAULT;"
    proof = "ALTER TABLE a ADD CONSTRAINT a_c CHECK (c IS NOT NULL) NOT VALID;"
    plain = "CREATE TABLE a (b integer, c text);"
    for gone in ("DROP TABLE a;", "ALTER TABLE a RENAME TO old;"):
        found = after(tmp_path, full, default, proof, gone, plain, "ALTER TABLE a VALIDATE CONSTRAINT a_c;")
        assert found.tables >= {"public.a", "public.d"}
        assert not {"public.a"} & (found.partitioned | found.defaults)
        assert not {name for name in found.not_null if name[0] == "public.a"}
        assert found.types["public.a", "c"] == "text"
    assert found.partitioned == found.defaults == {"public.old"}
    assert found.not_null == {("public.old", "b")}


@pytest.mark.parametrize(
    ("changed", "not_null"),
    [
        ("ALTER TABLE a RENAME COLUMN b TO d;", {("public.a", "d")}),
        ("ALTER TABLE a RENAME b TO d; ALTER TABLE a ADD b integer;", {("public.a", "d")}),
        ("ALTER TABLE a DROP COLUMN IF EXISTS b; ALTER TABLE a ADD COLUMN b integer;", set()),
        ("ALTER TABLE a DROP b;", set()),
        ("ALTER TABLE a ALTER COLUMN b DROP NOT NULL;", set()),
        ("ALTER TABLE a DROP CONSTRAINT b;", {("public.a", "b")}),
        ("ALTER TABLE a ALTER COLUMN b DROP DEFAULT;", {("public.a", "b")}),
    ],
)
def test_column_without_nulls_is_known_by_its_present_name(
    tmp_path: Path, changed: str, not_null: set[tuple[str, str]]
) -> None:
    assert after(tmp_path, "CREATE TABLE a (b integer NOT NULL, c integer);", changed).not_null == not_null


def test_check_that_proves_a_column_is_known_by_its_present_name(tmp_path: Path) -> None:
    made = "CREATE TABLE a (b integer);"
    renamed = "ALTER TABLE a RENAME CONSTRAINT a_b_check TO a_b_known;"
    validate = "ALTER TABLE a VALIDATE CONSTRAINT a_b_known;"
    assert after(tmp_path, made, CHECK, renamed, validate).not_null == {("public.a", "b")}
    assert after(tmp_path, made, CHECK, VALIDATE, renamed, "ALTER TABLE a DROP CONSTRAINT a_b_known;").not_null == set()
    assert after(tmp_path, made, CHECK, "ALTER TABLE a RENAME b TO c;", VALIDATE).not_null == {("public.a", "c")}


def test_later_files_and_the_file_itself_do_not_count(tmp_path: Path) -> None:
    assert after(tmp_path, "CREATE TABLE a (b integer);").tables == {"public.a"}
    (tmp_path / "9999_last_step.sql").write_text("CREATE TABLE c (d integer);")
    (tmp_path / "10000_later_step.sql").write_text("CREATE TABLE e (f integer);")
    assert schema.before(tmp_path / "9999_last_step.sql").tables == {"public.a"}


def test_baseline_has_no_table_in_use() -> None:
    migrations = Path(__file__).parents[2] / "db" / "migrations"
    assert schema.before(next(migrations.glob("0006_*"))) == Schema()
    found = schema.before(migrations / "0007_next_step.sql")
    assert found.hypertables == {"public.ohlcv"}
    assert len(found.tables) == 6


CHECK = "ALTER TABLE a ADD CONSTRAINT a_b_check CHECK (b IS NOT NULL) NOT VALID;"
VALIDATE = "ALTER TABLE public.a VALIDATE CONSTRAINT a_b_check;"


@pytest.mark.parametrize(
    ("statements", "proven"),
    [
        ((CHECK,), False),
        ((CHECK, VALIDATE), True),
        ((VALIDATE,), False),
        ((CHECK.replace(" NOT VALID", ""),), True),
        ((CHECK, VALIDATE.replace("_b_", "_c_")), False),
        ((CHECK, VALIDATE, "ALTER TABLE a DROP CONSTRAINT a_b_check;"), False),
        ((CHECK.replace("b IS NOT NULL", "b IS NOT NULL OR c"), VALIDATE), False),
    ],
)
def test_validated_check_proves_that_a_column_holds_no_null(
    tmp_path: Path, statements: tuple[str, ...], proven: bool
) -> None:
    found = after(tmp_path, "CREATE TABLE a (b integer);", *statements)
    assert found.not_null == ({("public.a", "b")} if proven else set())


def test_types_of_columns_that_no_check_names_are_known(tmp_path: Path) -> None:
    found = after(
        tmp_path,
        "CREATE TABLE a (b varchar(10) NOT NULL, c numeric(10, 2), d text CHECK (d <> ''), CHECK (c > 0));",
        "ALTER TABLE a ADD COLUMN e double precision DEFAULT 1, ADD f integer;",
        "ALTER TABLE a ADD CONSTRAINT a_f_check CHECK (f > 0) NOT VALID, ALTER b TYPE text;",
    )
    assert found.types == {("public.a", "e"): "doubleprecision"}
    assert ("public.a", "b") in found.not_null


@pytest.mark.parametrize(
    ("old", "new", "wider"),
    [
        ("varchar(10)", "varchar(20)", True),
        ("varchar(10)", "text", True),
        ("text", "varchar", True),
        ("numeric(10,2)", "numeric(12,2)", True),
        ("numeric(10,2)", "numeric", True),
        ("varchar(10)", "varchar(9)", False),
        ("text", "varchar(10)", False),
        ("numeric(10,2)", "numeric(12,4)", False),
        ("numeric", "numeric(10,2)", False),
        ("varchar(10)", "numeric", False),
        ("integer", "bigint", False),
        ("", "text", False),
        ("varchar(10)", "textusinglower(b)", False),
    ],
)
def test_type_is_wider_where_no_row_need_be_read(old: str, new: str, wider: bool) -> None:
    assert is_wider(old, new) is wider
