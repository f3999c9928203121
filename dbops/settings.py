"""Where every setting comes from: flags, then environment, then `.env`, then defaults.

Functions take the environment as an argument. What they return is frozen and explicit.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import dropwhile, takewhile
from pathlib import Path

from dbops.errors import UsageError

ENVIRONMENTS = ("dev", "test", "prod")
MAX_NAME_BYTES = 63
ROOT = Path(__file__).resolve().parent.parent
# In a checkout they stand beside the package; an installed package brings them with it.
CHECKOUT = (ROOT / "db" / "migrations").is_dir()
_SQL = ROOT / "db" if CHECKOUT else Path(__file__).resolve().parent / "db"
MIGRATIONS = _SQL / "migrations"
CHECKS = _SQL / "verify"
SCHEMA = _SQL / "schema.txt"
# The databases that this tool makes for itself (rehearsals, successors) have this prefix and twelve hexadecimal digits.
SCRATCH_PREFIX = "kapman_scratch_"
# Without a URL or a service, one of these names the target, as for psql.
_PLACE = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE")
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
# Parameters that other libraries take in a URL, and libpq does not.
_OTHERS_PARAMETERS = (
    "connection_limit",
    "currentSchema",
    "pgbouncer",
    "pool_timeout",
    "schema",
    "search_path",
    "ssl",
    "sslaccept",
)
_UNITS = {"us": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>us|ms|s|min|h|d|)", re.ASCII)
# PostgreSQL keeps timeouts as milliseconds, in an integer of 32 bits.
_SHORTEST, _LONGEST = 0.001, (2**31 - 1) / 1000
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


def checkout() -> Path:
    """Return the root of the repository, for what writes into it; UsageError where the package is installed."""
    if CHECKOUT:
        return ROOT
    raise UsageError(
        "this is an installed package, and there is no repository to write into",
        where=str(Path(__file__).resolve().parent),
        hint="Run the task in a clone of kapman-dbops.",
    )


def shown_path(path: Path) -> str:
    """Return a path as people read it: from the working directory if it is below that."""
    try:
        return path.absolute().relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return path.as_posix()


def read_environ(environ: Mapping[str, str], directory: Path | None = None) -> Environ:
    """Return the environment over the `.env` file of a directory, which may be missing.

    The directory is that of the repository, or the current one for an installed package. `${NAME}` stands for a
    variable, as in Docker's files, except in single quotes. Raises UsageError for a file that cannot be read, or a
    variable in it that is not set: a setting in it must not be replaced by a default.
    """
    path = (directory or (ROOT if CHECKOUT else Path.cwd())) / ".env"
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    used: set[str] = set()
    for where, name, text, literal in _read_variables(path):
        names = [] if literal else re.findall(r"\$\{(\w+)", text)
        values[name] = _expanded(text, {**values, **environ}, where) if names else text
        used.update(names)
        if name not in environ:
            sources[name] = where
    unread = []
    for name, where in sources.items():
        known = [*_READ, *(_libpq_variables() if name.startswith("PG") else {})]
        if name not in used and name not in known:
            import difflib

            similar = difflib.get_close_matches(name.upper(), [*_READ, *_libpq_variables()], 1, 0.8)
            meant = f": perhaps {similar[0]} is meant" if similar else ""
            unread.append(f"{where}: no setting is called {name}{meant}")
    return Environ({**values, **environ}, sources, tuple(unread))


def _expanded(text: str, environ: Mapping[str, str], where: str) -> str:
    """Return a value with the variables that it names."""
    from dotenv.variables import Variable, parse_variables

    found = ""
    for part in parse_variables(text):
        if isinstance(part, Variable) and part.default is None and not environ.get(part.name):
            raise UsageError(
                f"the settings file uses the variable {part.name}, which is not set",
                where=where,
                hint=f"Set {part.name} in the environment or in a line above, or write the text in single quotes.",
            )
        found += part.resolve(environ)
    return found


def _libpq_variables() -> dict[str, str]:
    """Return the connection parameter of each variable that libpq reads, which is empty for a session's settings."""
    from psycopg import pq

    known = {option.envvar.decode(): option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    return {**known, "PGDATESTYLE": "", "PGTZ": "", "PGGEQO": ""}


def _libpq_parameters() -> list[str]:
    from psycopg import pq

    return [option.keyword.decode() for option in pq.Conninfo.get_defaults()]


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


def empty(option: str) -> UsageError:
    """Return the error of an option that is given and empty."""
    return UsageError(
        f"{option} is empty",
        where=option,
        hint="Give it a value, or leave the option out. A variable in the command may not be set.",
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


def choose_target(
    environ: Mapping[str, str],
    embedded_url: Callable[[], str],
    *,
    url: str | None = None,
    env: str | None = None,
) -> Target:
    """Return the database to work on; `embedded_url` starts the embedded server and returns its URL.

    `url` and `env` are options, None if not given. It comes from the first that is set: `url`, DATABASE_URL,
    PGSERVICE, the variables of libpq that name a place, the embedded server. What a URL or a service leaves open is
    taken from libpq's variables, as by psql; nothing is added to the embedded server. Raises UsageError for an unknown
    environment or a URL that names no usable target.
    """
    environment, chosen = _environment(environ, env)
    parameters, source = _named(environ, url)
    by_variables, embedded = not parameters, not source
    service = parameters.pop("service", "")
    if service:
        parameters = {**_service(service, environ, source), **parameters}
    if embedded:
        parameters, source = parse_url(embedded_url(), "the embedded server"), "--url"
    else:
        added = {key: value for key, value in _from_variables(environ).items() if key not in parameters}
        for name, key in _libpq_variables().items() if added else ():
            if key in added:
                _check_values({key: added[key]}, variable(environ, name)[1])
        parameters = {**added, **parameters}
    database = parameters.pop("dbname", "") or (f"kapman_{environment}" if embedded or chosen else "")
    if not database:
        if by_variables:
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
    return Target(parameters, database, environment, embedded, source=source)


def _named(environ: Mapping[str, str], url: str | None) -> tuple[dict[str, str], str]:
    """Return the parameters that an option or a variable names, and its name; nothing for the embedded server."""
    address, source = _chosen(environ, "--url", url, "DATABASE_URL")
    if address:
        return parse_url(address, source), source
    service, source = variable(environ, "PGSERVICE")
    if service:
        return {"service": service}, source
    places = [variable(environ, name)[1] for name in _PLACE if name in environ]
    return {}, ", ".join(places)


def unused_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the variables of libpq that are set, which the embedded server does not use."""
    set_ = sorted(name for name in environ if name.startswith("PG"))
    return [name for name in set_ if _libpq_variables().get(name)] if set_ else []


def _from_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that libpq would take from its variables.

    See "Environment Variables" in its documentation. Those of a session's settings and name are not taken.
    """
    if not any(name.startswith("PG") for name in environ):
        return {}
    found = {
        keyword: variable(environ, name)[0]
        for name, keyword in _libpq_variables().items()
        if name in environ and keyword not in ("", "service", "options", "application_name", "client_encoding")
    }
    if environ.get("PGREQUIRESSL", "").startswith("1"):
        found.setdefault("sslmode", "require")
    return found


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


def _service(name: str, environ: Mapping[str, str], source: str) -> dict[str, str]:
    """Return the parameters of a connection service, from the files that libpq reads.

    See "The Connection Service File" in PostgreSQL's documentation.
    """
    own = environ.get("PGSERVICEFILE") or str(_home(environ) / ".pg_service.conf")
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


def choice(what: str, value: str, allowed: tuple[str, ...], source: str) -> str:
    """Return the value if it is one of those allowed, else raise UsageError; `source` is an option or a variable."""
    if value in allowed:
        return value
    raise UsageError(f'unknown {what} "{shortened(value)}"', where=source, hint=f"Use one of: {', '.join(allowed)}.")


def parse_duration(text: str) -> float:
    """Return a duration such as `30`, `30s`, `1.5min` or `500ms` in seconds, a number alone being seconds.

    0 is no limit. Raises ValueError for anything else.
    """
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError(f'invalid duration "{shortened(text)}": write it as 30s, 500ms, 5min or 2h; 30 is 30 seconds')
    length = float(match["number"]) * _UNITS[match["unit"]]
    if 0 < length < _SHORTEST:
        raise ValueError(f'"{text}" is less than 1ms, which PostgreSQL would round to no limit at all')
    if length > _LONGEST:
        raise ValueError(f'"{shortened(text)}" is longer than PostgreSQL allows: at most 24d, or 0 for no limit')
    return length


def with_unit(text: str) -> str:
    """Return a duration with its unit, as PostgreSQL takes it and people read it; ValueError as `parse_duration`."""
    text = text.strip()
    return f"{text}s" if parse_duration(text) and text[-1].isdigit() else text


def seconds(option: str, value: str) -> float:
    """Return an option's duration in seconds; UsageError if it is not one."""
    try:
        return parse_duration(value)
    except ValueError as error:
        raise UsageError(str(error), where=option, hint=f"Write it as in `{option} 5s`.") from None


def duration(option: str, value: str) -> str:
    """Return an option's duration with its unit; UsageError if it is not one."""
    seconds(option, value)
    return with_unit(value)


def shortened(value: str) -> str:
    """Return a value for a message, cut where it is long."""
    return value if len(value) <= 60 else value[:57] + "..."


def positive_integer(option: str, value: str) -> int:
    """Return an option's positive integer, else raise UsageError."""
    if re.fullmatch(r"[1-9]\d{0,5}", value, re.ASCII):
        return int(value)
    raise UsageError(
        f'{option} must be a positive integer, not "{shortened(value)}"',
        where=option,
        hint=f"Write it as in {option} 3.",
    )


def version(option: str, value: str) -> int:
    """Return the version of a migration that an option names, as in 0007 or 7, else raise UsageError."""
    if re.fullmatch(r"\d{1,9}", value, re.ASCII):
        return int(value)
    raise UsageError(
        f'invalid version "{shortened(value)}"', where=option, hint=f"Give a number, as in `{option} 0007`."
    )


def names(option: str, value: str) -> tuple[str, ...]:
    """Return an option's names, which commas separate; UsageError if there are none."""
    if found := tuple(name.strip() for name in value.split(",") if name.strip()):
        return found
    raise empty(option)


def port_number(option: str, value: str) -> int:
    """Return an option's TCP port: 0 for `auto`, -1 for `none`. Raises UsageError if it is invalid."""
    words = {"auto": 0, "none": -1}
    if value in words:
        return words[value]
    if re.fullmatch(r"\d{1,5}", value, re.ASCII) and int(value) <= 65535:
        return int(value)
    raise UsageError(
        f'invalid port "{shortened(value)}"',
        where=option,
        hint=f"Use a number up to 65535, `{option} auto` for a free port, or `{option} none` for the socket alone.",
    )


def url_of(parameters: Mapping[str, str], *, with_secrets: bool = True) -> str:
    """Return libpq parameters as a URL; what has no position in it, such as a socket directory, becomes a parameter."""
    from urllib.parse import quote, urlencode

    from psycopg import pq

    secrets = {option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.dispchar == b"*"}
    rest = {key: value for key, value in parameters.items() if with_secrets or key not in secrets}
    database = rest.pop("dbname", "")
    user = rest.pop("user", "")
    password = rest.pop("password", "") if user else ""
    login = f"{quote(user, safe='')}{':' + quote(password, safe='') if password else ''}@" if user else ""
    host = rest.pop("host", "")
    port = rest.pop("port", "")
    if host.startswith("/") or "," in host:
        rest["host"], host = host, ""
    address = f"{'[' + host + ']' if ':' in host else host}{':' + port if port and host else ''}"
    if port and not host:
        rest["port"] = port
    query = f"?{urlencode(rest, safe='/', quote_via=quote)}" if rest else ""
    return f"postgresql://{login}{address}/{quote(database, safe='')}{query}"


def parse_url(url: str, source: str) -> dict[str, str]:
    """Return libpq parameters of a URL or a `key=value` string; a SQLAlchemy driver suffix is ignored.

    Raises UsageError, without repeating any part of the URL, since a password may be anywhere in a malformed one.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url.strip())
    reason = _flaw(plain) if "://" in plain else ""
    if not reason:
        try:
            return {key: str(value) for key, value in conninfo_to_dict(plain).items() if value is not None}
        except psycopg.Error as error:
            reason = _reason(plain, str(error))
    raise UsageError(
        f"the connection URL is malformed: {reason}",
        where=source,
        hint="Write it as postgresql://user:password@host:port/database, special characters percent-encoded.",
    ) from None


def _flaw(url: str) -> str:
    """Return why libpq would misread a URL or print a part of it, else nothing.

    An unencoded `@`, `/` or `:` in the password would be taken for another part, and shown as a host or port.
    """
    scheme, _, rest = url.partition("://")
    if url[0] in "'\"" or scheme[:1] in ("'", '"'):
        return "it is in quotes, which belong to the shell and not to the value"
    if scheme != "postgresql":
        return "its scheme is not postgresql"
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path, _, query = rest[len(authority) :].partition("?")
    names = [item.partition("=")[0] for item in query.split("&")]
    misread = "@" in query and any(name not in _libpq_parameters() for name in names)
    if "@" in path or misread or authority.count("@") > 1:
        return "the user name or the password contains a character that must be percent-encoded"
    ports = re.sub(r"\[[^]]*\]", "", authority.rpartition("@")[2]).split(",")
    for port in ports:
        if "::" in port or re.fullmatch(r"\[?[0-9a-fA-F]*(:[0-9a-fA-F]*){2,}", port.removesuffix("]")):
            return "an IPv6 address must be in brackets, as in [::1]"
        number = port.partition(":")[2]
        if not re.fullmatch(r"[^:]*(:\d*)?", port, re.ASCII) or (number and not 1 <= int(number) <= 65535):
            return "its port is not a number from 1 to 65535"
    return ""


def _reason(url: str, message: str) -> str:
    """Return what is wrong with a URL or `key=value` string, from what libpq says of it."""
    if "query parameter" in message:
        import difflib

        known = _libpq_parameters()
        given = [item.partition("=")[0] for item in url.partition("?")[2].split("&")]
        unknown = next((name for name in given if name not in known), "")
        if unknown in _OTHERS_PARAMETERS:
            return f"it has an unknown parameter, {unknown}, which is not one of libpq's"
        similar = difflib.get_close_matches(unknown, known, 1)
        return f"it has an unknown parameter{f' (perhaps {similar[0]} is meant)' if similar else ''}"
    if "percent-encoded" in message:
        return "a % is not followed by two hexadecimal digits"
    if "://" in url:
        return "it cannot be parsed"
    if "invalid connection option" in message:
        return "it has an unknown parameter"
    return "it is neither a postgresql:// URL nor a list of key=value parameters"


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


def server_directory(environ: Mapping[str, str]) -> Path:
    """Return where the embedded server lives; root's must be where the account `postgres` can reach it."""
    if own := variable(environ, "KAPMAN_SERVER_DIR")[0]:
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
            hint="Set HOME, or KAPMAN_SERVER_DIR, to a directory that it may write.",
        ) from None
