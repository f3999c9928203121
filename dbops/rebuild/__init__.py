"""Drop, create, migrate and verify as one operation, rehearsed where something is at stake."""

from __future__ import annotations

from dbops.rebuild.model import Options, RebuildPlan, RebuildResult, StepSeconds
from dbops.rebuild.operation import plan, rebuild, repeat
from dbops.rebuild.single import create, drop, migrate, warn_of_fence

__all__ = [
    "Options",
    "RebuildPlan",
    "RebuildResult",
    "StepSeconds",
    "create",
    "drop",
    "migrate",
    "plan",
    "rebuild",
    "repeat",
    "warn_of_fence",
]
