"""Look before you leap: whatever could fail half-way is looked at, or tried, before anything is destroyed."""

from __future__ import annotations

from dbops.preflight.looks import preflight
from dbops.preflight.model import Finding, Preflight
from dbops.preflight.server import TIMESCALEDB

__all__ = ["TIMESCALEDB", "Finding", "Preflight", "preflight"]
