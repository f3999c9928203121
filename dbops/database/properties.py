"""What DROP DATABASE loses beside the tables: read it, apply it to another database, compare; and the marker.

While a database is not in use under its own name, or is closed, its comment is a marker: JSON that says what it is for,
and keeps the values which that hides. The properties of a database are the catalog's values, overlaid with those of its
marker.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from psycopg import sql

from dbops.events import Report
from dbops.postgres import MARKER, Connection, Query, run, set_role, sql_file
from dbops.settings import SCRATCH_PREFIX

# A leftover of pg_restore that would keep TimescaleDB switched off in the new database.
NEVER_APPLIED = "timescaledb.restoring"
# pg_database.datconnlimit of a database whose DROP was interrupted (DATCONNLIMIT_INVALID_DB in pg_database.h).
INVALID = -2
# The connection limit that each database of ours is created with: one of it, closed, under a scratch name and without
# a comment, was created by a run that ended before it wrote the marker.
UNMARKED = 1_262_571_597
PRIVILEGES = ("CONNECT", "CREATE", "TEMPORARY")
# The parameters whose stored value is a list of quoted names: GUC_LIST_QUOTE in PostgreSQL's guc_tables.c.
QUOTED_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}
_LIST_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]*[^,"\s]))\s*(?:,|$)')


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
class Properties:
    """All of a database that DROP DATABASE loses and CREATE DATABASE does not bring back.

    `provider` is the letter in pg_database: c (libc), i (ICU) or b (builtin). `acl` is None where no privilege was
    ever granted or revoked. `connection_limit` is -1 for none. A security label has a provider and a text.
    """

    owner: str
    encoding: str
    provider: str
    collate: str
    ctype: str
    locale: str | None
    icu_rules: str | None
    tablespace: str
    connection_limit: int = -1
    allow_connections: bool = True
    acl: tuple[Grant, ...] | None = None
    comment: str | None = None
    settings: tuple[Setting, ...] = ()
    security_labels: tuple[tuple[str, str], ...] = ()

    def made(self) -> dict[str, Any]:
        """Return by name those that only CREATE DATABASE gives."""
        names = ("encoding", "provider", "collate", "ctype", "locale", "icu_rules", "tablespace")
        return {name: getattr(self, name) for name in names}

    def effective_acl(self) -> frozenset[Grant]:
        """Return the privileges as they work: PostgreSQL's defaults where the ACL was never touched."""
        if self.acl is not None:
            return frozenset(self.acl)
        public = [Grant(self.owner, "", privilege, False) for privilege in ("CONNECT", "TEMPORARY")]
        owner = [Grant(self.owner, self.owner, privilege, False) for privilege in PRIVILEGES]
        return frozenset(public + owner)


class Kind(StrEnum):
    """What a marked database is.

    BUILDING is new and not yet in use; SUCCESSOR is empty, and keeps the properties of a database that was dropped;
    CLOSED is in use, and closed for its replacement or its drop; REPLACED was replaced and is to be dropped; KEPT was
    replaced and stays.
    """

    BUILDING = "building"
    SUCCESSOR = "successor"
    CLOSED = "closed"
    REPLACED = "replaced"
    KEPT = "kept"


# These belong to the operator until they are put in place: owner and privileges to come stand in the marker.
NEW = (Kind.BUILDING, Kind.SUCCESSOR)


@dataclass(frozen=True, slots=True)
class Marker:
    """What the comment of a database of ours says: what it is, for which database, since when (UTC), what that hides.

    `owner` and `acl` count for the kinds in NEW only.
    """

    kind: Kind
    database: str
    since: str
    comment: str | None = None
    allow_connections: bool = True
    owner: str = ""
    acl: tuple[Grant, ...] | None = None

    def text(self) -> str:
        """Return the comment."""
        return MARKER + json.dumps(asdict(self), ensure_ascii=False)


