"""Tasks that prove that the database is what it should be, and describe it."""

from __future__ import annotations
