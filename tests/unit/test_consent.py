from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest

from dbops.database.consent import (
    ANY,
    BY_NAME,
    NONE,
    Agreement,
    Ask,
    LostObject,
    agree,
    assert_possible,
    lost_objects,
    required,
)
from dbops.database.inspection import Impact, Inspection, TableImpact
from dbops.errors import ConsentError
from dbops.label import Label
from tests.support.inspections import DATABASE, inspection

EMPTY = inspection(impact=Impact(label=Label("dev", native=True), has_ledger=True))
FULL = inspection(impact=Impact("public.tickers", seen=True, label=Label("dev", native=True), has_ledger=True))
UNREADABLE = inspection(impact=Impact("it cannot be connected to", readable=False))
PROD = inspection("prod", impact=Impact("public.tickers", seen=True, label=Label("prod", native=True), has_ledger=True))
EMPTY_PROD = inspection("prod", impact=Impact(label=Label("prod", native=True), has_ledger=True))
MISSING = inspection(database=None)
OTHERS = inspection(impact=Impact(objects="1 view", maker="Rails"))


def having(found: Inspection, **changes: Any) -> Inspection:
    """Return an inspection that found something else in the database."""
    assert found.impact
    return replace(found, impact=replace(found.impact, **changes))


def answer(text: str | None) -> Ask:
    return lambda _question: text


def never(_question: str) -> str | None:
    raise AssertionError("the operator should not be asked")


@pytest.mark.parametrize("found", [EMPTY, MISSING, inspection("prod", database=None), inspection(), inspection("prod")])
def test_nothing_is_asked_when_no_row_would_be_lost(found: Inspection) -> None:
    assert required(found).kind == NONE
    agree(found, Agreement(ask=never))


@pytest.mark.parametrize(
    ("found", "yes", "confirm"),
    [
        (FULL, True, ""),
        (FULL, False, DATABASE),
        (PROD, False, DATABASE),
        (EMPTY_PROD, False, DATABASE),
        (UNREADABLE, False, DATABASE),
        (OTHERS, False, DATABASE),
    ],
)
def test_consent_that_was_given_is_enough(found: Inspection, yes: bool, confirm: str) -> None:
    agree(found, Agreement(yes, confirm, never))


def test_name_that_is_typed_is_enough() -> None:
    assert required(FULL).kind == ANY
    agree(FULL, Agreement(ask=answer(f" {DATABASE} ")))


def test_name_with_blanks_around_it_can_be_typed() -> None:
    odd = replace(FULL, target=replace(FULL.target, database=" odd "))
    agree(odd, Agreement(ask=answer(" odd ")))


@pytest.mark.parametrize("typed", ["", "y", "yes", "KAPMAN_DEV", "kapman", None])
def test_anything_else_that_is_typed_is_not(typed: str | None) -> None:
    with pytest.raises(ConsentError) as refused:
        agree(FULL, Agreement(ask=answer(typed)))
    assert refused.value.state == "Nothing was dropped."


@pytest.mark.parametrize(
    ("typed", "words"),
    [("", "no name was typed"), ("yes", "the name typed is not the database's name"), (None, "rows would be lost")],
)
def test_refusal_distinguishes_a_wrong_name_a_missing_name_and_a_missing_terminal(
    typed: str | None, words: str
) -> None:
    with pytest.raises(ConsentError, match=words):
        agree(FULL, Agreement(ask=answer(typed)))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            having(FULL, seen=False, evidence="its rows cannot be read (x)"),
            "may hold rows: its rows cannot be read",
        ),
        (having(FULL, tables=(TableImpact("public.t", 1, 8192, None),)), r"\Arows would be lost"),
        (having(FULL, tables=(TableImpact("public.t", 2000, 8192, None),)), r"\Aabout 2,000 rows would be lost"),
    ],
)
def test_refusal_distinguishes_rows_that_were_seen_from_rows_that_are_possible(found: Inspection, words: str) -> None:
    with pytest.raises(ConsentError, match=words):
        agree(found, Agreement())


@pytest.mark.parametrize("found", [PROD, EMPTY_PROD, UNREADABLE, OTHERS])
def test_only_the_confirmed_name_counts_in_prod_and_for_a_database_that_is_not_understood(found: Inspection) -> None:
    assert required(found).kind == BY_NAME
    with pytest.raises(ConsentError, match=r"lost|may hold|is a prod database|not built by this tool") as refused:
        agree(found, Agreement(yes=True, ask=answer(DATABASE)))
    assert f"--confirm {DATABASE}" in refused.value.hint


@pytest.mark.parametrize("found", [EMPTY, FULL, MISSING])
def test_confirmation_of_another_name_stops_even_where_nothing_would_be_lost(found: Inspection) -> None:
    with pytest.raises(ConsentError, match="another"):
        agree(found, Agreement(yes=True, confirm="another"))


@pytest.mark.parametrize("found", [EMPTY, FULL])
def test_prod_database_reached_through_a_dev_setting_is_refused(found: Inspection) -> None:
    labelled = having(found, label=Label("prod", native=True))
    with pytest.raises(ConsentError, match="is a prod database, and the environment chosen is dev") as refused:
        agree(labelled, Agreement(yes=True, ask=answer(DATABASE)))
    assert "--env prod" in refused.value.hint
    agree(labelled, Agreement(confirm=DATABASE))


