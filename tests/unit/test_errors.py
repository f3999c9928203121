import pytest

from dbops import errors
from dbops.errors import Location


def test_error_says_what_where_and_what_to_do_in_three_lines() -> None:
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
def test_caret_stands_under_its_character(text: str, column: int, caret: str) -> None:
    excerpt = Location("a.sql", 12, column, text).excerpt().splitlines()
    assert excerpt == ["   |", f"12 | {text}", f"   | {caret}"]


@pytest.mark.parametrize("filler", ["a", "日"])
@pytest.mark.parametrize("before", [0, 10, 5000, 10_000])
def test_long_line_is_cut_around_its_caret(filler: str, before: int) -> None:
    line = filler * before + "X" + filler * (10_000 - before)
    _, shown, pointer = Location("a.sql", 1, before + 1, line).excerpt().splitlines()
    assert len(shown) < 80
    cells = sum(2 if c == "日" else 1 for c in shown[: shown.index("X")])
    assert cells == pointer.index("^")
    assert shown.endswith("…") == (before < 10_000)
    assert shown.startswith("1 | …") == (before > 10)


def test_each_kind_of_error_has_its_exit_code() -> None:
    codes = {kind.__name__: kind.exit_code for kind in errors.DbopsError.__subclasses__()}
    assert codes == {
        "CheckError": 1,
        "UsageError": 2,
        "ServerError": 3,
        "PreflightError": 3,
        "MigrationError": 4,
        "ConsentError": 5,
        "UnforeseenError": 70,
    }
