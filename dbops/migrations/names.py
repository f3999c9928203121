"""The names in statements, as lint and the plan read them: patterns, and the form that the catalog has."""

from __future__ import annotations

import re

NAME = r'(?:"(?:[^"]|"")++"|[^\W\d][\w$]*+)'
TABLE = rf"(?P<table>{NAME}(?:\s*\.\s*{NAME})?)"
ALTER_TABLE = re.compile(
    rf"\s*ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?{TABLE}(?P<actions>.*)", re.IGNORECASE | re.DOTALL
)
VALIDATE_CONSTRAINT = re.compile(rf"\bVALIDATE\s+CONSTRAINT\s+(?P<constraint>{NAME})", re.IGNORECASE)


def stored(name: str) -> str:
    """Return a name, or two with a dot between them, without quotes and in the case that PostgreSQL keeps."""
    parts = [part[1:-1].replace('""', '"') if part[0] == '"' else part.lower() for part in re.findall(NAME, name)]
    return ".".join(parts)


def qualified(table: str) -> str:
    """Return a table's name as PostgreSQL keeps it, with the schema public where none is written."""
    name = stored(table)
    return name if len(re.findall(NAME, table)) > 1 else f"public.{name}"
