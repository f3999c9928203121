"""Where every setting comes from: flags, then environment, then `.env`, then defaults.

This is the only module that reads the environment. What it returns is frozen and explicit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values

from dbops.errors import UsageError

ENVIRONMENTS = ("dev", "test", "prod")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING")
MAX_NAME_BYTES = 63
ROOT = Path(__file__).resolve().parent.parent
MIGRATIONS = ROOT / "db" / "migrations"
CHECKS = ROOT / "db" / "verify"
# The databases that this tool makes for itself (rehearsals, successors) have this prefix and twelve hexadecimal digits.
SCRATCH_PREFIX = "kapman_scratch_"


@dataclass(frozen=True, slots=True)
class Target:
    """One database on one server: libpq parameters (the password among them), and the environment it belongs to."""

    parameters: Mapping[str, str] = field(repr=False)
    database: str
    environment: str = "dev"
    embedded: bool = False
    maintenance_database: str = "postgres"

    @property
    def password(self) -> str | None:
        """Return the password that must never be shown, if there is one."""
        return self.parameters.get("password") or None

    @property
    def server(self) -> str:
        """Return the server for people: `host:port`, or the socket directory."""
        host = self.parameters.get("host") or self.parameters.get("hostaddr") or "local socket"
        port = self.parameters.get("port", "5432")
        return f"{host} (port {port})" if host.startswith("/") else f"{host}:{port}"

    def __str__(self) -> str:
        return f"{self.database} on {self.server}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a task needs to know before it starts."""

    target: Target
    migrations: Path = MIGRATIONS
    verify: Path = CHECKS
    state: Path = Path()


def read_environ(environ: Mapping[str, str], directory: Path = ROOT) -> dict[str, str]:
    """Return the environment over the `.env` file of a directory (which may be missing); empty counts as not set."""
    path = directory / ".env"
    try:
        values = dotenv_values(path, interpolate=False) if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the settings file: {error}",
            where=str(path),
            hint="Make it a UTF-8 text file of NAME=value lines that you may read, or remove it.",
        ) from None
    return {**_set(values), **_set(environ)}


def _set(environ: Mapping[str, str] | Mapping[str, str | None]) -> dict[str, str]:
    """Return the variables that have a value."""
    return {key: value for key, value in environ.items() if value}


def load(
    environ: Mapping[str, str],
    embedded_url: Callable[[], str],
    *,
    url: str = "",
    env: str = "",
) -> Settings:
    """Return the settings for one run; `embedded_url` starts the embedded server and says where it is.

    Raises UsageError for an unknown environment or a URL that names no usable target.
    """
    given = env or environ.get("KAPMAN_ENV") or environ.get("ENV") or ""
    environment = choose_environment(environ, env)
    source = "--url" if url else "DATABASE_URL"
    address = url or environ.get("DATABASE_URL", "")
    embedded = not address
    parameters = parse_url(address or embedded_url(), source)
    database = parameters.pop("dbname", "") or (f"kapman_{environment}" if embedded or given else "")
    if not database:
        raise UsageError(
            "the connection URL names no database",
            where=source,
            hint=f"Add the name, as in .../kapman_{environment}, or choose kapman_<env> with --env.",
        )
    check_database_name(database)
    parameters["client_encoding"] = "UTF8"
    return Settings(
        target=Target(parameters, database, environment, embedded),
        state=state_directory(environ),
    )


def choose_environment(environ: Mapping[str, str], env: str = "") -> str:
    """Return the environment that the flag, KAPMAN_ENV or ENV names, else dev; raise UsageError for an unknown one."""
    return choice("environment", env or environ.get("KAPMAN_ENV") or environ.get("ENV") or "dev", ENVIRONMENTS)


