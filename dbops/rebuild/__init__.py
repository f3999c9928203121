"""Drop, create, migrate and verify as one operation, rehearsed where something is at stake."""

from __future__ import annotations

from dbops.rebuild.model import Options, RebuildPlan, RebuildResult, StepSeconds
from dbops.rebuild.operation import plan, rebuild, repeat

__all__ = ["Options", "RebuildPlan", "RebuildResult", "StepSeconds", "plan", "rebuild", "repeat"]
