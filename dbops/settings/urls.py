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
    from psycopg.conninfo import conninfo_to_dict

    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url.strip())
    if flaw := _flaw(plain):
        raise UsageError(
            f"the connection URL is malformed: {flaw}",
            where=source,
            hint="Write it as postgresql://user:password@host:port/database, special characters percent-encoded.",
        )
    return {key: str(value) for key, value in conninfo_to_dict(plain).items() if value is not None}


def _flaw(url: str) -> str:
    """Return why libpq refuses a URL or a `key=value` string, would misread it, or would print a part of it.

    Nothing if it does not. An unencoded `@`, `/` or `:` in the password would be taken for another part, and shown as a
    host or port.
    """
    import psycopg
    from psycopg import pq
    from psycopg.conninfo import conninfo_to_dict

    known = [option.keyword.decode() for option in pq.Conninfo.get_defaults()]
    scheme, is_url, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path, _, query = rest[len(authority) :].partition("?")
    unknown = [name for name in (item.partition("=")[0] for item in query.split("&")) if name not in known]
    if is_url:
        if url[0] in "'\"" or scheme[:1] in ("'", '"'):
            return "it is in quotes, which belong to the shell and not to the value"
        if scheme != "postgresql":
            return "its scheme is not postgresql"
        if "@" in path or ("@" in query and unknown) or authority.count("@") > 1:
            return "the user name or the password contains a character that must be percent-encoded"
        for port in re.sub(r"\[[^]]*\]", "", authority.rpartition("@")[2]).split(","):
            if "::" in port or re.fullmatch(r"\[?[0-9a-fA-F]*(:[0-9a-fA-F]*){2,}", port.removesuffix("]")):
                return "an IPv6 address must be in brackets, as in [::1]"
            number = port.partition(":")[2]
            if not re.fullmatch(r"[^:]*(:\d*)?", port, re.ASCII) or (number and not 1 <= int(number) <= 65535):
                return "its port is not a number from 1 to 65535"
    try:
        conninfo_to_dict(url)
        return ""
    except psycopg.Error as error:
        message = str(error)
    if "query parameter" in message:
        import difflib

        if unknown and unknown[0] in _OTHERS_PARAMETERS:
            return f"it has an unknown parameter, {unknown[0]}, which is not one of libpq's"
        similar = difflib.get_close_matches(unknown[0], known, 1) if unknown else []
        return f"it has an unknown parameter{f' (perhaps {similar[0]} is meant)' if similar else ''}"
    if "percent-encoded" in message:
        return "a % is not followed by two hexadecimal digits"
    if is_url:
        return "it cannot be parsed"
    if "invalid connection option" in message:
        return "it has an unknown parameter"
    return "it is neither a postgresql:// URL nor a list of key=value parameters"
