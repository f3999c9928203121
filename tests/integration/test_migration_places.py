"""The position of an error in a migration file, compared with psql's for the same file.

`¶` marks where the caret belongs, and is taken out of the text before it runs.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from dbops.errors import Location, MigrationError, _cells
from dbops.migrations.run import migrate
from dbops.settings import Target
from tests.support.migration_files import written
from tests.support.servers import TestServer

SETUP = "CREATE TABLE public.t (id integer PRIMARY KEY, n integer CHECK (n > 0), s text NOT NULL);\n"
DO = "DO $$\nBEGIN\n    PERFORM 1;\n"

# Errors for which psql shows a line and a caret.
POINTED = {
    "syntax_error": SETUP + "CREATE TABLE public.u (\n    id integer,\n    name text ¶text\n);\n",
    "syntax_error_in_the_first_word": SETUP + "¶CRATE TABLE public.u (id integer);\n",
    "syntax_error_at_the_semicolon": SETUP + "SELECT id FROM¶;\n",
    "syntax_error_in_the_last_line_without_newline": SETUP + "SELECT 1;\nSELECT id FORM ¶public.t WHERE",
    "end_of_input_without_newline": SETUP + "SELECT 1;\nSELECT id FROM¶",
    "unknown_column": SETUP + "SELECT 1;\nSELECT\n    id,\n    ¶nope\nFROM public.t;\n",
    "unknown_table": SETUP + "SELECT * FROM ¶public.nope;\n",
    "unknown_function": SETUP + "SELECT ¶public.nope(1);\n",
    "unknown_type": SETUP + "CREATE TABLE public.u (\n    a integer,\n    b ¶numbre\n);\n",
    "unknown_type_in_a_cast": SETUP + "SELECT 1::¶nope;\n",
    "type_error_of_an_operator": SETUP + "SELECT id ¶+ s FROM public.t;\n",
    "type_error_of_a_literal": SETUP + "SELECT id FROM public.t\nWHERE id = ¶'one';\n",
    "type_error_of_an_insert": SETUP + "INSERT INTO public.t VALUES (1, ¶now(), 'a');\n",
    "ambiguous_column": SETUP + "SELECT ¶id FROM public.t AS a, public.t AS b;\n",
    "group_by_missing": SETUP + "SELECT ¶s, count(*) FROM public.t GROUP BY n;\n",
    "unterminated_string": SETUP + "SELECT 1;\nSELECT ¶'abc FROM public.t;\n",
    "unterminated_quoted_name": SETUP + 'SELECT ¶"abc FROM public.t;\n',
    "unterminated_dollar_quote": SETUP + "DO ¶$body$ BEGIN END;\n",
    "unterminated_comment": SETUP + "SELECT 1 ¶/* and /* then */ nothing;\n",
    "bad_unicode_escape": SETUP + r"SELECT E'abc¶\u00zz';" + "\n",
    "after_a_tab": SETUP + "SELECT\n\tid,\n\t\t¶nope\nFROM public.t;\n",
    "after_wide_characters": SETUP + "SELECT '価格は高い', ¶nope FROM public.t;\n",
    "after_combining_characters": SETUP + "SELECT 'e\u0301e\u0301', ¶nope FROM public.t;\n",
    "after_characters_beyond_the_first_plane": SETUP + "-- 😀😀\nSELECT '😀', ¶nope FROM public.t;\n",
    "after_comments_between_statements": SETUP + "SELECT 1;\n-- one; two\n/* three; */\nSELECT ¶nope;\n",
    "after_many_statements": SETUP + "SELECT 1;\n" * 500 + "SELECT ¶nope;\n" + "SELECT 1;\n" * 500,
    "two_statements_in_a_line": SETUP + "SELECT 1; SELECT ¶nope; SELECT 2;\n",
    "semicolons_in_a_body": SETUP
    + "CREATE FUNCTION public.f() RETURNS integer LANGUAGE sql AS $$ SELECT 1; SELECT 2; $$;\nSELECT ¶nope;\n",
    "plpgsql_syntax_in_a_do_block": SETUP + DO + "    IF 1 = 1 THN¶;\nEND $$;\n",
    "plpgsql_syntax_in_a_function": SETUP
    + "CREATE FUNCTION public.f() RETURNS void LANGUAGE plpgsql AS $$\nBEGIN\n    RAISE NOTICE 'a' ¶'b';\nEND $$;\n",
    "begin_atomic_body": SETUP
    + "CREATE FUNCTION public.f() RETURNS integer LANGUAGE sql\nBEGIN ATOMIC\n  SELECT 1;\n  SELECT ¶nope;\nEND;\n",
    "sql_function_body": SETUP
    + "CREATE FUNCTION public.f() RETURNS integer LANGUAGE sql AS $$\n  SELECT ¶nope FROM public.t;\n$$;\n",
    "unknown_column_in_a_do_block": SETUP + DO + "    UPDATE public.t SET ¶nope = 1;\nEND $$;\n",
    "unknown_column_in_an_expression_of_a_do_block": SETUP + DO + "    IF ¶nope > 1 THEN NULL; END IF;\nEND $$;\n",
    "unknown_table_into_a_variable_in_a_do_block": SETUP
    + "DO $$\nDECLARE\n    v integer;\nBEGIN\n    SELECT id INTO v FROM ¶public.nope;\nEND $$;\n",
}

# Errors that the server gives no position for: the statement's beginning, or the line of the DO block that failed.
UNPOINTED = {
    "check_violation": SETUP + "SELECT 1;\n\n¶INSERT INTO public.t\nVALUES (1, 0, 'a');\nSELECT 2;\n",
    "unique_violation": SETUP
    + "INSERT INTO public.t VALUES (1, 1, 'a');\n  ¶INSERT INTO public.t VALUES (1, 1, 'a');\n",
    "not_null_violation_in_the_last_line": SETUP + "-- last\n¶INSERT INTO public.t VALUES (1, 1, NULL)",
    "missing_table_in_drop": SETUP + "SELECT 1;\n¶DROP TABLE public.nope;\n",
    "column_exists_already": SETUP + "¶ALTER TABLE public.t\n    ADD COLUMN id integer;\n",
    "table_alias_used_twice": SETUP + "¶SELECT 1 FROM public.t AS a, public.t AS a;\n",
    "division_by_zero": SETUP + "¶SELECT 1 / 0;\n",
    "raise_in_a_do_block": SETUP + DO + "    ¶RAISE EXCEPTION 'no'\n        USING DETAIL = 'd', HINT = 'h';\nEND $$;\n",
    "constraint_in_a_do_block": SETUP + DO + "    ¶INSERT INTO public.t VALUES (1, 0, 'a');\nEND $$;\n",
    "raise_in_a_function_that_a_statement_calls": SETUP
    + "CREATE FUNCTION public.f() RETURNS void LANGUAGE plpgsql AS $$\nBEGIN\n    RAISE EXCEPTION 'no';\nEND $$;\n"
    + "SELECT 1;\n¶SELECT public.f();\n",
    "failure_in_a_function_that_a_do_block_calls": SETUP
    + "CREATE FUNCTION public.f() RETURNS void LANGUAGE plpgsql AS $$\nBEGIN\n    PERFORM nope;\nEND $$;\n"
    + "DO $$\nBEGIN\n    ¶PERFORM public.f();\nEND $$;\n",
    "deferred_constraint": SETUP
    + "ALTER TABLE public.t ADD FOREIGN KEY (n) REFERENCES public.t (id) DEFERRABLE INITIALLY IMMEDIATE;\n"
    + "SET CONSTRAINTS ALL IMMEDIATE;\n¶INSERT INTO public.t VALUES (1, 2, 'a');\n",
}


@dataclass(frozen=True, slots=True)
class Caret:
    """What psql shows: the line's number in the text, or in a query of a block; what it shows; the cells before."""

    line: int
    shown: str
    cells: int
    inner: bool


