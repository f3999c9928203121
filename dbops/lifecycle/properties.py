"""What a database is beside its tables: read it, write it into a new one, tell the difference."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from psycopg import sql

from dbops.events import Report
from dbops.lifecycle.guc import setting_value
from dbops.postgres import Connection, run

# A leftover of pg_restore that would keep TimescaleDB switched off in the new database.
NEVER_RESTORED = "timescaledb.restoring"
INVALID = -2
# Stands in the comment of a database that is being built, so that nobody takes its fence for a property of it.
FENCED = "Fenced by kapman-dbops while it is built. If nobody is at work on it, `invoke db.create` opens it."


@dataclass(frozen=True, slots=True)
class Setting:
    """One `ALTER DATABASE ... SET`, or `ALTER ROLE ... IN DATABASE ... SET` if it names a role."""

    role: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Grant:
    """One privilege of an ACL; an empty grantee is PUBLIC."""

    grantor: str
    grantee: str
    privilege: str
    grantable: bool


@dataclass(frozen=True, slots=True)
class SecurityLabel:
    """One label of a security provider."""

    provider: str
    label: str


@dataclass(frozen=True, slots=True)
class Properties:
    """All of a database that DROP DATABASE loses and CREATE DATABASE does not bring back.

    `provider` is pg_database's letter: c(ollation of libc), i(cu) or b(uiltin). `acl` is None where nobody ever
    granted or revoked anything. `connection_limit` is -1 for none.
    """

    owner: str
    encoding: str
    provider: str
    collate: str
    ctype: str
    locale: str | None
    icu_rules: str | None
    tablespace: str
    connection_limit: int
    allow_connections: bool
    acl: tuple[Grant, ...] | None
    comment: str | None
    settings: tuple[Setting, ...]
    security_labels: tuple[SecurityLabel, ...]

    def effective_acl(self) -> frozenset[Grant]:
        """Return the privileges as they work: PostgreSQL's defaults where the ACL was never touched."""
        if self.acl is not None:
            return frozenset(self.acl)
        everyone = [Grant(self.owner, "", privilege, False) for privilege in ("CONNECT", "TEMPORARY")]
        owner = [Grant(self.owner, self.owner, p, False) for p in ("CONNECT", "TEMPORARY", "CREATE")]
        return frozenset(everyone + owner)


@dataclass(frozen=True, slots=True)
class Found:
    """A database that is there: its oid tells it from another of the same name; `invalid` means half dropped.

    One that is `fenced` is being built, or was: its limit, ACL and comment are the fence's, and count as the defaults.
    """

    oid: int
    invalid: bool
    template: bool
    fenced: bool
    properties: Properties


READ = """
SELECT d.oid::int8, d.datconnlimit, d.datistemplate, d.datallowconn, pg_get_userbyid(d.datdba),
       pg_encoding_to_char(d.encoding), d.datlocprovider::text, d.datcollate, d.datctype,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'), to_jsonb(d) ->> 'daticurules',
       t.spcname, d.datacl IS NULL, shobj_description(d.oid, 'pg_database')
FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = %s
"""
READ_ACL = """
SELECT pg_get_userbyid(a.grantor), CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee) END,
       a.privilege_type, a.is_grantable
FROM pg_database d, aclexplode(d.datacl) WITH ORDINALITY AS a (grantor, grantee, privilege_type, is_grantable, n)
WHERE d.oid = %s ORDER BY a.n
"""
READ_SETTINGS = """
SELECT CASE s.setrole WHEN 0 THEN '' ELSE pg_get_userbyid(s.setrole) END,
       split_part(c.item, '=', 1), substr(c.item, strpos(c.item, '=') + 1)
FROM pg_db_role_setting s, unnest(s.setconfig) WITH ORDINALITY AS c (item, n)
WHERE s.setdatabase = %s ORDER BY 1, c.n
"""
READ_LABELS = """
SELECT provider, label FROM pg_shseclabel WHERE classoid = 'pg_database'::regclass AND objoid = %s ORDER BY 1
"""