def marker(kind: Kind, database: str, hidden: Properties) -> Marker:
    """Return the marker that keeps what is hidden of a database's properties."""
    new = kind in NEW
    return Marker(
        kind=kind,
        database=database,
        since=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        comment=hidden.comment,
        allow_connections=hidden.allow_connections,
        owner=hidden.owner if new else "",
        acl=hidden.acl if new else None,
    )


def parse_marker(comment: str | None) -> Marker | None:
    """Return the marker that a comment holds, or None; its owner can write any text there, so it is validated."""
    if not comment or not comment.startswith(MARKER):
        return None
    try:
        data = json.loads(comment[len(MARKER) :])
        acl = data["acl"]
        found = Marker(
            kind=Kind(data["kind"]),
            database=str(data["database"]),
            since=str(data["since"]),
            comment=None if data["comment"] is None else str(data["comment"]),
            allow_connections=data["allow_connections"] is True,
            owner=str(data["owner"]),
            acl=None if acl is None else tuple(Grant(**item) for item in acl),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    sound = all(
        isinstance(grant.grantor, str)
        and isinstance(grant.grantee, str)
        and grant.privilege in PRIVILEGES
        and isinstance(grant.grantable, bool)
        for grant in found.acl or ()
    )
    return found if sound and (found.owner or found.kind not in NEW) else None


@dataclass(frozen=True, slots=True)
class Database:
    """A database that is there; `invalid` means partly dropped, `unmarked` created by this tool and not yet marked.

    Its oid tells it from another database of the same name. `catalog` are its properties as the catalog has them,
    `properties` as they are when it is open and in use. `size` is in bytes, None where the role may not know it.
    """

    oid: int
    name: str
    invalid: bool
    template: bool
    accepts_connections: bool
    marker: Marker | None
    unmarked: bool
    catalog: Properties
    properties: Properties
    size: int | None = field(default=None, compare=False)

    def is_a(self, kind: Kind, database: str) -> bool:
        """Return whether its marker says that it is of this kind, for the database of this name."""
        return self.marker is not None and (self.marker.kind, self.marker.database) == (kind, database)


_DATABASES = sql_file("dbops.database", "databases")


def databases_query(*names: str) -> Query:
    """Return the query for databases and for every database with a scratch name; `databases` reads its rows."""
    return _DATABASES, [[*names], SCRATCH_PREFIX.replace("_", r"\_") + "%"]


def databases(rows: Sequence[Any]) -> tuple[Database, ...]:
    """Return the databases that rows of `databases_query` describe."""
    found = []
    # The owner, and what CREATE DATABASE gives, have the order of the columns in Properties too.
    for oid, name, limit, template, accepts, *made, acl, comment, settings, labels, size in rows:
        marker = parse_marker(comment)
        catalog = properties = replace(
            Properties(*made),
            connection_limit=max(limit, -1),
            allow_connections=accepts,
            acl=None if acl is None else tuple(Grant(*item) for item in acl),
            comment=comment,
            settings=tuple(Setting(*item) for item in settings or () if str(item[1]).lower() != NEVER_APPLIED),
            security_labels=tuple((provider, text) for provider, text in labels or ()),
        )
        if marker:
            properties = replace(properties, comment=marker.comment, allow_connections=marker.allow_connections)
            if marker.kind in NEW:
                properties = replace(properties, owner=marker.owner, acl=marker.acl)
        unmarked = limit == UNMARKED and not accepts and comment is None
        invalid = limit == INVALID
        found.append(Database(oid, name, invalid, template, accepts, marker, unmarked, catalog, properties, size))
    return tuple(found)


def find_database(connection: Connection, name: str) -> Database | None:
    """Return the database of this name, or None."""
    rows = connection.execute(find_query(name).encode()).fetchall()
    return databases(rows)[0] if rows else None


def find_query(name: str) -> str:
    """Return the query for one database; `databases` reads its row."""
    return sql.SQL(_DATABASES.replace("ANY (%s)", "ANY (ARRAY[{}])").replace("%s", "''")).format(name).as_string()


def create(connection: Connection, name: str, wanted: Properties, template0: Properties, report: Report) -> None:
    """Create a closed database from template0, with what can be said only in CREATE DATABASE; it belongs to the role.

    From template0, since template1 may hold an extension that a plain owner could never drop.
    """
    if wanted.provider == "c":
        provider: sql.Composable = sql.SQL("LOCALE_PROVIDER libc")
    elif wanted.provider == "b":
        provider = sql.SQL("LOCALE_PROVIDER builtin BUILTIN_LOCALE {}").format(sql.Literal(wanted.locale))
    else:
        provider = sql.SQL("LOCALE_PROVIDER icu ICU_LOCALE {}").format(sql.Literal(wanted.locale))
        if wanted.icu_rules:
            provider += sql.SQL(" ICU_RULES {}").format(sql.Literal(wanted.icu_rules))
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {} {}").format(
        sql.Identifier(name),
        sql.Literal(wanted.encoding),
        sql.Literal(wanted.collate),
        sql.Literal(wanted.ctype),
        provider,
    )
    # Naming a tablespace needs a privilege on it, even if it is the default.
    if wanted.tablespace != template0.tablespace:
        statement += sql.SQL(" TABLESPACE {}").format(sql.Identifier(wanted.tablespace))
    statement += sql.SQL(" ALLOW_CONNECTIONS false CONNECTION LIMIT {}").format(sql.Literal(UNMARKED))
    run(connection, statement, report)


