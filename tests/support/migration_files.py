"""Migration directories for tests."""

from __future__ import annotations

from pathlib import Path

from dbops.migrations.files import Migration, discover


def write(directory: Path, *texts: str | bytes, first: int = 1) -> Path:
    """Write texts as migrations, numbered from `first`, and return their directory."""
    directory.mkdir(exist_ok=True)
    for version, text in enumerate(texts, start=first):
        content = text if isinstance(text, bytes) else text.encode()
        (directory / f"{version:04}_do_step{version}.sql").write_bytes(content)
    return directory


def written(directory: Path, *texts: str | bytes, first: int = 1) -> tuple[Migration, ...]:
    """Write texts as migrations and return all of the directory's."""
    return discover(write(directory, *texts, first=first))
