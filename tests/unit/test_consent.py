from dataclasses import replace

import pytest
from dbops.lifecycle import Stakes, TableStakes, agree
from dbops.lifecycle.guc import split_list
from dbops.lifecycle.label import Label

from dbops.errors import ConsentError

EMPTY = Stakes("kapman_dev", "localhost:5432", "dev", exists=True)
FULL = replace(EMPTY, evidence="public.tickers", seen=True)
DARK = replace(EMPTY, evidence="it lets nobody look", readable=False)
PROD = replace(FULL, environment="prod")


def answer(text):
    return lambda _stakes: text


def never(_stakes):
    raise AssertionError("nobody should be asked")


@pytest.mark.parametrize("stakes", [EMPTY, replace(EMPTY, exists=False), replace(EMPTY, environment="prod")])
def test_nobody_is_asked_when_no_row_is_at_stake(stakes):
    agree(stakes, yes=False, confirm="", ask=never)


@pytest.mark.parametrize(
    ("stakes", "yes", "confirm"),
    [(FULL, True, ""), (FULL, False, "kapman_dev"), (PROD, False, "kapman_dev"), (DARK, False, "kapman_dev")],
)
def test_consent_that_was_given_is_enough(stakes, yes, confirm):
    agree(stakes, yes=yes, confirm=confirm, ask=never)


def test_name_that_is_typed_is_enough():
    agree(FULL, yes=False, confirm="", ask=answer(" kapman_dev "))


def test_name_with_blanks_around_it_can_be_typed():
    agree(replace(FULL, database=" odd "), yes=False, confirm="", ask=answer(" odd "))


@pytest.mark.parametrize("typed", ["", "y", "yes", "KAPMAN_DEV", "kapman", None])
def test_anything_else_that_is_typed_is_not(typed):
    with pytest.raises(ConsentError):
        agree(FULL, yes=False, confirm="", ask=answer(typed))


@pytest.mark.parametrize(
    ("stakes", "words"),
    [
        (replace(FULL, seen=False, evidence="its rows cannot be read (x)"), "may hold rows: its rows cannot be read"),
        (replace(FULL, tables=(TableStakes("public.t", 1, 8192, None),)), r"\Arows would be lost"),
        (replace(FULL, tables=(TableStakes("public.t", 2000, 8192, None),)), r"\Aabout 2,000 rows would be lost"),
    ],
)
def test_refusal_tells_what_was_seen_from_what_could_not_be(stakes, words):
    with pytest.raises(ConsentError, match=words):
        agree(stakes, yes=False, confirm="")


@pytest.mark.parametrize("stakes", [PROD, DARK])
def test_only_the_confirmed_name_counts_in_prod_and_where_nobody_can_look(stakes):
    with pytest.raises(ConsentError, match=r"lost|may hold"):
        agree(stakes, yes=True, confirm="", ask=answer("kapman_dev"))


@pytest.mark.parametrize("stakes", [EMPTY, FULL])
def test_confirmation_of_another_name_stops_even_where_nothing_is_at_stake(stakes):
    with pytest.raises(ConsentError, match="another"):
        agree(stakes, yes=True, confirm="another")


@pytest.mark.parametrize("stakes", [EMPTY, FULL])
def test_prod_database_reached_through_a_dev_setting_is_refused(stakes):
    labelled = replace(stakes, label=Label("prod", native=True))
    with pytest.raises(ConsentError, match="is a prod database") as refused:
        agree(labelled, yes=True, confirm="kapman_dev")
    assert "--env prod" in refused.value.hint


def test_label_of_another_server_is_told_and_ignored():
    said = []
    agree(replace(FULL, label=Label("prod", native=False)), yes=True, confirm="", report=said.append)
    assert "copy of another server's prod database" in said[0].text


def test_empty_database_may_change_its_environment():
    said = []
    agree(replace(EMPTY, label=Label("test", native=True)), yes=False, confirm="", report=said.append)
    assert "becomes dev" in said[0].text


def test_full_database_may_not_change_its_environment():
    with pytest.raises(ConsentError, match="is a test database"):
        agree(replace(FULL, label=Label("test", native=True)), yes=True, confirm="")


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        ("public", ["public"]),
        ('"$user", public', ["$user", "public"]),
        ('"Odd, ""name""", x', ['Odd, "name"', "x"]),
        ('""', [""]),
        ("a,b , c", ["a", "b", "c"]),
    ],
)
def test_stored_lists_of_names_are_read_back(stored, names):
    assert split_list(stored) == names
