"""CREATE DATABASE, with all that can only be said there."""

from __future__ import annotations

from psycopg import sql

from dbops.events import Report
from dbops.lifecycle.properties import Properties
from dbops.lifecycle.server import Server
from dbops.postgres import Connection, run


def default_properties(server: Server) -> Properties:
    """Return the properties of a database that nobody described: UTF-8 in the server's locale, owned by this role."""
    return Properties(
        owner=server.role,
        encoding="UTF8",
        provider=server.provider if server.encoding == "UTF8" else "c",
        collate=server.collate if server.encoding == "UTF8" else "C",
        ctype=server.ctype if server.encoding == "UTF8" else "C",
        locale=server.locale if server.encoding == "UTF8" else None,
        icu_rules=None,
        tablespace=server.tablespace,
        connection_limit=-1,
        allow_connections=True,
        acl=None,
        comment=None,
        settings=(),
        security_labels=(),
    )


def create_database(connection: Connection, name: str, wanted: Properties, report: Report, *, limit: int) -> None:
    """Create a database from template0: template1 may hold an extension that a plain owner could never drop."""
    clauses = [
        sql.SQL("TEMPLATE template0 OWNER {}").format(sql.Identifier(wanted.owner)),
        sql.SQL("ENCODING {} LC_COLLATE {} LC_CTYPE {}").format(
            sql.Literal(wanted.encoding), sql.Literal(wanted.collate), sql.Literal(wanted.ctype)
        ),
        _provider(wanted),
        _tablespace(connection, wanted),
        sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(limit)),
    ]
    head = sql.SQL("CREATE DATABASE {} ").format(sql.Identifier(name))
    run(connection, head + sql.SQL(" ").join(clauses), report)


def _provider(wanted: Properties) -> sql.Composable:
    if wanted.provider == "c":
        return sql.SQL("LOCALE_PROVIDER libc")
    if wanted.provider == "b":
        return sql.SQL("LOCALE_PROVIDER builtin BUILTIN_LOCALE {}").format(sql.Literal(wanted.locale))
    rules = sql.SQL(" ICU_RULES {}").format(sql.Literal(wanted.icu_rules)) if wanted.icu_rules else sql.SQL("")
    return sql.SQL("LOCALE_PROVIDER icu ICU_LOCALE {}").format(sql.Literal(wanted.locale)) + rules


def _tablespace(connection: Connection, wanted: Properties) -> sql.Composable:
    """Name the tablespace only where it isn't what template0 gives: naming one needs a right to it."""
    query = (
        "SELECT spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = 'template0'"
    )
    if connection.execute(query).fetchone() == (wanted.tablespace,):
        return sql.SQL("")
    return sql.SQL("TABLESPACE {}").format(sql.Identifier(wanted.tablespace))
