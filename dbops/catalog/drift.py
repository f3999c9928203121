"""The live schema against a fresh build of the migrations, or against a file, object by object."""

from __future__ import annotations

import difflib
import time
from dataclasses import dataclass, replace
from pathlib import Path

from dbops.catalog.text import fingerprint, schema_text
from dbops.database.lifecycle import scratch_database
from dbops.errors import PreflightError, UsageError
from dbops.events import Message, Report, StepFinished, StepStarted, ignore
from dbops.migrations import LedgerStatus, Migration, migrate, status
from dbops.postgres import Connection, connect, maintenance, translated
from dbops.settings import Target

STEP = "drift"


@dataclass(frozen=True, slots=True)
class ObjectDrift:
    """An object that is not as built: `change` is missing, extra or changed; `lines` begin with - as built, + as is."""

    name: str
    change: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """How a live schema differs from an expected one, which `source` describes.

    `built` names the migrations of a fresh build: those that the ledger says are applied, or all if there is no
    ledger. `pending` and `disagreements` are what else the ledger says. Fingerprints are sha256 in hexadecimal.
    """

    target: str
    source: str
    objects: tuple[ObjectDrift, ...]
    expected_fingerprint: str
    actual_fingerprint: str
    built: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    disagreements: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        """Return whether anything differs."""
        return bool(self.objects) or self.expected_fingerprint != self.actual_fingerprint


def drift(target: Target, migrations: tuple[Migration, ...], *, report: Report = ignore) -> Drift:
    """Build the migrations in a scratch database on the target's server and compare; the target is only read.

    Raises PreflightError if the role may not create databases, MigrationError if the migrations do not apply.
    """
    began = time.monotonic()
    _refuse_without_createdb(target)
    report(StepStarted(STEP, f"reading {target}"))
    ledger = status(target, migrations)
    live = _text(target)
    built = _applied(ledger, migrations)
    with scratch_database(target, report) as scratch:
        migrate(scratch, migrations, to=built[-1].version if built else None, fresh=True, report=report)
        expected = _text(scratch)
    result = replace(
        _compare(
            str(target),
            f"a fresh build of {built[0].name} to {built[-1].name}" if built else "an empty database",
            expected,
            live,
        ),
        built=tuple(migration.name for migration in built),
        pending=tuple(migration.name for migration in ledger.pending if migration not in built),
        disagreements=tuple(f"{item.name}: {item.state}" for item in ledger.disagreements),
    )
    report(_end(result, time.monotonic() - began))
    return result


def against(target: Target, path: Path, *, report: Report = ignore) -> Drift:
    """Compare the target with a file that `db.fingerprint --write` wrote; needs no right but CONNECT.

    Raises UsageError if the file cannot be read or holds no schema.
    """
    began = time.monotonic()
    expected = read_expected(path)
    report(StepStarted(STEP, f"reading {target}"))
    result = _compare(str(target), str(path), expected, _text(target))
    report(_end(result, time.monotonic() - began))
    return result


def compare(connection: Connection, expected: str, source: str) -> Drift:
    """Compare the connected database with an expected text, in the open transaction if there is one."""
    return _compare(connection.info.dbname, source, expected, schema_text(connection))


def read_expected(path: Path) -> str:
    """Return the canonical text that a file holds; UsageError if it cannot be read or holds no schema."""
    hint = "Write it with `invoke db.fingerprint --write` on a database that the migrations built."
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"cannot read the expected schema: {reason}", where=str(path), hint=hint) from None
    if not text.startswith("extension "):
        raise UsageError("the file does not hold the canonical text of a schema", where=str(path), hint=hint)
    return text


def differences(expected: str, actual: str) -> tuple[ObjectDrift, ...]:
    """Return the objects whose blocks differ between two texts of `schema_text`, by name."""
    built, live = _blocks(expected), _blocks(actual)
    names = sorted(name for name in built.keys() | live.keys() if built.get(name) != live.get(name))
    return tuple(_object(name, built.get(name, []), live.get(name, [])) for name in names)


def _compare(target: str, source: str, expected: str, actual: str) -> Drift:
    return Drift(target, source, differences(expected, actual), fingerprint(expected), fingerprint(actual))


def _end(result: Drift, seconds: float) -> StepFinished | Message:
    """Return the event that closes the step: a step that ended badly is not finished."""
    summary = f"objects that differ: {len(result.objects)}"
    return Message("WARNING", summary, STEP) if result.found else StepFinished(STEP, summary, seconds)


def _object(name: str, built: list[str], live: list[str]) -> ObjectDrift:
    change = "changed" if built and live else "missing" if built else "extra"
    lines = list(difflib.unified_diff(built, live, lineterm="", n=0))[2:]
    return ObjectDrift(name, change, tuple(line for line in lines if not line.startswith("@@")))


def _blocks(text: str) -> dict[str, list[str]]:
    blocks = (block.strip("\n").split("\n") for block in text.split("\n\n") if block.strip())
    return {lines[0]: lines for lines in blocks}


def _applied(ledger: LedgerStatus, migrations: tuple[Migration, ...]) -> tuple[Migration, ...]:
    """Return the files up to the last one that the ledger knows as applied, or all if it knows none."""
    last = max((item.version for item in ledger.items if item.entry and item.migration), default=None)
    return tuple(migration for migration in migrations if last is None or migration.version <= last)


def _text(target: Target) -> str:
    with connect(target) as connection, translated(target):
        return schema_text(connection)


def _refuse_without_createdb(target: Target) -> None:
    with maintenance(target) as connection:
        row = connection.execute(
            "SELECT rolcreatedb OR rolsuper, rolname FROM pg_catalog.pg_roles WHERE rolname = current_user"
        ).fetchone()
    if not row or not row[0]:
        raise PreflightError(
            f'role "{row[1] if row else ""}" may not create databases, and drift is measured against a scratch one',
            where=target.server,
            hint="Let a superuser run `ALTER ROLE ... CREATEDB`, or run `invoke db.drift --against db/schema.txt`.",
        )
