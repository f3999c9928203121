"""The database that a verb works on: named by an option, variables or a connection service, or embedded."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import dropwhile, takewhile
from pathlib import Path

from dbops.errors import UsageError
from dbops.settings.environ import home_directory, libpq_variables, variable
from dbops.settings.options import choice, empty
from dbops.settings.urls import parse_url, url_of

ENVIRONMENTS = ("dev", "test", "prod")
MAX_NAME_BYTES = 63
# The databases that this tool makes for itself (rehearsals, successors) have this prefix and twelve hexadecimal digits.
SCRATCH_PREFIX = "kapman_scratch_"
# Without a URL or a service, one of these names the target, as for psql.
_PLACE = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE")
# Databases of the server itself, beside the one that operators connect to.
SYSTEM_DATABASES = ("postgres", "template0", "template1")
_NUMBERS = ("connect_timeout", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval")


@dataclass(frozen=True, slots=True)
class Target:
    """One database on one server: libpq parameters (the password among them), and the environment it belongs to.

    The parameters are complete: a session takes nothing from the variables that libpq reads. `source` is the option
    or the variables that name the database, for messages. Raises UsageError for more than one host, since each
    connection may end at another server, unless all but the primary server are left out.
    """

    parameters: Mapping[str, str] = field(repr=False)
    database: str
    environment: str = "dev"
    embedded: bool = False
    maintenance_database: str = "postgres"
    source: str = "DATABASE_URL"

    def __post_init__(self) -> None:
        if self.parameters.get("target_session_attrs") not in ("read-write", "primary"):
            self.assert_one_host()

    def assert_one_host(self) -> None:
        """Raise UsageError if more than one host is named: two connections may end at two servers."""
        if any("," in self.parameters.get(name, "") for name in ("host", "hostaddr", "port")):
            raise UsageError(
                "more than one host is named, and the next connection may reach another server",
                where=self.source,
                hint="Name the one host whose database is meant. With target_session_attrs=read-write, tasks that make"
                " one connection take several: `invoke db.status`, `invoke db.verify`.",
            )

    @property
    def password(self) -> str | None:
        """Return the password that must never be shown, if there is one."""
        return self.parameters.get("password") or None

    @property
    def is_system_database(self) -> bool:
        """Return whether the database is part of the server."""
        return self.database in {*SYSTEM_DATABASES, self.maintenance_database}

    @property
    def server(self) -> str:
        """Return the server for people: `host:port`, or the socket directory; each of them if there are several."""
        names = ("host", "hostaddr", "port")
        hosts, addresses, ports = (self.parameters.get(name, "").split(",") for name in names)
        number = max(len(hosts), len(addresses))
        shown = []
        # One port is that of all hosts; libpq refuses other numbers that differ.
        for host, address, port in zip(
            *(values * number if len(values) == 1 else values for values in (hosts, addresses, ports)), strict=False
        ):
            if host.startswith("/") and not address:
                shown.append(f"{host} (port {port or 5432})")
            else:
                both = host and address and host != address
                name = f"{host} at {address}" if both else host or address or "local socket"
                shown.append(f"{name}:{port or 5432}")
        return " or ".join(shown)

    def url(self, *, with_secrets: bool = True) -> str:
        """Return the target as a URL that libpq takes."""
        return url_of({**self.parameters, "dbname": self.database}, with_secrets=with_secrets)

    def __str__(self) -> str:
        return f"{self.database} on {self.server}"


def choose_target(
    environ: Mapping[str, str],
    embedded: Callable[[], Target],
    *,
    url: str | None = None,
    env: str | None = None,
) -> Target:
    """Return the database to work on; `embedded` starts the embedded server and returns a database on it.

    `url` and `env` are options, None if not given. It comes from the first that is set: `url`, DATABASE_URL,
    PGSERVICE, the variables of libpq that name a place, the embedded server. What a URL or a service leaves open is
    taken from libpq's variables, as by psql; nothing is added to the embedded server. Raises UsageError for an unknown
    environment or a URL that names no usable target.
    """
    environment, chosen = _environment(environ, env)
    address, source = _chosen(environ, "--url", url, "DATABASE_URL")
    parameters = parse_url(address, source) if address else {}
    if address:
        service = parameters.pop("service", "")
    else:
        service, source = variable(environ, "PGSERVICE")
    places = [] if address or service else [variable(environ, name)[1] for name in _PLACE if name in environ]
    if not (address or service or places):
        parameters = {**embedded().parameters, "client_encoding": "UTF8"}
        return Target(parameters, f"kapman_{environment}", environment, embedded=True, source="--url")
    if service:
        parameters = {**_service(service, environ, source), **parameters}
    source = ", ".join(places) or source
    # As libpq takes them from its variables, without those of a session's settings and name: see "Environment
    # Variables" in its documentation.
    for name, keyword in libpq_variables().items():
        if name in environ and keyword not in ("", "service", "options", "application_name", "client_encoding"):
            value, its_source = variable(environ, name)
            if keyword not in parameters:
                _check_values({keyword: value}, its_source)
                parameters[keyword] = value
    if environ.get("PGREQUIRESSL", "").startswith("1"):
        parameters.setdefault("sslmode", "require")
    database = parameters.pop("dbname", "") or (f"kapman_{environment}" if chosen else "")
    if not database:
        if places:
            raise UsageError(
                "PGDATABASE is not set",
                where=source,
                hint=f"Set it, choose kapman_<env> with --env, or unset {source} to work on the embedded server.",
            )
        raise UsageError(
            f'the service "{service}" names no database' if service else "the connection URL names no database",
            where=source,
            hint=f"Add the name, as in .../kapman_{environment}, or choose kapman_<env> with --env.",
        )
    check_database_name(database, source)
    _check_values(parameters, source)
    parameters["client_encoding"] = "UTF8"
    return Target(parameters, database, environment, source=source)


def unused_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the variables of libpq that are set, which the embedded server does not use."""
    set_ = sorted(name for name in environ if name.startswith("PG"))
    return [name for name in set_ if libpq_variables().get(name)] if set_ else []


