"""Tasks that apply migrations, show what is applied, start a new one."""

from __future__ import annotations
