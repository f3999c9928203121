"""Tasks that install, start, stop and remove the embedded server."""

from __future__ import annotations
