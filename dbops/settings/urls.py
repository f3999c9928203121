"""URLs of databases, read as libpq reads them, and written; an error says what is wrong without a part of the URL."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dbops.errors import UsageError

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


def _libpq_parameters() -> list[str]:
    from psycopg import pq

    return [option.keyword.decode() for option in pq.Conninfo.get_defaults()]