def _check_values(parameters: Mapping[str, str], source: str) -> None:
    """Raise UsageError for a parameter whose value libpq refuses, before it looks for the server."""
    from psycopg import pq
    from psycopg.conninfo import make_conninfo

    wrong = [name for name in _NUMBERS if not re.fullmatch(r"-?\d{1,9}", parameters.get(name) or "0", re.ASCII)]
    # A directory that has no socket: libpq checks the values, then fails to connect.
    elsewhere = {"host": "/dev/null", "hostaddr": "", "user": "none", "password": "none", "dbname": "none"}
    single = {key: value for key, value in parameters.items() if "," not in value or key == "require_auth"}
    attempt = pq.PGconn.connect_start(make_conninfo("", **{**single, **elsewhere}).encode())
    message = attempt.get_error_message()
    attempt.finish()
    if "/dev/null" not in message:
        wrong += [name for name in parameters if re.search(rf"\b{name}\b", message)]
    if wrong:
        raise UsageError(
            f"the connection has an invalid value for {wrong[0]}",
            where=source,
            hint='See "Parameter Key Words" in the documentation of libpq for what it takes.',
        )


def _service(name: str, environ: Mapping[str, str], source: str) -> dict[str, str]:
    """Return the parameters of a connection service, from the files that libpq reads.

    See "The Connection Service File" in PostgreSQL's documentation.
    """
    own = environ.get("PGSERVICEFILE") or str(home_directory(environ) / ".pg_service.conf")
    shared = Path(environ.get("PGSYSCONFDIR") or "/etc/postgresql-common") / "pg_service.conf"
    for path in (Path(own), shared):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"cannot read the connection service file: {error}",
                where=str(path),
                hint="Make it a UTF-8 text file that you may read.",
            ) from None
        section = dropwhile(lambda line: line.strip() != f"[{name}]", lines)
        if next(section, None):
            found: dict[str, str] = {}
            for line in takewhile(lambda line: not line.lstrip().startswith("["), section):
                if "=" in line and not line.lstrip().startswith("#"):
                    key, _, value = line.partition("=")
                    found.setdefault(key.strip(), value.strip())
            return found
    raise UsageError(
        f'the connection service "{name}" is not defined',
        where=source,
        hint=f"Add a section [{name}] to {own}, or set DATABASE_URL instead.",
    )


def target_words(url: str | None, env: str | None) -> str:
    """Return the options that name a target as a shell takes them again, without a secret that is in the URL."""
    words = ["--env", env] if env else []
    if url:
        try:
            parameters = parse_url(url, "--url")
        except UsageError:
            return shlex.join(words)
        shown = url_of(parameters, with_secrets=False)
        words += ["--url", url if shown == url_of(parameters) else shown]
    return shlex.join(words)


def default_database(environ: Mapping[str, str]) -> str:
    """Return the name of the embedded server's database in the environment that the variables name."""
    return f"kapman_{_environment(environ, None)[0]}"


def _environment(environ: Mapping[str, str], env: str | None) -> tuple[str, bool]:
    """Return the environment, and whether it was set explicitly."""
    names = ["KAPMAN_ENV", "ENV"]
    # POSIX shells have the path of a start-up file in ENV.
    if re.search(r"[/~$]", environ.get("ENV", "")):
        names.remove("ENV")
    value, source = _chosen(environ, "--env", env, *names)
    return choice("environment", value or "dev", ENVIRONMENTS, source), bool(value)


def _chosen(environ: Mapping[str, str], option: str, given: str | None, *variables: str) -> tuple[str, str]:
    """Return the value of the first that is set, an option or one of some variables, and its source.

    The value is empty if none is set. Raises UsageError for one that is set and empty.
    """
    if given is not None and not given.strip():
        raise empty(option)
    if given:
        return given, option
    found = (variable(environ, name) for name in variables)
    return next((pair for pair in found if pair[0]), ("", variables[-1]))


def is_scratch_name(name: str) -> bool:
    """Return whether a database name is of the form that this tool gives to rehearsals and successors."""
    return re.fullmatch(SCRATCH_PREFIX + "[0-9a-f]{12}", name) is not None


def check_database_name(name: str, source: str) -> None:
    """Raise UsageError for a name that PostgreSQL would cut silently or cannot hold, or of a scratch database."""
    size = len(name.encode("utf-8", "surrogateescape"))
    if size > MAX_NAME_BYTES or "\0" in name:
        raise UsageError(
            f"the database name is {size} bytes long, {MAX_NAME_BYTES} is the most that PostgreSQL keeps",
            where=source,
            hint="Choose a shorter name: PostgreSQL would cut this one silently.",
        )
    if is_scratch_name(name):
        raise UsageError(
            f"{name} is a name for scratch databases, which are dropped without asking",
            where=source,
            hint=f"Choose a database whose name is not {SCRATCH_PREFIX} and twelve hexadecimal digits.",
        )
