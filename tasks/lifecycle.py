"""Tasks that drop, create and rebuild a database, wait for its server."""

from __future__ import annotations