def apply_settings(connection: Connection, name: str, wanted: Properties, report: Report) -> None:
    """Give a database its settings and security labels, in the open transaction."""
    database = sql.Identifier(name)
    for setting in wanted.settings:
        role = sql.SQL("ALTER ROLE {} IN ").format(sql.Identifier(setting.role)) if setting.role else sql.SQL("ALTER ")
        head = role + sql.SQL("DATABASE {} SET {} TO ").format(database, sql.Identifier(*setting.name.split(".")))
        shown = head.as_string(connection) + "..."  # A value may be a secret.
        run(connection, head + setting_value(setting.name, setting.value), report, shown=shown)
    for provider, text in wanted.security_labels:
        statement = sql.SQL("SECURITY LABEL FOR {} ON DATABASE {} IS {}")
        run(connection, statement.format(sql.Identifier(provider), database, sql.Literal(text)), report)


def putting_in_place(name: str, found: Properties, wanted: Properties, role: str) -> list[sql.Composable]:
    """Return what gives a database that has some properties the wanted ones, up to those that `create` gives.

    Run it in a transaction, over a session whose current role is `role`, which owns the database.
    """
    statements: list[sql.Composable] = []
    if found.owner != wanted.owner:
        statements.append(giving_to(name, wanted.owner))
    if given(found, wanted.owner).effective_acl() != wanted.effective_acl():
        statements += granting(name, given(found, wanted.owner), wanted, role)
    if found.comment != wanted.comment:
        statements.append(_commenting(name, wanted.comment))
    limit, allow = limiting(name, wanted.connection_limit), allowing(name, allowed=wanted.allow_connections)
    return [*statements, limit, allow]


def giving_to(name: str, owner: str) -> sql.Composed:
    """Return what makes a role the owner of a database."""
    return sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(name), sql.Identifier(owner))


def renaming(name: str, to: str) -> sql.Composed:
    """Return what gives a database another name."""
    return sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(to))


def limiting(name: str, connections: int) -> sql.Composed:
    """Return what limits the connections to a database; -1 is no limit."""
    return sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(sql.Identifier(name), sql.SQL(str(connections)))


def allowing(name: str, *, allowed: bool) -> sql.Composed:
    """Return what lets a database take connections, or not."""
    return sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), sql.Literal(allowed))


def marking(name: str, marker: Marker) -> sql.Composed:
    """Return what writes a marker into a database's comment."""
    return _commenting(name, marker.text())


