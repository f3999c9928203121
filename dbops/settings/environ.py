"""Variables of the environment and of the settings file `.env`, which gives way to them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dbops.errors import UsageError
from dbops.settings.places import CHECKOUT, ROOT, shown_path

_READ = (
    "DATABASE_URL",
    "ENV",
    "HOME",
    "KAPMAN_COMPOSE_PASSWORD",
    "KAPMAN_COMPOSE_PORT",
    "KAPMAN_ENV",
    "KAPMAN_SERVER_DIR",
    "KAPMAN_TEST_DATABASE_URL",
    "PATH",
    "PGREQUIRESSL",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSYSCONFDIR",
    "XDG_DATA_HOME",
)


class Environ(dict[str, str]):
    """Variables by name; `sources` says for those of a settings file where they stand, as in `.env:3`.

    `unread` has a sentence for each name in that file that no setting has: it may be misspelled.
    """

    def __init__(
        self, values: Mapping[str, str], sources: Mapping[str, str] | None = None, unread: tuple[str, ...] = ()
    ) -> None:
        super().__init__(values)
        self.sources = sources or {}
        self.unread = unread


def read_environ(environ: Mapping[str, str], directory: Path | None = None) -> Environ:
    """Return the environment over the `.env` file of a directory, which may be missing.

    The directory is that of the repository, or the current one for an installed package. `${NAME}` stands for a
    variable, as in Docker's files, except in single quotes. Raises UsageError for a file that cannot be read, or a
    variable in it that is not set: a setting in it must not be replaced by a default. What is unread includes each
    variable of the environment whose name is nearly one of this tool's that is not set.
    """
    path = (directory or (ROOT if CHECKOUT else Path.cwd())) / ".env"
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    used: set[str] = set()
    for where, name, text, literal in _read_variables(path):
        if not literal and re.search(r"\$\{\w", text):
            from dotenv.variables import Variable, parse_variables

            parts, there = list(parse_variables(text)), {**values, **environ}
            for part in parts:
                if isinstance(part, Variable):
                    used.add(part.name)
                    if part.default is None and not there.get(part.name):
                        raise UsageError(
                            f"the settings file uses the variable {part.name}, which is not set",
                            where=where,
                            hint=f"Set {part.name} in the environment or in a line above, or write the text in single"
                            " quotes.",
                        )
            text = "".join(part.resolve(there) for part in parts)
        values[name] = text
        if name not in environ:
            sources[name] = where
    unread = []
    for name, where in sources.items():
        known = [*_READ, *(libpq_variables() if name.startswith("PG") else {})]
        if name not in used and name not in known:
            meant = _meant(name.upper(), [*_READ, *libpq_variables()], 0.8)
            unread.append(f"{where}: no setting is called {name}{meant}")
    for name in environ:
        # Others have names of their own, which only resemble these.
        if name.startswith(("KAPMAN_", "DATAB")) and name not in _READ:
            wanted = [known for known in _READ if known[:5] == name[:5] and known not in environ]
            if meant := _meant(name, wanted, 0.7 if name.startswith("KAPMAN_") else 0.9):
                unread.append(f"the environment: no setting is called {name}{meant}")
    return Environ({**values, **environ}, sources, tuple(unread))


def _meant(name: str, names: Sequence[str], similarity: float) -> str:
    """Return which of some names a misspelled one is like, as the end of a sentence, else nothing."""
    import difflib

    found = difflib.get_close_matches(name, names, 1, similarity)
    return f": perhaps {found[0]} is meant" if found else ""


def _read_variables(path: Path) -> list[tuple[str, str, str, bool]]:
    """Return the place (`.env:3`), the name and the value of each variable in a settings file, and if it is literal.

    Nothing if there is no such file. What is in single quotes is literal.
    """
    shown = shown_path(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            # Most runs have no such file, and need no parser.
            from dotenv.parser import parse_stream

            bindings = list(parse_stream(file))
    except FileNotFoundError:
        if not path.is_symlink():
            return []
        problem = "dangling symbolic link"
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except UnicodeDecodeError as error:
        problem = f"not UTF-8: {error.reason} at byte {error.start}"
    else:
        found = []
        for binding in bindings:
            text = binding.original.string
            line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
            if binding.error:
                raise UsageError(
                    "cannot read a line of the settings file: an unclosed quote, or not NAME=value",
                    where=f"{shown}:{line}",
                    hint="Close the quote, or make the line a comment with #.",
                )
            if binding.key:
                is_literal = re.match(r"\s*(export\s+)?[^=]*=\s*'", text) is not None
                found.append((f"{shown}:{line}", binding.key, binding.value or "", is_literal))
        return found
    raise UsageError(
        f"cannot read the settings file: {problem}",
        where=shown,
        hint="Make it a UTF-8 text file of NAME=value lines that you may read, or remove it.",
    )


def variable(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return a variable's value and its source, for errors; the value is empty if the variable is not set.

    Raises UsageError if it is set and empty, as an unset secret of a CI job is: that never means the default.
    """
    sources = environ.sources if isinstance(environ, Environ) else {}
    value = environ.get(name)
    if value == "":
        raise UsageError(
            f"{name} is set, but empty",
            where=sources.get(name, name),
            hint=f"Give it a value, or unset {name} to use the default.",
        )
    return value or "", sources.get(name, name)


def libpq_variables() -> dict[str, str]:
    """Return the connection parameter of each variable that libpq reads, which is empty for a session's settings."""
    from psycopg import pq

    known = {option.envvar.decode(): option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    return {**known, "PGDATESTYLE": "", "PGTZ": "", "PGGEQO": ""}


def server_directory(environ: Mapping[str, str]) -> Path:
    """Return where the embedded server lives; root's must be where the account `postgres` can reach it."""
    if own := variable(environ, "KAPMAN_SERVER_DIR")[0]:
        return Path(own).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/kapman-dbops")
    return Path(environ.get("XDG_DATA_HOME") or home_directory(environ) / ".local" / "share") / "kapman-dbops"


def home_directory(environ: Mapping[str, str]) -> Path:
    """Return the home directory; UsageError for an account that has none."""
    try:
        return Path(environ.get("HOME") or Path.home())
    except RuntimeError:
        raise UsageError(
            "this account has no home directory to keep state in",
            where="HOME",
            hint="Set HOME, or KAPMAN_SERVER_DIR, to a directory that it may write.",
        ) from None