def find(connection: Connection, database: str) -> Found | None:
    """Return the database of this name, or None if there is none."""
    row: Any = connection.execute(READ, [database]).fetchone()
    if row is None:
        return None
    oid, limit, template, allowed, owner, encoding, provider, collate, ctype, locale, rules, space, plain, text = row
    fenced = text == FENCED
    acl = tuple(Grant(*r) for r in _rows(connection, READ_ACL, oid))
    settings = (Setting(*r) for r in _rows(connection, READ_SETTINGS, oid))
    properties = Properties(
        owner=owner,
        encoding=encoding,
        provider=provider,
        collate=collate,
        ctype=ctype,
        locale=locale,
        icu_rules=rules,
        tablespace=space,
        connection_limit=-1 if fenced else max(limit, -1),
        allow_connections=allowed,
        acl=None if plain or fenced else acl,
        comment=None if fenced else text,
        settings=tuple(s for s in settings if s.name.lower() != NEVER_RESTORED),
        security_labels=tuple(SecurityLabel(*r) for r in _rows(connection, READ_LABELS, oid)),
    )
    return Found(oid, limit == INVALID, template, fenced, properties)


def _rows(connection: Connection, query: str, oid: int) -> list[Any]:
    return connection.execute(query, [oid]).fetchall()


def restore(connection: Connection, database: str, wanted: Properties, report: Report) -> None:
    """Give a database all properties that CREATE DATABASE could not, in one transaction.

    A connection limit or missing privilege that fenced it is gone in the same moment.
    """
    name = sql.Identifier(database)
    with connection.transaction():
        for setting in wanted.settings:
            _set(connection, name, setting, report)
        for label in wanted.security_labels:
            statement = sql.SQL("SECURITY LABEL FOR {} ON DATABASE {} IS {}")
            run(connection, statement.format(sql.Identifier(label.provider), name, sql.Literal(label.label)), report)
        run(connection, sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, sql.Literal(wanted.comment)), report)
        _grant(connection, database, wanted, report)
        limit = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(name, sql.Literal(wanted.connection_limit))
        run(connection, limit, report)


def _set(connection: Connection, name: sql.Identifier, setting: Setting, report: Report) -> None:
    """Set one parameter; its value may be a secret and is reported as dots."""
    role = sql.SQL("ALTER ROLE {} IN ").format(sql.Identifier(setting.role)) if setting.role else sql.SQL("ALTER ")
    parameter = sql.Identifier(*setting.name.split("."))
    head = role + sql.SQL("DATABASE {} SET {} TO ").format(name, parameter)
    run(connection, head + setting_value(setting.name, setting.value), report, shown=head.as_string(connection) + "...")


def _grant(connection: Connection, database: str, wanted: Properties, report: Report) -> None:
    """Grant what the ACL says, each privilege as its grantor, in the order in which they were granted."""
    name = sql.Identifier(database)
    found = find(connection, database)
    if found and found.properties.effective_acl() == wanted.effective_acl():
        return
    if wanted.acl is None:
        run(connection, sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO PUBLIC").format(name), report)
        return
    for role in (sql.SQL("PUBLIC"), sql.Identifier(wanted.owner)):
        run(connection, sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(name, role), report)
    for grant in wanted.acl:
        grantee = sql.Identifier(grant.grantee) if grant.grantee else sql.SQL("PUBLIC")
        option = sql.SQL(" WITH GRANT OPTION" if grant.grantable else "")
        statement = sql.SQL("GRANT {} ON DATABASE {} TO {}").format(sql.SQL(grant.privilege), name, grantee)
        if grant.grantor != wanted.owner:
            run(connection, sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(grant.grantor)), report)
        run(connection, statement + option, report)
        if grant.grantor != wanted.owner:
            run(connection, sql.SQL("RESET ROLE"), report)


def differences(found: Properties, wanted: Properties) -> tuple[str, ...]:
    """Return the names of the properties in which two databases differ."""
    names = [field.name for field in fields(Properties) if field.name not in ("acl", "allow_connections", "settings")]
    different = [name for name in names if getattr(found, name) != getattr(wanted, name)]
    if set(found.settings) != set(wanted.settings):
        different.append("settings")
    if found.effective_acl() != wanted.effective_acl():
        different.append("acl")
    return tuple(different)