def marked(text: str) -> tuple[str, int]:
    """Return a text without its mark, and the mark's offset."""
    return text.replace("¶", ""), text.index("¶")


def expected(text: str) -> tuple[int, int]:
    """Return line and column of the mark."""
    before = text[: text.index("¶")]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def position_of(target: Target, directory: Path, content: str | bytes) -> Location:
    """Return where a file fails."""
    with pytest.raises(MigrationError) as failure:
        migrate(target, written(directory, content))
    assert failure.value.location is not None
    return failure.value.location


def caret_of(server: TestServer, target: Target, text: str) -> Caret | None:
    """Return where psql sees the error in a text, or None if it shows no line."""
    command = ["psql", "-X", "-q", "-d", server.url(target.database), "-c", text]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr.split("\n")
    for line, below in pairwise(said):
        if match := re.match(r"LINE (\d+): ", line):
            return Caret(
                int(match[1]),
                line[match.end() :],
                below.index("^") - match.end(),
                any(x.startswith("QUERY:") for x in said),
            )
    return None


def cells(text: str) -> int:
    """Return the terminal columns of a text as psql counts them: a tab is one, and so is a combining character."""
    return sum(max(1, _cells(character)) for character in text)


def from_cell(text: str, cell: int) -> str:
    """Return a text from the character that begins at a terminal column."""
    return next(text[i:] for i in range(len(text) + 1) if cells(text[:i]) >= cell)


