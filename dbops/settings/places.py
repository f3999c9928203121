"""Where the repository and its files are, and how a path is shown."""

from __future__ import annotations

from pathlib import Path

from dbops.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent.parent
# In a checkout they stand beside the package; an installed package brings them with it.
CHECKOUT = (ROOT / "db" / "migrations").is_dir()
_SQL = ROOT / "db" if CHECKOUT else Path(__file__).resolve().parent.parent / "db"
MIGRATIONS = _SQL / "migrations"
CHECKS = _SQL / "verify"
SCHEMA = _SQL / "schema.txt"


def checkout() -> Path:
    """Return the root of the repository, for what writes into it; UsageError where the package is installed."""
    if CHECKOUT:
        return ROOT
    raise UsageError(
        "this is an installed package, and there is no repository to write into",
        where=str(Path(__file__).resolve().parent.parent),
        hint="Run the task in a clone of kapman-dbops.",
    )


def shown_path(path: Path) -> str:
    """Return a path as people read it: from the working directory if it is below that."""
    try:
        return path.absolute().relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return path.as_posix()
