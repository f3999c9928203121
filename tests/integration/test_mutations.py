"""Whatever is changed in a baseline, `db.verify --empty` says so by name, or drift does where only that can.

The changes are in `tests/data/mutations/`: each begins with `-- name: check that must fail => words it must say`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from dbops.catalog import schema_text
from dbops.catalog.drift import compare
from dbops.settings import ROOT, Target
from dbops.verification import Check, list_checks, run, verify
from tests.support import servers
from tests.support.servers import TestServer

CHECKS = ROOT / "db" / "verify"
HEADER = re.compile(r"^-- (?P<id>\w+): (?P<check>.+?)(?: => (?P<says>.+))?$\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutation:
    id: str
    check: str
    says: str
    sql: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What the checks and the canonical text make of a changed baseline."""

    failed: dict[str, Check]
    text: str


def read_mutations() -> list[Mutation]:
    found = []
    for path in sorted((ROOT / "tests" / "data" / "mutations").glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        starts = list(HEADER.finditer(text))
        ends = [match.start() for match in starts[1:]] + [len(text)]
        for match, end in zip(starts, ends, strict=True):
            found.append(Mutation(match["id"], match["check"], match["says"] or "", text[match.end() : end]))
    return found


MUTATIONS = read_mutations()
# Rows are no schema, and the canonical text leaves out what lies in TimescaleDB's own schemas, chunks and all.
ONLY_FOR_VERIFY = ("rows ", "nothing extra: table _timescaledb_internal.")
FOR_DRIFT = [m for m in MUTATIONS if m.check == "drift"]
FOR_VERIFY = [m for m in MUTATIONS if m.check != "drift"]


@pytest.fixture(scope="module")
def baseline(server: TestServer, template: str) -> Iterator[Target]:
    """Return a baseline that is changed in transactions only, all of which are rolled back."""
    name = servers.fresh_name()
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield server.target(name)
    servers.drop_quietly(server, name)


@pytest.fixture(scope="module")
def baseline_text(baseline: Target) -> str:
    with servers.connect(baseline) as connection:
        return schema_text(connection)


def judge(target: Target, mutation: Mutation) -> Findings:
    """Change the baseline, let everything look at it, and roll back."""
    files = list_checks(CHECKS, baseline=True)
    with servers.connect(target) as connection, connection.transaction(force_rollback=True):
        connection.execute(mutation.sql.encode())
        text = schema_text(connection)
        found = run(connection, files)
    return Findings({check.name: check for check in found.failed}, text)


def test_table_of_mutations_is_long_and_has_no_name_twice() -> None:
    assert len(MUTATIONS) >= 60
    assert len({m.id for m in MUTATIONS}) == len(MUTATIONS)


def test_clean_build_has_nothing_to_flag(baseline: Target) -> None:
    result = verify(baseline, CHECKS, baseline=True)
    assert result.failed == ()
    names = {check.name for check in result.checks}
    assert {m.check for m in FOR_VERIFY if not m.check.startswith("nothing extra: ")} <= names


@pytest.mark.parametrize("mutation", FOR_VERIFY, ids=lambda m: m.id)
def test_verify_catches_and_names(baseline: Target, mutation: Mutation, baseline_text: str) -> None:
    findings = judge(baseline, mutation)
    assert mutation.check in findings.failed, sorted(findings.failed)
    check = findings.failed[mutation.check]
    assert mutation.says in str(check.actual)
    assert check.expected != check.actual
    if not mutation.check.startswith(ONLY_FOR_VERIFY):
        about = f"{check.name} {check.expected} {check.actual} {mutation.sql}"
        drifted = [changed.name for changed in compare(baseline_text, findings.text)]
        assert any(name.rpartition(" ")[2].rpartition(".")[2] in about for name in drifted), drifted


@pytest.mark.parametrize("mutation", FOR_DRIFT, ids=lambda m: m.id)
def test_drift_catches_what_verify_leaves_alone(baseline: Target, mutation: Mutation, baseline_text: str) -> None:
    findings = judge(baseline, mutation)
    assert findings.failed == {}
    assert [changed.name for changed in compare(baseline_text, findings.text)] == [mutation.says]