def choice(what: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return the value if it is one of those allowed, else raise UsageError."""
    if value in allowed:
        return value
    raise UsageError(
        f'unknown {what} "{value}"',
        where=f"the {what} setting",
        hint=f"Use one of: {', '.join(allowed)}.",
    )


def seconds(option: str, value: str) -> float:
    """Return an option's seconds, else raise UsageError."""
    if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", value, re.ASCII):
        return float(value)
    raise UsageError(f'"{value}" is not a number of seconds', where=option, hint=f"Write it as in {option} 30.")


def whole_number(option: str, value: str) -> int:
    """Return an option's positive integer, else raise UsageError."""
    if re.fullmatch(r"[1-9]\d{0,5}", value, re.ASCII):
        return int(value)
    raise UsageError(f'"{value}" is not a positive integer', where=option, hint=f"Write it as in {option} 3.")


def port_number(option: str, value: str) -> int | None:
    """Return an option's TCP port: None if it is empty, 0 for `auto`; raise UsageError if it is invalid."""
    if not value:
        return None
    if value == "auto" or (value.isascii() and value.isdigit() and int(value) <= 65535):
        return 0 if value == "auto" else int(value)
    raise UsageError(
        f'"{value}" is not a port number',
        where=option,
        hint=f"Use a number up to 65535, or `{option} auto` for a free port.",
    )


def parse_url(url: str, source: str) -> dict[str, str]:
    """Return libpq parameters of a URL or a `key=value` string; a SQLAlchemy driver suffix is ignored.

    Raises UsageError, without repeating the URL, since a password may be anywhere in a malformed one.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url.strip())
    try:
        if "://" in plain and not _is_sound(plain):
            raise psycopg.ProgrammingError
        return {key: str(value) for key, value in conninfo_to_dict(plain).items() if value is not None}
    except psycopg.Error:
        raise UsageError(
            "the connection URL is malformed",
            where=source,
            hint="Write it as postgresql://user:password@host:port/database, special characters percent-encoded.",
        ) from None


def _is_sound(url: str) -> bool:
    """Return False where an unencoded `@`, `/` or `:` in the password would be taken for another part of the URL.

    libpq would then print a piece of the password as the host or port that it cannot use.
    """
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    hosts = authority.rpartition("@")[2]
    ports = re.sub(r"\[[^]]*\]", "", hosts).split(",")
    return (
        scheme == "postgresql"
        and "@" not in rest[len(authority) :]
        and authority.count("@") <= 1
        and all(re.fullmatch(r"[^:]*(:\d*)?", port) for port in ports)
    )


def is_scratch_name(name: str) -> bool:
    """Return whether a database name is of the form that this tool gives to rehearsals and successors."""
    return re.fullmatch(SCRATCH_PREFIX + "[0-9a-f]{12}", name) is not None


def check_database_name(name: str) -> None:
    """Raise UsageError for a name that PostgreSQL would cut silently or cannot hold."""
    size = len(name.encode("utf-8", "surrogateescape"))
    if size <= MAX_NAME_BYTES and "\0" not in name:
        return
    raise UsageError(
        f"the database name is {size} bytes long, {MAX_NAME_BYTES} is the most that PostgreSQL keeps",
        where=name,
        hint="Choose a shorter name: PostgreSQL would cut this one silently.",
    )


def state_directory(environ: Mapping[str, str]) -> Path:
    """Return where state that must outlive a crash is kept."""
    if own := environ.get("KAPMAN_STATE_DIR"):
        return Path(own)
    home = _home(environ)
    return Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "kapman-dbops"


def server_directory(environ: Mapping[str, str]) -> Path:
    """Return where the embedded server lives; root's must be where the account `postgres` can reach it."""
    if own := environ.get("KAPMAN_SERVER_DIR"):
        return Path(own).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/kapman-dbops")
    home = _home(environ)
    return Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "kapman-dbops"


def _home(environ: Mapping[str, str]) -> Path:
    """Return the home directory; UsageError for an account that has none."""
    try:
        return Path(environ.get("HOME") or Path.home())
    except RuntimeError:
        raise UsageError(
            "this account has no home directory to keep state in",
            where="HOME",
            hint="Set HOME, or KAPMAN_STATE_DIR and KAPMAN_SERVER_DIR, to directories that it may write.",
        ) from None
