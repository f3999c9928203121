"""Migrations: files that change the schema, in order, each once, with a ledger of what was applied."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbops.migrations.alone import (
        HOLDING_MIGRATION_LOCK,
        MIGRATION_LOCK,
        only_session,
        refuse_system_database,
    )
    from dbops.migrations.files import Migration, NewFile, Renumbered, discover, new_file, renumber
    from dbops.migrations.ledger import LedgerStatus, State, read_status, status
    from dbops.migrations.options import DEFAULTS, Custody, MigrationOptions
    from dbops.migrations.reach import assert_limits, assert_within
    from dbops.migrations.rehearsal import MeasuredMigration, assert_declared, rehearse
    from dbops.migrations.released import released_names
    from dbops.migrations.run import (
        MigrationPlan,
        MigrationResult,
        PlannedMigration,
        apply,
        as_owner,
        migrate,
        plan,
    )
    from dbops.migrations.session import AppliedMigration

# What a verb does not need is not imported: a fifth of the time that `db.status` takes to start.
_MODULES = {
    "alone": "HOLDING_MIGRATION_LOCK MIGRATION_LOCK only_session refuse_system_database",
    "files": "Migration NewFile Renumbered discover new_file renumber",
    "ledger": "LedgerStatus State read_status status",
    "options": "DEFAULTS Custody MigrationOptions",
    "reach": "assert_limits assert_within",
    "rehearsal": "MeasuredMigration assert_declared rehearse",
    "released": "released_names",
    "run": "MigrationPlan MigrationResult PlannedMigration apply as_owner migrate plan",
    "session": "AppliedMigration",
}
_OWNERS = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _OWNERS:
        raise AttributeError(name)
    return getattr(import_module(f"dbops.migrations.{_OWNERS[name]}"), name)


__all__ = [
    "DEFAULTS",
    "HOLDING_MIGRATION_LOCK",
    "MIGRATION_LOCK",
    "AppliedMigration",
    "Custody",
    "LedgerStatus",
    "MeasuredMigration",
    "Migration",
    "MigrationOptions",
    "MigrationPlan",
    "MigrationResult",
    "NewFile",
    "PlannedMigration",
    "Renumbered",
    "State",
    "apply",
    "as_owner",
    "assert_declared",
    "assert_limits",
    "assert_within",
    "discover",
    "migrate",
    "new_file",
    "only_session",
    "plan",
    "read_status",
    "refuse_system_database",
    "rehearse",
    "released_names",
    "renumber",
    "status",
]
