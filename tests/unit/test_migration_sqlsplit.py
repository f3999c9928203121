"""Cutting SQL into statements."""

from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress

import pytest

from dbops.migrations.files import index_build, parse_header
from dbops.migrations.sqlsplit import split


def cut(text: str) -> list[str]:
    """Return the statements of a text."""
    return [text[statement.start : statement.end] for statement in split(text)]


SINGLE = {
    "semicolon_in_a_string": "SELECT 'a;b';",
    "doubled_quote": "SELECT 'it''s; here';",
    "backslash_in_a_plain_string": r"SELECT '\', 'a;b';",
    "backslash_in_an_escape_string": r"SELECT E'\';', e'\\';",
    "escape_string_continued_on_the_next_line": "SELECT E'a' -- why; so\n  'b\\';c';",
    "name_ending_in_e_before_a_string": r"SELECT type'a\' ;",
    "national_and_unicode_strings": r"SELECT N'a;', U&'\0041;', B'01', U&" + '"a;b";',
    "quoted_name": 'SELECT "a;""b;c";',
    "line_comment_inside": "SELECT 1 -- one; two\n, 2;",
    "nested_comment": "SELECT /* a; /* b; */ c; */ 1;",
    "comment_after_an_operator": "SELECT 1 +/* ; */ 2 @-- ;\n 3;",
    "dollar_quotes": "DO $$ BEGIN; END; $$;",
    "named_dollar_quotes": "DO $a$ x; $$ y; $$ $b$ z; $a$;",
    "dollar_in_a_name": "SELECT a$b$, c$b$ ;",
    "dollar_quotes_after_a_digit": "SELECT 1$$;$$;",
    "parameter_number": "PREPARE p AS SELECT $1, $2;",
    "parentheses": "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2);",
    "begin_atomic": "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END;",
    "begin_atomic_replace": "create or replace procedure p(a int default 1) begin atomic select 1; end;",
    "begin_atomic_with_a_case_in_parentheses": "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT (CASE 1 END); END;",
    "names_and_strings_in_parentheses": "SELECT (nameE'\\', E'\\';', a$b$, $b$;$b$, 'it''s;', 1 - -2);",
    "names_beyond_ascii": "SELECT größe, 価格 FROM 表;",
    "end_in_a_dollar_body_of_a_routine": "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN x; END; $$;",
    "no_semicolon": "SELECT 1",
    "unterminated_string": "SELECT 'a; SELECT 2;",
    "unterminated_name": 'SELECT "a; SELECT 2;',
    "unterminated_escape_string": r"SELECT E'a\'; SELECT 2;",
    "unterminated_dollar_quote": "DO $x$ a; $y$ b;",
    "unterminated_comment": "SELECT 1 /* a; /* b; */ SELECT 2;",
    "unterminated_comment_only": "/* a; b;",
    "unbalanced_parenthesis": "CREATE TABLE t (a int; SELECT 2;",
}


@pytest.mark.parametrize("name", SINGLE)
def test_one_statement_stays_one(name: str) -> None:
    assert cut(SINGLE[name]) == [SINGLE[name]]


@pytest.mark.parametrize("name", [name for name in SINGLE if not name.startswith(("un", "no_semicolon"))])
def test_statements_are_cut_apart(name: str) -> None:
    text = SINGLE[name]
    assert cut(f"SELECT 0;\n-- between;\n{text}\n/* after; */\nSELECT 9") == ["SELECT 0;", text, "SELECT 9"]


def test_blank_text_comments_and_stray_semicolons_are_not_statements() -> None:
    assert cut(" \n;; -- a;\n/* b; */ ;\n") == []


def test_words_are_capitals_outside_parentheses_and_quotes() -> None:
    [statement] = split('Copy public.t (a, "from") From "My;Table" stdin with (format csv);')
    assert statement.words == ("COPY", "PUBLIC", "T", "FROM", '"My;Table"', "STDIN", "WITH")


def test_backslash_outside_quotes_is_reported() -> None:
    text = "SELECT 1;\n\\set x 1\n"
    assert [statement.psql for statement in split(text)] == [-1, text.index("\\")]


def test_begin_of_a_transaction_is_not_the_begin_of_a_body() -> None:
    assert cut("BEGIN; CREATE TABLE t (a int); END;") == ["BEGIN;", "CREATE TABLE t (a int);", "END;"]


MEGABYTE = 1 << 20
# A beginning, and what is repeated after it.
NASTY = {
    "dashes_after_an_escape_string": ("COMMENT ON TABLE public.t IS E'x' ", "-"),
    "dashes_and_blanks_after_an_escape_string": ("SELECT E'x' -- ", "- -- "),
    "comments_after_an_escape_string": ("SELECT E'x'\n", "--\n"),
    "escape_strings_with_comments": ("SELECT ", "E'x' --\n"),
    "doubled_quotes": ("SELECT E'", "''"),
    "backslashes": ("SELECT E'", "\\"),
    "escaped_newlines": ("SELECT E'", "\\\n"),
    "plain_doubled_quotes": ("SELECT '", "''"),
    "parentheses": ("SELECT ", "("),
    "quotes_in_parentheses": ("SELECT (", "'"),
    "words_in_parentheses": ("SELECT (", "e "),
    "escape_strings_in_parentheses": ("SELECT (", "E'x'--\n"),
    "one_word_in_parentheses": ("SELECT (", "e"),
    "open_comments": ("", "/*"),
    "slashes_and_stars": ("SELECT ", "/ * "),
    "dollars": ("", "$"),
    "dollar_quotes": ("$a$ ", "$b$ "),
    "dollar_names": ("SELECT a", "$b"),
    "quoted_names": ('SELECT "', '""'),
    "semicolons": ("", ";"),
    "statements": ("", "CREATE TABLE public.t ();"),
    "blanks": ("-- Why: a", " "),
    "blanks_in_a_header": ("-- Why: a\n--  ", "b "),
    "carriage_returns": ("SELECT 1", "\r"),
    "almost_directives": ("", "-- migrate no transaction x\n"),
    "stars": ("/* ", "* "),
    "blanks_in_a_build": ("CREATE INDEX", " "),
    "dots_in_a_build": ("CREATE INDEX i ON a", " . a"),
}


@pytest.mark.parametrize("name", NASTY)
# A quarter of a megabyte shows what is quadratic; a megabyte shows what is nearly linear.
@pytest.mark.parametrize(
    ("size", "seconds"),
    [(MEGABYTE // 4, 4), pytest.param(MEGABYTE, 30, marks=pytest.mark.soak)],
    ids=["sample", "full"],
)
def test_reading_takes_time_in_proportion_to_the_size(name: str, size: int, seconds: int) -> None:
    """A megabyte takes seconds at most, where anything but linear time would take minutes or years."""
    begin, repeated = NASTY[name]
    for length, end in ((size // 8, " '*/\nSELECT 1;"), (size, "")):
        text = begin + repeated * (length // len(repeated)) + end
        began = time.process_time()
        covered = sum(statement.end - statement.start for statement in split(text))
        with suppress(ValueError):
            parse_header(text)
        index_build(text)
        assert time.process_time() - began < seconds
        assert covered <= len(text)


@pytest.mark.parametrize("repeated", ["\\n", "''", "ab\\n''c", "a"])
def test_large_escape_string_takes_less_than_ten_times_its_size(repeated: str) -> None:
    text = "SELECT E'" + repeated * (5 * MEGABYTE // len(repeated)) + "';"
    tracemalloc.start()
    try:
        assert len(list(split(text))) == 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(text)
