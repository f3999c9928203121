"""Drop and create whole databases; what is at stake, and what survives."""

from __future__ import annotations

from dbops.lifecycle.consent import agree
from dbops.lifecycle.create import CreateResult, create, open_up
from dbops.lifecycle.drop import DropResult, drop
from dbops.lifecycle.scratch import scratch, sweep
from dbops.lifecycle.sessions import Session
from dbops.lifecycle.stakes import Stakes, TableStakes, stakes

__all__ = [
    "CreateResult",
    "DropResult",
    "Session",
    "Stakes",
    "TableStakes",
    "agree",
    "create",
    "drop",
    "open_up",
    "scratch",
    "stakes",
    "sweep",
]
