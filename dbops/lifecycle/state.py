"""A database's properties on disk, from before its drop until they are restored, so that a crash loses none."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dbops.errors import PreflightError
from dbops.events import Message, Report
from dbops.lifecycle.properties import Grant, Properties, SecurityLabel, Setting


@dataclass(frozen=True, slots=True)
class State:
    """What an unfinished drop or create must not forget.

    `old_oid` is the database that was to be dropped, `new_oid` the one made in its place, as far as they are known.
    The live database's oid tells how far a dead operator came.
    """

    system_identifier: str
    database: str
    properties: Properties
    old_oid: int | None = None
    new_oid: int | None = None


def path_of(directory: Path, system_identifier: str, database: str) -> Path:
    """Return the state file of a database: any name becomes a safe one."""
    digest = hashlib.sha256(database.encode()).hexdigest()[:16]
    return directory / f"{system_identifier}-{digest}.json"


def load(directory: Path, system_identifier: str, database: str) -> State | None:
    """Return the state that an earlier run left, if any; PreflightError if it can't be understood."""
    path = path_of(directory, system_identifier, database)
    try:
        return _decode(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PreflightError(
            f"cannot read the saved properties of {database}: {error}",
            where=str(path),
            hint="Make the file readable; or remove it to go on with PostgreSQL's default properties.",
        ) from None


def save(directory: Path, state: State) -> None:
    """Write the state so that a crash leaves the old file or the new one, readable by this user only."""
    path = path_of(directory, state.system_identifier, state.database)
    part = path.with_suffix(f".{secrets.token_hex(6)}.part")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(path)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(state), file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync(directory)
    except OSError as error:
        raise _unwritable(directory, error) from None


def discard(directory: Path, state: State, report: Report) -> None:
    """Forget a state whose properties are in force again; what they are about is done, so failing only warns."""
    path = path_of(directory, state.system_identifier, state.database)
    try:
        _sweep(path)
        path.unlink(missing_ok=True)
    except OSError as error:
        text = f"{path} is out of date and can't be removed ({error.strerror}): remove it before the next run"
        report(Message("WARNING", text))


def check_writable(directory: Path) -> None:
    """Raise PreflightError if no state could be kept."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise _unwritable(directory, error) from None


def _unwritable(directory: Path, error: OSError) -> PreflightError:
    return PreflightError(
        f"cannot save the database's properties: {error.strerror or error}",
        where=str(directory),
        hint="Set KAPMAN_STATE_DIR to a directory that you may write to.",
    )


def _sweep(path: Path) -> None:
    """Remove what a save that was killed left; whoever saves holds the operator's lock, so nobody else is at it."""
    for part in path.parent.glob(f"{path.stem}.*.part"):
        part.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _decode(data: dict[str, Any]) -> State:
    """Return the state that `asdict` made a dict of."""
    properties = dict(data["properties"])
    acl = properties["acl"]
    properties["acl"] = None if acl is None else tuple(Grant(**item) for item in acl)
    properties["settings"] = tuple(Setting(**item) for item in properties["settings"])
    properties["security_labels"] = tuple(SecurityLabel(**item) for item in properties["security_labels"])
    return State(**{**data, "properties": Properties(**properties)})