@pytest.mark.parametrize("name", POINTED)
def test_caret_stands_where_psql_puts_it(server: TestServer, empty: Target, tmp_path: Path, name: str) -> None:
    text, _ = marked(POINTED[name])
    ours = position_of(empty, tmp_path, text)
    theirs = caret_of(server, empty, text)
    assert theirs is not None
    after = ours.text[ours.column - 1 :].replace("\t", " ")
    assert after.startswith(from_cell(theirs.shown, theirs.cells))
    assert (ours.line, ours.column) == expected(POINTED[name])
    if not theirs.inner:
        assert (ours.line, cells(ours.text[: ours.column - 1])) == (theirs.line, theirs.cells)


@pytest.mark.parametrize("name", UNPOINTED)
def test_error_without_position_is_shown_at_its_statement(
    server: TestServer, empty: Target, tmp_path: Path, name: str
) -> None:
    text, _ = marked(UNPOINTED[name])
    ours = position_of(empty, tmp_path, text)
    assert (ours.line, ours.column) == expected(UNPOINTED[name])
    theirs = caret_of(server, empty, text)
    assert theirs is None or theirs.inner


@pytest.mark.parametrize("name", [*POINTED, *UNPOINTED])
def test_byte_order_mark_and_crlf_leave_the_position_as_it_is(empty: Target, tmp_path: Path, name: str) -> None:
    marked_text = {**POINTED, **UNPOINTED}[name]
    content = b"\xef\xbb\xbf" + marked(marked_text)[0].replace("\n", "\r\n").encode()
    ours = position_of(empty, tmp_path, content)
    assert (ours.line, ours.column) == expected(marked_text)
    assert "\r" not in ours.text


def test_error_shows_line_caret_sqlstate_detail_hint_context_and_state(empty: Target, tmp_path: Path) -> None:
    text, _ = marked(UNPOINTED["raise_in_a_do_block"])
    with pytest.raises(MigrationError) as failure:
        migrate(empty, written(tmp_path, "SELECT 1;", text))
    rendered = failure.value.render()
    assert rendered.startswith("error: migration 0002_do_step2 failed: no\n")
    assert "0002_do_step2.sql:5:5\n" in rendered
    assert "5 |     RAISE EXCEPTION 'no'\n  |     ^\n" in rendered
    assert "= SQLSTATE: P0001" in rendered
    assert "= detail: d" in rendered
    assert "= server's hint: h" in rendered
    assert "= context: PL/pgSQL function inline_code_block line 4 at RAISE" in rendered
    assert "hint: Nothing was applied." in rendered
