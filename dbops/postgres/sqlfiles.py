"""Queries that live in files of their own."""

from __future__ import annotations

from importlib import resources


def sql_file(package: str, name: str) -> str:
    """Return the text of `queries/NAME.sql` of a package such as `dbops.postgres`."""
    return resources.files(package).joinpath("queries", f"{name}.sql").read_text(encoding="utf-8")
