"""Migrations: files that change the schema, in order, each once, with a ledger of what was applied."""

from __future__ import annotations

from dbops.migrations.files import Migration, discover, new_file
from dbops.migrations.plan import Plan, PlannedMigration, plan, status, version_of
from dbops.migrations.runner import MigrationResult, migrate
from dbops.migrations.state import Item, LedgerStatus, State
from dbops.migrations.work import AppliedMigration

__all__ = [
    "AppliedMigration",
    "Item",
    "LedgerStatus",
    "Migration",
    "MigrationResult",
    "Plan",
    "PlannedMigration",
    "State",
    "discover",
    "migrate",
    "new_file",
    "plan",
    "status",
    "version_of",
]
