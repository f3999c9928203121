"""Whatever is changed in a baseline, `db.verify --empty` and `db.drift` say so, by name, where it is theirs to say.

The changes are in `tests/data/mutations/`. Each begins with its name, then says what must be found:

    -- verify: check that must fail => words that it must say       (or: nothing)
    -- drift: object that must differ => words of a line that does  (or: nothing)

What differs is a failed check of verification too, under the name of the object.

One that newer versions refuse, or in which nothing is wrong there, says so before that: `-- before: TimescaleDB 2.28`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psycopg
import pytest

from dbops.catalog import ExpectedSchema, fingerprint, read_expected, schema_text
from dbops.catalog.drift import ObjectDrift, differences
from dbops.postgres import Connection
from dbops.settings import ROOT, SCHEMA, Target
from dbops.verification import Check, list_checks, run
from tests.support import servers
from tests.support.servers import TestServer
from tests.support.verifying import verify

CHECKS = ROOT / "db" / "verify"
SOURCE = "schema"
ALL = list_checks(CHECKS, baseline=True)
BEFORE = r"(?P<before>-- before: TimescaleDB [\d.]+\n)?"
ENTRY = re.compile(rf"^-- (?P<name>\w+)\n{BEFORE}(?P<about>(?:-- (?:verify|drift): .+\n)+)", re.MULTILINE)
ABOUT = re.compile(r"^-- (?P<by>verify|drift): (?P<subject>.+?)(?: => (?P<words>.+))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change, and what verification and drift must find: (check or object, words) each."""

    name: str
    verify: tuple[tuple[str, str], ...]
    drift: tuple[tuple[str, str], ...]
    sql: str
    before: tuple[int, ...] = ()


def version(text: str) -> tuple[int, ...]:
    """Return the numbers in a text, as in 2.28."""
    return tuple(int(number) for number in re.findall(r"\d+", text))


def read_mutations() -> list[Mutation]:
    found = []
    for path in sorted((ROOT / "tests" / "data" / "mutations").glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        starts = list(ENTRY.finditer(text))
        ends = [match.start() for match in starts[1:]] + [len(text)]
        for match, end in zip(starts, ends, strict=True):
            about = [(m["by"], m["subject"], m["words"] or "") for m in ABOUT.finditer(match["about"])]
            by_verify, by_drift = (
                tuple((subject, words) for by, subject, words in about if by == kind) for kind in ("verify", "drift")
            )
            before = version(match["before"] or "")
            found.append(Mutation(match["name"], by_verify, by_drift, text[match.end() : end], before))
    return found


MUTATIONS = read_mutations()


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline that is changed only in transactions that are rolled back; its text, and the file of each check."""

    target: Target
    connection: Connection
    text: str
    files: Mapping[str, str]
    timescaledb: tuple[int, ...]

    def judge(self, mutation: Mutation) -> tuple[tuple[Check, ...], dict[str, ObjectDrift]]:
        """Change it, let verification and drift look at it, and roll back; return what failed and what differs.

        Where all checks that must fail are known by name, only the files that have them are run.
        """
        named = {self.files.get(subject, "") for subject, _ in mutation.verify}
        everything = mutation.before or "" in named
        chosen = ALL if everything else tuple(file for file in ALL if file.name in named)
        with self.connection.transaction(force_rollback=True):
            self.connection.execute(mutation.sql.encode())
            found = run(self.connection, chosen, expected=ExpectedSchema(SOURCE, self.text))
        differing = differences(self.text, found.schema)
        assert (fingerprint(found.schema) != fingerprint(self.text)) == bool(differing)
        failed = [check for check in found.failed if check.file == SOURCE]
        assert {check.name: check.change for check in failed} == {item.name: item.change for item in differing}
        return found.failed, {item.name: item for item in differing}

    def refuses(self, mutation: Mutation) -> bool:
        """Return whether the server no longer knows what a mutation does."""
        try:
            with self.connection.transaction(force_rollback=True):
                self.connection.execute(mutation.sql.encode())
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFunction):
            return True
        return False


@pytest.fixture(scope="module")
def baseline(server: TestServer, template: str) -> Iterator[Baseline]:
    name = servers.fresh_name()
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    with servers.connect(server.target(name)) as connection:
        text = schema_text(connection)
        found = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
        assert found
        files = {check.name: check.file for check in run(connection, ALL, with_schema=False).checks}
        yield Baseline(server.target(name), connection, text, files, version(str(found[0])))
    servers.drop_quietly(server, name)


def test_table_of_mutations_is_long_and_has_no_name_twice() -> None:
    assert len(MUTATIONS) >= 300
    assert len({m.name for m in MUTATIONS}) == len(MUTATIONS)


def test_clean_build_has_nothing_to_flag(baseline: Baseline) -> None:
    result = verify(baseline.target, CHECKS, expected=read_expected(SCHEMA), baseline=True)
    assert result.failed == ()
    wanted = {subject for m in MUTATIONS for subject, _ in m.verify if not subject.startswith("nothing")}
    assert wanted <= {check.name for check in result.checks}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_mutation_is_found_by_name(baseline: Baseline, mutation: Mutation) -> None:
    if mutation.before and baseline.timescaledb >= mutation.before:
        assert baseline.refuses(mutation) or baseline.judge(mutation)[0] == ()
        return
    failed, differing = baseline.judge(mutation)
    for subject, words in mutation.verify:
        if subject == "nothing":
            assert failed == ()
            continue
        said = [check for check in failed if check.name == subject and check.file != SOURCE]
        assert said, sorted(check.name for check in failed)
        assert words in str(said[0].actual)
        assert said[0].expected != said[0].actual
    for subject, words in mutation.drift:
        if subject == "nothing":
            assert differing == {}
            continue
        assert subject in differing, sorted(differing)
        assert any(words in line for line in differing[subject].lines), differing[subject].lines
    if not mutation.drift:
        about = " ".join([*map(str, failed), mutation.sql])
        assert any(name.rpartition(" ")[2].rpartition(".")[2] in about for name in differing), sorted(differing)
