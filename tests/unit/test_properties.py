from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from dbops.database.properties import (
    Grant,
    Kind,
    Marker,
    Properties,
    Setting,
    different_properties,
    marker,
    parse_marker,
    split_list,
)
from dbops.postgres import MARKER

BASE = Properties(
    "o", "UTF8", "c", "C", "C", None, None, "pg_default", -1, True, None, None, (Setting("", "a", "1"),), ()
)
CHANGES: dict[str, Any] = {
    "owner": "p",
    "encoding": "LATIN1",
    "provider": "i",
    "collate": "de",
    "ctype": "de",
    "locale": "de",
    "icu_rules": "&a < b",
    "tablespace": "fast",
    "connection_limit": 3,
    "allow_connections": False,
    "acl": (Grant("o", "x", "CONNECT", False),),
    "comment": "x",
    "settings": (),
    "security_labels": (("selinux", "x"),),
}


def test_difference_in_any_property_is_seen() -> None:
    assert set(CHANGES) == set(asdict(BASE))
    assert different_properties(BASE, BASE) == ()
    for name, value in CHANGES.items():
        assert name in different_properties(replace(BASE, **{name: value}), BASE)


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
def test_stored_lists_of_names_are_read_back(stored: str, names: list[str]) -> None:
    assert split_list(stored) == names


def test_marker_is_read_back_as_it_was_written() -> None:
    hidden = replace(
        BASE,
        connection_limit=7,
        allow_connections=False,
        acl=(Grant("o", "", "CONNECT", False), Grant('Odd "x"', "größe", "TEMPORARY", True)),
        comment='it\'s "odd" \\ größe\nand long',
    )
    for kind in Kind:
        written = marker(kind, "kapman_dev", hidden)
        assert parse_marker(written.text()) == written
        assert (written.comment, written.allow_connections) == (hidden.comment, False)
        new = kind in (Kind.BUILDING, Kind.SUCCESSOR)
        assert (written.owner, written.acl) == ((hidden.owner, hidden.acl) if new else ("", None))


SOUND = json.loads(Marker(Kind.BUILDING, "kapman_dev", "now", owner="o").text().removeprefix(MARKER))


@pytest.mark.parametrize(
    "comment",
    [
        None,
        "",
        "words",
        MARKER,
        f"{MARKER}words",
        f"{MARKER}[]",
        f"{MARKER}null",
        f"{MARKER}{{}}",
        *(f"{MARKER}{json.dumps({k: v for k, v in SOUND.items() if k != name})}" for name in SOUND),
        f"{MARKER}{json.dumps({**SOUND, 'kind': 'other'})}",
        f"{MARKER}{json.dumps({**SOUND, 'owner': ''})}",
        f"{MARKER}{json.dumps({**SOUND, 'acl': 'x'})}",
        f"{MARKER}{json.dumps({**SOUND, 'acl': [['o', 'x', 'CONNECT', False]]})}",
        f"{MARKER}{json.dumps({**SOUND, 'acl': [asdict(Grant('o', 'x', 'SUPERUSER; DROP', False))]})}",
        f"{MARKER}{json.dumps({**SOUND, 'acl': [{**asdict(Grant('o', 'x', 'CONNECT', False)), 'more': 1}]})}",
        f" {MARKER}{json.dumps(SOUND)}",
        "[" * 100_000,
        MARKER + "[" * 100_000,
        MARKER + json.dumps({**SOUND, "acl": [asdict(Grant("o", "x", "CONNECT", False))] * 2})[:-1],
    ],
    ids=lambda comment: repr(comment)[-60:],
)
def test_comment_that_is_not_a_marker_is_not_taken_for_one(comment: str | None) -> None:
    assert parse_marker(comment) is None


@pytest.mark.parametrize("grantor", [1, None, ["o"]])
def test_acl_with_names_that_are_not_text_is_not_a_marker(grantor: object) -> None:
    acl = [{**asdict(Grant("o", "x", "CONNECT", False)), "grantor": grantor}]
    assert parse_marker(MARKER + json.dumps({**SOUND, "acl": acl})) is None
