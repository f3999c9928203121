import pytest

from dbops import errors
from dbops.errors import SourcePlace


def test_error_says_what_where_and_what_to_do_in_three_lines():
    error = errors.UsageError("the name is wrong", where="--env", hint="Use another one.")
    assert error.render() == "error: the name is wrong\n  --> --env\nhint: Use another one."


@pytest.mark.parametrize(
    ("text", "column", "caret"),
    [
        ("SELECT x", 8, "       ^"),
        ("\tSELECT x", 9, "\t       ^"),
        ("'日本' x", 6, "       ^"),
        ("'e\u0301' x", 6, "    ^"),
    ],
)
def test_caret_stands_under_its_character(text, column, caret):
    excerpt = SourcePlace("a.sql", 12, column, text).excerpt().splitlines()
    assert excerpt == ["   |", f"12 | {text}", f"   | {caret}"]


def test_each_kind_of_error_has_its_exit_code():
    codes = {kind.__name__: kind.exit_code for kind in errors.DbopsError.__subclasses__()}
    assert codes == {
        "CheckError": 1,
        "UsageError": 2,
        "ServerError": 3,
        "PreflightError": 3,
        "MigrationError": 4,
        "ConsentError": 5,
    }