def _commenting(name: str, comment: str | None) -> sql.Composed:
    return sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(comment))


def given(found: Properties, owner: str) -> Properties:
    """Return the properties after ALTER DATABASE ... OWNER TO: what the old owner granted or held is the new one's."""
    names = {found.owner: owner}
    acl = tuple(
        replace(grant, grantor=names.get(grant.grantor, grant.grantor), grantee=names.get(grant.grantee, grant.grantee))
        for grant in found.acl or ()
    )
    return replace(found, owner=owner, acl=None if found.acl is None else acl)


def granting(name: str, found: Properties, wanted: Properties, role: str) -> Iterator[sql.Composable]:
    """Yield what makes a database's privileges the wanted ones, each granted by its grantor, in their order.

    `role` is the session's current role.
    """
    database = sql.Identifier(name)
    for grantee in dict.fromkeys(["", wanted.owner, *sorted(grant.grantee for grant in found.effective_acl())]):
        yield sql.SQL("REVOKE ALL ON DATABASE {} FROM {} CASCADE").format(database, _grantee(grantee))
    if wanted.acl is None:
        yield sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO PUBLIC").format(database)
        yield sql.SQL("GRANT ALL ON DATABASE {} TO {}").format(database, sql.Identifier(wanted.owner))
        return
    for grant in wanted.acl:
        option = sql.SQL(" WITH GRANT OPTION" if grant.grantable else "")
        if grant.grantor != wanted.owner:
            yield set_role(grant.grantor, local=True)
        yield (
            sql.SQL("GRANT {} ON DATABASE {} TO {}").format(sql.SQL(grant.privilege), database, _grantee(grant.grantee))
            + option
        )
        if grant.grantor != wanted.owner:
            yield set_role(role, local=True)


def _grantee(name: str) -> sql.Composable:
    return sql.Identifier(name) if name else sql.SQL("PUBLIC")


def with_changes(before: Properties, now: Database, wanted: Properties) -> Properties:
    """Return the wanted properties, with what migrations set on a new database since it had those of `before`.

    Comment, connection limit, settings, security labels and privileges that a migration sets stay.
    """
    after = given(now.catalog, wanted.owner)
    had, has = given(before, wanted.owner).effective_acl(), after.effective_acl()
    acl = wanted.acl
    if had != has:
        kept = [grant for grant in _ordered(wanted) if grant not in had - has]
        acl = (*kept, *(grant for grant in _ordered(after) if grant in has - had and grant not in kept))
    return replace(
        wanted,
        acl=acl,
        comment=now.properties.comment,
        connection_limit=after.connection_limit,
        settings=after.settings,
        security_labels=after.security_labels,
    )


def _ordered(found: Properties) -> list[Grant]:
    return list(found.acl) if found.acl is not None else sorted(found.effective_acl(), key=lambda grant: grant.grantee)


def different_properties(found: Properties, wanted: Properties) -> tuple[str, ...]:
    """Return the names of the properties in which two databases differ."""
    names = [each.name for each in fields(Properties) if each.name not in ("acl", "settings")]
    different = [name for name in names if getattr(found, name) != getattr(wanted, name)]
    if set(found.settings) != set(wanted.settings):
        different.append("settings")
    if found.effective_acl() != wanted.effective_acl():
        different.append("acl")
    return tuple(different)


def setting_value(name: str, value: str) -> sql.Composable:
    """Return a parameter's stored value as SQL: one literal, or a list of them where it is a list of names."""
    if name.lower() not in QUOTED_LISTS or not value.strip():
        return sql.Literal(value)
    return sql.SQL(", ").join([sql.Literal(item) for item in split_list(value)])


def split_list(value: str) -> list[str]:
    """Return the names in a stored list; doubled quotes inside quotes stand for one."""
    return [quoted.replace('""', '"') if plain == "" else plain for quoted, plain in _LIST_ITEM.findall(value)]
