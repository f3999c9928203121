from __future__ import annotations

from dataclasses import replace

import pytest

from dbops.database.inspection import Inspection, Role
from dbops.database.preflight import is_supported, preflight
from dbops.database.properties import Grant
from tests.support.inspections import ROLE, SERVER, TARGET, THERE, inspection

# A role that inherits from the owner of a database, and may not become it.
MEMBER = Role(may_act=True, may_give=False, may_become=False)


@pytest.mark.parametrize(
    ("version", "supported"),
    [("2.9.3", False), ("2.10.0", True), ("2.19.3", True), ("2.20.0-dev", True), ("3.0.0", False), ("1.7.5", False)],
)
def test_version_of_timescaledb_is_supported_or_not(version: str, supported: bool) -> None:
    assert is_supported(version) is supported


def refused(found: Inspection, *, dropping: bool = True, creating: bool = True) -> set[str]:
    """Return the names of the conditions that are not met, each of which has a reason and a remedy."""
    findings = [f for f in preflight(found, dropping=dropping, creating=creating) if not f.passed]
    assert all(finding.reason and finding.remedy.endswith(".") for finding in findings)
    return {finding.name for finding in findings}


CONDITIONS = {
    "primary server": inspection(server=replace(SERVER, in_recovery=True)),
    "direct connection": inspection(server=replace(SERVER, direct=False)),
    "not a template": inspection(database=replace(THERE, template=True)),
    "no subscriptions": replace(inspection(), attached={"subscriptions": ("news",)}),
    "TimescaleDB available": inspection(server=replace(SERVER, timescaledb="")),
    "TimescaleDB version": inspection(server=replace(SERVER, timescaledb="2.9.3")),
    "TimescaleDB preloaded": inspection(server=replace(SERVER, timescaledb_preloaded=False)),
    "right to create": inspection(server=replace(SERVER, createdb=False)),
    "right to create schemas": inspection(
        database=replace(THERE, properties=replace(THERE.properties, acl=(Grant(ROLE, "reader", "CONNECT", False),)))
    ),
    "rights of an owner": inspection(server=replace(SERVER, roles={ROLE: replace(SERVER.roles[ROLE], inherits=False)})),
    "right to create TimescaleDB": inspection(server=replace(SERVER, may_create_timescaledb=False)),
    "connections": inspection(server=replace(SERVER, room=(1, 100))),
    "database name": replace(inspection(), target=replace(TARGET, database="template1")),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_that_is_not_met_is_named_alone(name: str) -> None:
    assert refused(inspection()) == set()
    assert refused(CONDITIONS[name]) == {name}


def test_role_that_may_not_give_a_database_to_its_owner_is_refused() -> None:
    database = replace(THERE, properties=replace(THERE.properties, owner="other"))
    found = inspection(database=database, server=replace(SERVER, roles={"other": MEMBER}))
    assert refused(found) == {"right to create"}


@pytest.mark.parametrize(
    ("changes", "becomes"),
    [
        ({}, False),
        ({"may_become": True}, False),
        ({"may_become": True, "may_act": False}, True),
        ({"may_become": True, "createdb": True}, False),
        ({"may_act": False}, False),
    ],
)
def test_role_becomes_the_owner_where_its_own_rights_are_not_enough(changes: dict[str, bool], becomes: bool) -> None:
    database = replace(THERE, properties=replace(THERE.properties, owner="other"))
    found = inspection(database=database, server=replace(SERVER, roles={"other": replace(MEMBER, **changes)}))
    assert found.role_to_become == ("other" if becomes else "")
    if changes.get("createdb"):
        assert replace(found, server=replace(found.server, createdb=False)).role_to_become == "other"
    assert replace(found, server=replace(found.server, superuser=True)).role_to_become == ""


def test_conditions_of_a_create_do_not_matter_for_a_drop() -> None:
    found = inspection(server=replace(SERVER, timescaledb="", createdb=False))
    assert refused(found, creating=False) == set()
    assert refused(found, dropping=False) == {"TimescaleDB available", "right to create"}


def test_server_without_room_for_a_rebuild_is_refused_and_one_that_only_drops_is_not() -> None:
    found = inspection(server=replace(SERVER, room=(None, 1)))
    assert refused(found) == {"connections"}
    assert refused(found, creating=False) == set()
