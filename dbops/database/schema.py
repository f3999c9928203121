"""The schema of the migrations, built beside: what db/schema.txt and docs/schema.md are written from."""

from __future__ import annotations

import hashlib

from dbops.migrations import Migration


def built_from(files: tuple[Migration, ...]) -> str:
    """Return a line that tells these migrations from any others, for the head of db/schema.txt."""
    if not files:
        return "Migrations: none"
    digest = hashlib.sha256("".join(f"{file.name} {file.checksum}\n" for file in files).encode()).hexdigest()
    return f"Migrations {files[0].version:04} to {files[-1].version:04}, sha256 {digest}"