@pytest.mark.parametrize("found", [EMPTY, FULL])
def test_label_of_another_server_counts_if_it_says_prod(found: Inspection) -> None:
    copy = having(found, label=Label("prod", native=False))
    with pytest.raises(ConsentError, match="copy of another server's prod database") as refused:
        agree(copy, Agreement(yes=True, ask=answer(DATABASE)))
    assert "--env" not in refused.value.hint
    agree(copy, Agreement(confirm=DATABASE))
    agree(having(found, label=Label("test", native=False)), Agreement(yes=True))


@pytest.mark.parametrize("found", [EMPTY, FULL])
@pytest.mark.parametrize(("written", "chosen"), [("test", "dev"), ("dev", "test"), ("dev", "prod")])
def test_change_of_environment_needs_the_name_rows_or_not(found: Inspection, written: str, chosen: str) -> None:
    other = having(replace(found, target=replace(found.target, environment=chosen)), label=Label(written, native=True))
    with pytest.raises(ConsentError, match=f"is a {written} database, and the environment chosen is {chosen}"):
        agree(other, Agreement(yes=True, ask=answer(DATABASE)))
    agree(other, Agreement(confirm=DATABASE))


def test_change_of_environment_on_the_embedded_server_does_not_point_to_another_database() -> None:
    other = having(replace(EMPTY, target=replace(EMPTY.target, embedded=True)), label=Label("test", native=True))
    with pytest.raises(ConsentError) as refused:
        agree(other, Agreement())
    assert "--env" not in refused.value.hint
    assert f"--confirm {DATABASE}" in refused.value.hint


@pytest.mark.parametrize("changes", [{"label": Label("dev", native=True)}, {"objects": ""}])
def test_database_with_a_label_or_nothing_in_it_is_one_of_ours(changes: dict[str, Any]) -> None:
    assert required(having(OTHERS, **changes)).kind == NONE


def test_database_with_a_ledger_and_no_label_may_be_a_prod_database_and_needs_its_name() -> None:
    found = having(OTHERS, has_ledger=True)
    assert required(found).kind == BY_NAME
    with pytest.raises(ConsentError, match="no label says which environment kapman_dev belongs to"):
        agree(found, Agreement(yes=True))


OLD = """extension timescaledb

table public.t
    column a: integer
    column b: text
    grant SELECT to grafana
    grant SELECT to other

view public.v
    query  SELECT 1
"""
NEW = """extension timescaledb

table public.n
    column x: integer

table public.t
    column a: bigint
    grant SELECT to other
"""
LOST = (LostObject("table public.t", ("column b: text", "grant SELECT to grafana")), LostObject("view public.v"))


def test_what_the_old_schema_has_and_the_new_one_has_not_is_lost_and_what_changed_is_not() -> None:
    assert lost_objects(OLD, NEW) == LOST
    assert lost_objects(NEW, NEW) == ()


@pytest.mark.parametrize(("environment", "kind"), [("dev", NONE), ("test", ANY), ("prod", BY_NAME)])
def test_objects_that_are_not_built_again_need_consent_outside_dev(environment: str, kind: str) -> None:
    found = having(inspection(environment, impact=Impact()), label=Label(environment, native=True))
    needed = required(found, LOST)
    assert needed.kind == kind
    if kind != NONE:
        assert_possible(found, Agreement(confirm=DATABASE))
        with pytest.raises(ConsentError) as refused:
            agree(found, Agreement(), LOST)
        if kind == ANY:
            assert "do not build table public.t: column b: text; grant SELECT to grafana and 1 more again" in str(
                refused.value
            )
            assert "not built again: view public.v" in refused.value.notes
            agree(found, Agreement(yes=True), LOST)


@pytest.mark.parametrize("found", [FULL, PROD, OTHERS])
def test_consent_that_cannot_be_asked_for_is_missed_before_anything_is_built(found: Inspection) -> None:
    with pytest.raises(ConsentError):
        assert_possible(found, Agreement())


def test_consent_that_can_be_asked_for_is_not_missed_yet() -> None:
    assert_possible(FULL, Agreement(ask=never))


def test_database_of_another_tool_is_described() -> None:
    with pytest.raises(ConsentError, match="was not built by this tool: it holds 1 view, seems to be built with Rails"):
        agree(OTHERS, Agreement(yes=True))


@pytest.mark.parametrize("found", [EMPTY, FULL, PROD, OTHERS])
def test_consent_is_described_for_a_plan(found: Inspection) -> None:
    needed = required(found)
    words = needed.words(DATABASE)
    assert needed.reason in words
    assert ("--yes" in words) == (needed.kind == ANY)
    assert (f"--confirm {DATABASE}" in words) == (needed.kind != NONE)


@pytest.mark.parametrize("found", [EMPTY_PROD, FULL, UNREADABLE, OTHERS])
def test_name_in_advice_is_one_word_of_a_shell_and_runs_nothing(found: Inspection) -> None:
    name = "kapman $(touch /tmp/x)"
    target = replace(found.target, database=name)
    with pytest.raises(ConsentError) as refusal:
        assert_possible(replace(found, target=target), Agreement())
    advised = refusal.value.hint.partition("--confirm ")[2].removesuffix(".")
    assert shlex.split(advised) == [name]
