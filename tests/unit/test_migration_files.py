"""Which files are valid migrations."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from dbops.errors import UsageError
from dbops.migrations.files import Header, discover, index_build, new_file, parse_header
from tests.support.migration_files import write, written

UNPRIVILEGED_UID = 65534


def refusal(directory: Path) -> str:
    """Return what discovery says against a directory."""
    with pytest.raises(UsageError) as refused:
        discover(directory)
    assert refused.value.exit_code == 2
    return refused.value.render()


def test_files_come_in_order_of_their_numbers(tmp_path: Path) -> None:
    found = written(tmp_path, *["SELECT 1;"] * 12)
    assert [migration.version for migration in found] == list(range(1, 13))
    assert found[9].name == "0010_do_step10"


def test_numbers_go_on_beyond_four_digits(tmp_path: Path) -> None:
    """The bench applies as many; here only the gap before the number is an error."""
    assert "10000_do_step10000.sql leaves a gap" in refusal(write(tmp_path, "SELECT 1;", first=10000))
    (tmp_path / "10000_do_step10000.sql").rename(tmp_path / "010000_do_step10000.sql")
    assert "must be named" in refusal(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "1_create_t.sql", "0001create_t.sql", "0001_create.sql", "0001_Create_t.sql", "0001_create-t.sql",
        "0001_create_t.SQL", "0001_create_t.txt", "0001_create_t.sql.sql", "00001_create_t.sql", "0000_create_t.sql",
        "create_t.sql", "0001_create__t.sql", "0001_créer_t.sql",
    ],
)  # fmt: skip
def test_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("SELECT 1;")
    assert f"{name} must be named NNNN_verb_object.sql" in refusal(tmp_path)


@pytest.mark.parametrize(
    "name", [".0001_a_b.sql.swp", "0001_a_b.sql~", "#0001_a_b.sql#", "0001_a_b.sql.orig", "README.md"]
)
def test_what_editors_leave_and_documents_are_passed_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("nonsense")
    assert len(written(tmp_path, "SELECT 1;")) == 1


def test_gap_is_refused_and_named(tmp_path: Path) -> None:
    write(tmp_path, "SELECT 1;", "SELECT 2;")
    write(tmp_path, "SELECT 4;", first=4)
    assert "0004_do_step4.sql leaves a gap: 0003 is missing" in refusal(tmp_path)


def test_first_number_is_one(tmp_path: Path) -> None:
    assert "leaves a gap: 0001 is missing" in refusal(write(tmp_path, "SELECT 1;", first=2))


def test_duplicate_number_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "SELECT 1;")
    (tmp_path / "0001_do_other.sql").write_text("SELECT 1;")
    with pytest.raises(UsageError) as refused:
        discover(tmp_path)
    assert refused.value.what == "0001_do_step1.sql has the same number as 0001_do_other"
    assert "`invoke db.new 0001_do_step1.sql --renumber`" in refused.value.hint


@pytest.mark.parametrize("text", ["", "\n \n", "\ufeff", "-- only a comment\n", "/* a */ ;"])
def test_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    said = refusal(write(tmp_path, text))
    assert "is empty" in said or "has comments only" in said


def test_file_that_is_not_utf8_is_refused_with_line_and_byte(tmp_path: Path) -> None:
    assert "is not UTF-8: byte 0xe9 in line 2" in refusal(write(tmp_path, "-- a\n-- é\n".encode("latin-1")))


def test_utf16_is_recognised(tmp_path: Path) -> None:
    assert "it looks like UTF-16" in refusal(write(tmp_path, "SELECT 1;".encode("utf-16")))


def test_nul_is_refused_with_its_position(tmp_path: Path) -> None:
    assert "0001_do_step1.sql:2:3" in refusal(write(tmp_path, "SELECT 1;\n--\0\n"))


def test_byte_order_mark_and_crlf_do_not_change_the_checksum(tmp_path: Path) -> None:
    plain, marked, windows = (
        written(tmp_path / name, content)[0]
        for name, content in (
            ("plain", b"SELECT 1;\nSELECT 2;\n"),
            ("marked", b"\xef\xbb\xbfSELECT 1;\nSELECT 2;\n"),
            ("windows", b"SELECT 1;\r\nSELECT 2;\r\n"),
        )
    )
    assert plain.checksum == marked.checksum == windows.checksum


def test_comment_changes_the_checksum(tmp_path: Path) -> None:
    before = written(tmp_path, "SELECT 1;")[0].checksum
    assert written(tmp_path, "SELECT 1; -- one")[0].checksum != before


def test_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_create_t.sql").mkdir()
    assert "is a directory" in refusal(tmp_path)


def test_fifo_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "0001_create_t.sql")
    assert "is not a regular file" in refusal(tmp_path)


def test_symlink_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside.sql"
    outside.write_text("SELECT 1;")
    inside = tmp_path / "migrations"
    inside.mkdir()
    (inside / "0001_create_t.sql").symlink_to(outside)
    assert "is a symlink out of the migrations directory" in refusal(inside)


@pytest.mark.parametrize("goal", ["nowhere.sql", "0001_create_t.sql"])
def test_symlink_to_nothing_or_itself_is_refused(tmp_path: Path, goal: str) -> None:
    (tmp_path / "0001_create_t.sql").symlink_to(goal)
    assert "cannot be read" in refusal(tmp_path)


def test_unreadable_file_is_refused() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        write(directory, "SELECT 1;")
        (directory / "0001_do_step1.sql").chmod(0o000)
        user = os.geteuid()
        if user == 0:
            os.seteuid(UNPRIVILEGED_UID)
        try:
            assert "cannot be read: Permission denied" in refusal(directory)
        finally:
            os.seteuid(user)


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    assert "cannot read the migrations directory" in refusal(tmp_path / "nowhere")


def test_empty_directory_has_no_migrations(tmp_path: Path) -> None:
    assert discover(tmp_path) == ()


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path, "SELECT 1;", "", "\\d")
    (tmp_path / "nonsense.sql").write_text("SELECT 1;")
    said = refusal(tmp_path)
    assert "3 problems" in said
    assert "is empty" in said
    assert "0003_do_step3.sql:1:1 contains a backslash command" in said
    assert "nonsense.sql must be named" in said


def test_very_many_problems_are_cut_short(tmp_path: Path) -> None:
    said = refusal(write(tmp_path, *[""] * 30))
    assert "30 problems" in said
    assert said.count(" is empty") == 20
    assert "and 10 more" in said


@pytest.mark.parametrize(
    "statement",
    [
        "BEGIN", "begin work", "START TRANSACTION", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT a",
        "RELEASE a", "ROLLBACK TO a", "PREPARE TRANSACTION 'a'", "COMMIT PREPARED 'a'",
    ],
)  # fmt: skip
def test_transaction_control_is_refused_with_its_position(tmp_path: Path, statement: str) -> None:
    said = refusal(write(tmp_path, f"SELECT 1;\n  {statement};\n"))
    assert "must not contain transaction control" in said
    assert "0001_do_step1.sql:2:3" in said


@pytest.mark.parametrize("text", ["PREPARE p AS SELECT 1;", "DO $$ BEGIN NULL; END $$;", 'SELECT 1 AS "COMMIT";'])
def test_what_only_looks_like_transaction_control_is_valid(tmp_path: Path, text: str) -> None:
    assert len(written(tmp_path, text)[0].statements) == 1


@pytest.mark.parametrize(
    "text",
    [
        "COPY public.t (a, b) FROM STDIN;\n1\t2\n\\.\n",
        "copy (select 1) to stdout with (format csv);",
        "COPY public.t FROM STDOUT;",
        "COPY BINARY public.t /* or */ TO -- not from\nstdin;",
    ],
)
def test_copy_from_and_to_the_client_is_refused(tmp_path: Path, text: str) -> None:
    assert "COPY from or to the client" in refusal(write(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        r"SET standard_conforming_strings = off; SELECT 'a\'; b';",
        r"set local standard_conforming_strings to 'off'; SELECT 'a\'; b';",
        "RESET standard_conforming_strings;",
        "SELECT pg_catalog.set_config('standard_conforming_strings', 'off', false);",
        "DO $$ BEGIN SET standard_conforming_strings = off; END $$;",
    ],
)
def test_setting_that_changes_where_statements_end_is_refused(tmp_path: Path, text: str) -> None:
    assert "changes standard_conforming_strings" in refusal(write(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        "SET standard_conforming_strings = on;",
        "SELECT set_config('standard_conforming_strings', 'on', false);",
        "COMMENT ON TABLE public.t IS 'not with standard_conforming_strings off';",
    ],
)
def test_setting_that_dumps_begin_with_is_valid(tmp_path: Path, text: str) -> None:
    assert len(written(tmp_path, text)[0].statements) == 1


def test_psql_command_is_refused_with_its_position(tmp_path: Path) -> None:
    said = refusal(write(tmp_path, "SELECT 1;\nSELECT 2 \\gset\n"))
    assert "0001_do_step1.sql:2:10" in said
    assert "backslash" in said


def test_header_says_what_the_runner_needs() -> None:
    text = """-- Why:   for a test.
-- Locks: ACCESS EXCLUSIVE on public.a,
--        SHARE on public.b.
-- lock-timeout: 2s
-- Statement_Timeout: 10min
--
-- migrate: no-transaction
SELECT 1; -- locks: not here
"""
    assert parse_header(text) == Header("ACCESS EXCLUSIVE on public.a, SHARE on public.b.", False, "2s", "10min")


@pytest.mark.parametrize(
    "line",
    [
        "migrate: no_transaction",
        "migrate: maybe",
        "lock-timeout: 2 parsecs",
        "lock-timeout: soon",
        "statement-timeout: -1s",
    ],
)
def test_directive_that_cannot_be_followed_is_refused(tmp_path: Path, line: str) -> None:
    assert "0001_do_step1.sql" in refusal(write(tmp_path, f"-- {line}\nSELECT 1;"))


@pytest.mark.parametrize(
    "line",
    [
        "-- migrate no-transaction",
        "-- no-transaction",
        "-- lock timeout: 2s",
        "-- lock-timeout 2s",
        "-- statement-timeout = 2s",
        "/* migrate: no-transaction */",
        "/* Why: x\n * lock-timeout: 2s\n */",
    ],
)
def test_directive_that_would_have_no_effect_is_refused(tmp_path: Path, line: str) -> None:
    assert "would have no effect" in refusal(write(tmp_path, f"{line}\nSELECT 1;"))


@pytest.mark.parametrize(
    "line",
    [
        "-- Why: the lock timeout of 2s is too short",
        "-- Needs: a file that says migrate: no-transaction",
        "-- migrate the rows of January",
    ],
)
def test_prose_about_directives_is_not_a_directive(line: str) -> None:
    header = parse_header(f"{line}\nSELECT 1;")
    assert (header.transactional, header.lock_timeout) == (True, "")


def test_block_comment_does_not_end_the_header() -> None:
    text = "/* (c)\n-- migrate: not-here */\n-- migrate: no-transaction\n;-- lock-timeout: 3s\nSELECT 1;"
    assert parse_header(text) == Header("", False, "3s", "")


@pytest.mark.parametrize(
    "text",
    [
        "DO $$ BEGIN\n-- lock-timeout: see wiki\nEND $$;",
        "SELECT $q$\n-- migrate: now\n$q$;",
        "SELECT '\n-- migrate: x';",
    ],
)
def test_text_that_looks_like_a_directive_is_ignored(tmp_path: Path, text: str) -> None:
    assert written(tmp_path, text + text)[0].header == Header()


def test_directive_given_twice_is_refused(tmp_path: Path) -> None:
    text = "-- lock-timeout: 1s\n-- lock-timeout: 2s\nSELECT 1;"
    assert 'has an error in its header: "lock-timeout" is given twice' in refusal(write(tmp_path, text))


def test_directive_below_the_first_statement_is_refused(tmp_path: Path) -> None:
    said = refusal(write(tmp_path, "SELECT 1;\n-- migrate: no-transaction\n"))
    assert "0001_do_step1.sql:2:1" in said
    assert "has no effect" in said


@pytest.mark.parametrize("named", ["", "IF NOT EXISTS ", "/* i */ "])
def test_index_outside_transactions_has_a_name(tmp_path: Path, named: str) -> None:
    text = "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY {} ON public.t (n);"
    assert "builds an index that is not named" in refusal(write(tmp_path, text.format(named)))
    assert written(tmp_path, text.format("i"))


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX CONCURRENTLY i ON public.t (n)",
        'create unique index concurrently if not exists"I x"ON only "t"(n)',
        "CREATE/**/INDEX i -- why\n ON t (n)",
    ],
)
def test_builds_are_read_whatever_stands_between(text: str) -> None:
    build = index_build(text)
    assert build
    assert build.name in ("i", '"I x"')
    assert build.table in ("public.t", "t", '"t"')


def test_file_outside_transactions_has_one_statement(tmp_path: Path) -> None:
    said = refusal(write(tmp_path, "-- migrate: no-transaction\nSELECT 1;\nSELECT 2;"))
    assert "has 2 statements: it must have one" in said


@pytest.mark.parametrize(
    ("text", "kept"), [("5", "5s"), ("0", "0"), ("250ms", "250ms"), ("2s", "2s"), ("1.5 min", "1.5 min")]
)
@pytest.mark.parametrize("key", ["lock-timeout", "lock-budget", "statement-timeout"])
def test_number_alone_is_seconds_in_a_header_as_in_an_option(key: str, text: str, kept: str) -> None:
    header = parse_header(f"-- {key}: {text}\nSELECT 1;")
    assert getattr(header, key.replace("-", "_")) == kept


@pytest.mark.parametrize("text", ["100us", "0.5ms", "999us"])
def test_duration_that_would_round_to_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no limit at all"):
        parse_header(f"-- lock-timeout: {text}\nSELECT 1;")


@pytest.mark.parametrize("text", ["2147483648ms", "25d", "9" * 5000 + "s"])
def test_duration_that_postgresql_cannot_store_is_refused(text: str) -> None:
    assert parse_header("-- lock-timeout: 2147483647ms\nSELECT 1;").lock_timeout
    with pytest.raises(ValueError, match="longer than PostgreSQL allows"):
        parse_header(f"-- lock-timeout: {text}\nSELECT 1;")


def test_new_file_follows_the_last_and_is_not_a_migration_until_it_is_filled_in(tmp_path: Path) -> None:
    write(tmp_path, "SELECT 1;")
    path = new_file(tmp_path, "Add tickers-exchange").path
    assert path.name == "0002_add_tickers_exchange.sql"
    assert parse_header(path.read_text()).locks
    assert "has comments only" in refusal(tmp_path)
    assert [len(migration.statements) for migration in discover(tmp_path, allow_empty=True)] == [1, 0]
    path.write_text(path.read_text() + "SELECT 2;")
    assert [len(migration.statements) for migration in discover(tmp_path)] == [1, 1]


@pytest.mark.parametrize("name", ["", "add", "1 add", "add tickers!", "../add_tickers", "ajouter_é"])
def test_new_file_refuses_a_bad_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="invalid migration name"):
        new_file(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_new_file_in_a_new_directory_is_the_first(tmp_path: Path) -> None:
    assert new_file(tmp_path / "migrations", "create_tickers").path.name == "0001_create_tickers.sql"


def test_directive_below_the_first_statement_is_refused_where_lines_end_in_carriage_returns(tmp_path: Path) -> None:
    said = refusal(write(tmp_path, "-- Why: x\rSELECT 1;\r-- migrate: no-transaction\r"))
    assert "0001_do_step1.sql:3:1" in said
    assert "has no effect" in said


def test_header_is_read_where_lines_end_in_carriage_returns(tmp_path: Path) -> None:
    [migration] = written(tmp_path, "-- Why: x\r-- lock-timeout: 2s\r-- migrate: own-transaction\rSELECT 1;\r")
    assert migration.header == Header(lock_timeout="2s", own_transaction=True)


def test_header_may_set_a_budget(tmp_path: Path) -> None:
    [migration] = written(tmp_path, "-- lock-budget: 10min\nSELECT 1;\n")
    assert migration.header.lock_budget == "10min"
