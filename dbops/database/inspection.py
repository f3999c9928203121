"""Read once what preflight, consent, header and summary need to know of a server and a database."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from dbops import label, postgres
from dbops.database.properties import Database, Kind, Properties, databases, databases_query
from dbops.errors import DbopsError, PreflightError, UnreachableError, count
from dbops.label import Label
from dbops.migrations.alone import HOLDING_MIGRATION_LOCK
from dbops.postgres import Connection, Session, ask, read_together, reading, set_role, sql_file
from dbops.postgres.sessions import IN_DATABASE, sessions_query
from dbops.settings import Target, is_scratch_name

# How long the search for rows may run, and wait for a lock, in seconds.
STATEMENT_TIMEOUT = 10.0
LOCK_TIMEOUT = 1.0

TIMESCALEDB = sql_file("dbops.database", "timescaledb")
_VERSIONS = """
SELECT e.extversion, a.default_version
FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_available_extensions AS a ON a.name = e.extname
WHERE e.extname = 'timescaledb'
"""
_SERVER = sql_file("dbops.database", "server")
_ROLES = sql_file("dbops.database", "roles")
_ATTACHED = sql_file("dbops.database", "attached")
_ROOM = sql_file("dbops.database", "room")

_OBJECTS = sql_file("dbops.database", "objects")
MAKERS = {
    "ar_internal_metadata": "Rails",
    "alembic_version": "Alembic",
    "flyway_schema_history": "Flyway",
    "django_migrations": "Django",
    "pgmigrations": "node-pg-migrate",
    "databasechangelog": "Liquibase",
    "_prisma_migrations": "Prisma",
    "schema_migrations": "dbmate, Rails or golang-migrate",
}

_RELATIONS = sql_file("dbops.database", "relations")
_PLAIN = {"{chunks}": "SELECT NULL::oid AS chunk, NULL::oid AS main WHERE false", "{compressed}": "false"}
_TIMESCALE = {
    "{chunks}": sql_file("dbops.database", "chunks"),
    "{compressed}": """EXISTS (SELECT FROM _timescaledb_catalog.hypertable AS h
        WHERE h.schema_name = n.nspname AND h.table_name = r.relname AND h.compressed_hypertable_id IS NOT NULL)""",
}
EXTENSION_VERSION = "SELECT e.extversion FROM pg_catalog.pg_extension AS e WHERE e.extname = 'timescaledb'"
_LEDGER = """
SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'dbops' AND c.relname = 'schema_migrations'
"""
TIMESCALEDB_FUNCTION = sql_file("dbops.database", "timescaledb_function")
_SIZES = """
SELECT coalesce(pg_catalog.sum(pg_catalog.pg_total_relation_size(o)), 0)
FROM pg_catalog.unnest(%s::pg_catalog.oid[]) AS o
"""
_LARGE_OBJECT = "SELECT 1 FROM pg_catalog.pg_largeobject_metadata LIMIT 1"


@dataclass(frozen=True, slots=True)
class Role:
    """Another role: whether the current one may act for it, or give it a database, and the session may become it.

    One that `inherits` has the rights of an owner in each database that it owns.
    """

    may_act: bool
    may_give: bool
    may_become: bool
    superuser: bool = False
    createdb: bool = False
    inherits: bool = True


NO_RIGHTS = Role(may_act=False, may_give=False, may_become=False)


@dataclass(frozen=True, slots=True)
class Server:
    """One server as one role sees it; `timescaledb` is its version, empty where it is not installed.

    `role` is the session's current role, and `login` the one that it connected as. `template0` are the default
    properties of a new database; `roles` are those that own databases, and those that `role` is a member of. `room` is
    how many more sessions its login role may have, and the server has.
    """

    version_text: str
    login: str
    role: str
    superuser: bool
    createdb: bool
    in_recovery: bool
    direct: bool
    timescaledb: str
    may_create_timescaledb: bool
    timescaledb_preloaded: bool
    template0: Properties
    roles: dict[str, Role]
    room: tuple[int | None, int] = (None, 100)

    @property
    def version(self) -> int:
        """Return the major version of PostgreSQL."""
        return int(re.split(r"\D", self.version_text)[0])

    def may_act_for(self, owner: str) -> bool:
        """Return whether the role may do what the owner of a database may do."""
        return self.superuser or self.roles.get(owner, NO_RIGHTS).may_act

    def may_give_to(self, owner: str) -> bool:
        """Return whether the role may give a database to another one."""
        return self.superuser or owner == self.role or self.roles.get(owner, NO_RIGHTS).may_give

    def trusts(self, owner: str) -> bool:
        """Return whether what the owner of a database says of it is as good as this role's own word."""
        return owner == self.role or (self.superuser and self.roles.get(owner, NO_RIGHTS).superuser)


@dataclass(frozen=True, slots=True)
class TableImpact:
    """One table: rows as the server estimates them, bytes with indexes, its newest time if an index gives it."""

    name: str
    estimated_rows: int
    size: int
    newest: str | None


@dataclass(frozen=True, slots=True)
class Impact:
    """What would be lost with a database.

    `evidence` names a table in which a row was `seen`, or says why no search was possible; it is empty if there is
    no row. `readable` is False for a database that could not be connected to. `objects` says what is in the database,
    and `maker` which other tool seems to have built it. `timescaledb` is the extension's version, None if not known.
    """

    evidence: str = ""
    seen: bool = False
    readable: bool = True
    tables: tuple[TableImpact, ...] = ()
    label: Label | None = None
    has_ledger: bool = False
    objects: str = ""
    maker: str = ""
    timescaledb: str | None = None

    @property
    def rows(self) -> bool:
        """Return whether rows would be lost, or that cannot be excluded."""
        return bool(self.evidence)

    @property
    def foreign(self) -> bool:
        """Return whether nothing shows that this tool built the database for an environment, and it is not empty.

        A ledger alone does not: a dump without comments restores it, and loses the label that says prod.
        """
        return bool(self.objects) and self.label is None

    @property
    def estimated_rows(self) -> int:
        """Return the server's estimate over all tables."""
        return sum(table.estimated_rows for table in self.tables)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found: the server, the target's database if it is there, what would be lost, what blocks a drop.

    `scratch` are the databases with scratch names, `migrating` the sessions that migrate the database, `attached` the
    names of what blocks a drop, by kind. `impact` is nothing where there is no database to look into, or where it was
    not looked into.
    """

    target: Target
    server: Server
    database: Database | None
    scratch: tuple[Database, ...]
    sessions: tuple[Session, ...]
    migrating: tuple[Session, ...]
    attached: dict[str, tuple[str, ...]]
    impact: Impact = Impact()

    @property
    def exists(self) -> bool:
        """Return whether there is a database that is not partly dropped."""
        return self.database is not None and not self.database.invalid

    @property
    def successor(self) -> Database | None:
        """Return the successor that waits for the target's name, if there is one that this role may believe."""
        return self._marked(Kind.SUCCESSOR)

    @property
    def kept(self) -> Database | None:
        """Return the database that the target replaced and that was kept, if there is one that this role may believe.

        The target's owner may say so too.
        """
        return self._marked(Kind.KEPT, *([self.database.properties.owner] if self.database else []))

    def _marked(self, kind: Kind, *owners: str) -> Database | None:
        found = (d for d in self.scratch if d.is_a(kind, self.target.database) and not d.invalid)
        return next((d for d in found if d.catalog.owner in owners or self.server.trusts(d.catalog.owner)), None)

    @property
    def role_to_become(self) -> str:
        """Return the role that the connected one must become to work on the target, and may; else nothing.

        It is the owner of the database, or of the successor that the owner left, where the connected role is a member
        that may do less itself: see "Which role acts" in docs/decisions.md.
        """
        server = self.server
        if self.database:
            owners = [self.database.properties.owner]
        elif self.successor:
            return ""
        else:
            owners = [d.catalog.owner for d in self.scratch if d.is_a(Kind.SUCCESSOR, self.target.database)]
        for owner in owners:
            found = server.roles.get(owner, NO_RIGHTS)
            enough = self.database and found.may_act and (server.createdb or not found.createdb)
            if owner != server.role and found.may_become and not server.superuser and not enough:
                return owner
        return ""

    @property
    def left_over(self) -> tuple[Database, ...]:
        """Return the scratch databases that an interrupted run left, or a run that is at work, and that can go."""
        superfluous = self.successor if self.exists else None
        return tuple(
            d
            for d in self.scratch
            if self.server.may_act_for(d.catalog.owner)
            and (
                d.invalid
                or d.unmarked
                or d is superfluous
                or (d.marker and d.marker.kind in (Kind.BUILDING, Kind.REPLACED))
            )
        )

    @property
    def wanted(self) -> Properties:
        """Return the properties that the target has when it is created next: its own, its successor's, the defaults.

        An interrupted DROP has overwritten the connection limit of a database, which its successor keeps.
        """
        database = self.database if self.exists else self.successor or self.database
        return database.properties if database else self.server.template0


def inspect(connection: Connection, target: Target, role: str = "") -> Inspection:
    """Inspect over a maintenance session, as another role if one is given; the database itself is not looked into."""
    name = target.database
    answers = read_together(
        connection,
        [
            (_SERVER, []),
            (TIMESCALEDB, []),
            (_ROLES, []),
            databases_query(name, "template0"),
            (_ATTACHED, [name, name, name]),
            (_ROOM, []),
            (sessions_query(IN_DATABASE), [name, []]),
            (sessions_query(HOLDING_MIGRATION_LOCK), [name]),
        ],
        settings=[set_role(role, local=True).as_string()] if role else (),
    )
    server, timescaledb, roles, found, attached, room, sessions, migrating = (answer.fetched() for answer in answers)
    version_text, login, role, superuser, createdb, in_recovery, pid = server[0]
    available, trusted, preloaded = timescaledb[0] if timescaledb else ("", False, False)
    by_name = {database.name: database for database in databases(found)}
    database = by_name.get(name)
    if "template0" not in by_name:
        raise PreflightError(
            "the server has no database template0, from which new databases are created",
            where=target.server,
            hint="As a superuser, make it again: see the notes on template databases in PostgreSQL's documentation.",
        )
    made = {**by_name["template0"].properties.made(), "icu_rules": None}
    if made["encoding"] != "UTF8":
        made |= {"encoding": "UTF8", "provider": "c", "collate": "C", "ctype": "C", "locale": None}
    blockers: dict[str, tuple[str, ...]] = {}
    for kind, item in attached:
        blockers[kind] = (*blockers.get(kind, ()), item)
    return Inspection(
        target=target,
        server=Server(
            version_text=version_text,
            login=login,
            role=role,
            superuser=superuser,
            createdb=createdb,
            in_recovery=in_recovery,
            direct=pid == connection.info.backend_pid,
            timescaledb=available,
            may_create_timescaledb=trusted,
            timescaledb_preloaded=preloaded,
            template0=Properties(role, **made),
            roles={owner: Role(*rights) for owner, *rights in roles},
            room=room[0],
        ),
        database=database,
        scratch=tuple(d for d in by_name.values() if d is not database and is_scratch_name(d.name)),
        sessions=tuple(Session(*row) for row in sessions),
        migrating=tuple(Session(*row) for row in migrating),
        attached=blockers,
    )


def newer_timescaledb(connection: Connection) -> str:
    """Return the version of TimescaleDB that the server has installed if it is newer than the connected database's."""
    row: Any = connection.execute(_VERSIONS).fetchone()
    return row[1] if row and is_newer(row[1], row[0]) else ""


def is_newer(version: str, than: str) -> bool:
    """Return whether a version of TimescaleDB, such as 2.20.0, is newer than another one."""
    one, other = (tuple(map(int, re.findall(r"\d+", text.partition("-")[0]))) for text in (version, than))
    return one > other


def look_inside(target: Target, role: str = "") -> Impact:
    """Return what is in a database, read as another role if one is given; one that cannot be connected to is full.

    Raises UnreachableError if no server answers.
    """
    try:
        with postgres.reader(target) as connection, reading(connection):
            if role:
                connection.execute(set_role(role, local=True))
            return impact(connection)
    except DbopsError as error:
        return unreadable(error)


def unreadable(error: DbopsError) -> Impact:
    """Return what counts as lost with a database that cannot be connected to; raise the error if no server answers."""
    if isinstance(error, UnreachableError):
        raise error
    return Impact(f"it cannot be connected to ({error.what})", readable=False)


def impact(connection: Connection) -> Impact:
    """Return what is in the connected database, looking for a row in every table, and at large objects."""
    found = read_together(
        connection,
        [
            (label.QUERY, []),
            (_LEDGER, []),
            (_OBJECTS, [list(MAKERS)]),
            (EXTENSION_VERSION, []),
            # TimescaleDB's own estimate knows compressed chunks.
            (TIMESCALEDB_FUNCTION, ["approximate_row_count"]),
        ],
        statement_timeout=STATEMENT_TIMEOUT,
    )
    labels, ledger, objects, extension, approximate = (answer.fetched() for answer in found)
    evidence, seen, tables = rows_in(connection, timescaledb=bool(extension), approximate=approximate)
    names = {name for _, _, tables_of_others in objects for name in tables_of_others or ()}
    return Impact(
        evidence=evidence,
        seen=seen,
        tables=tables,
        label=label.parse(labels),
        has_ledger=bool(ledger),
        objects=", ".join(count(number, kind) for kind, number, _ in objects),
        maker=next((maker for table, maker in MAKERS.items() if table in names), ""),
        timescaledb=extension[0][0] if extension else "",
    )


class _Relation(NamedTuple):
    """A row of relations.sql: a table with pages or without, and the one that people know it by, its root.

    `reason` is why it is not to be read, `newest` a column of the root whose greatest value an index has.
    """

    schema: str
    name: str
    root_schema: str
    root_name: str
    estimated_rows: int
    oid: int
    has_pages: bool
    reason: str | None
    newest: str | None
    compressed: bool

    @property
    def root(self) -> tuple[str, str]:
        """Return the name of the table that people know, with its schema."""
        return self.root_schema, self.root_name


def rows_in(
    connection: Connection, *, timescaledb: bool, approximate: tuple[Any, ...] = ()
) -> tuple[str, bool, tuple[TableImpact, ...]]:
    """Return the first table of the connected database that holds a row, whether one was seen, and all tables.

    `approximate` is the row of TIMESCALEDB_FUNCTION with the schema of TimescaleDB's own estimate.
    """
    queries: list[postgres.Query] = [(_relations(timescaledb), []), (_LARGE_OBJECT, [])]
    answer, large_object = read_together(
        connection, queries, statement_timeout=STATEMENT_TIMEOUT, lock_timeout=LOCK_TIMEOUT
    )
    if answer.error:
        return _unreadable(answer.error), False, ()
    relations = [_Relation(*row) for row in answer.rows]
    if with_pages := [relation for relation in relations if relation.has_pages]:
        # What is wrong with one chunk or partition is wrong with the whole.
        refused = {relation.root: relation.reason for relation in relations if relation.reason}
        evidence, seen = "", False
        if unread := [relation.root for relation in with_pages if relation.root in refused]:
            evidence = f"{'.'.join(unread[0])} is not empty on disk, and reading it would run {refused[unread[0]]}"
        with reading(connection, statement_timeout=STATEMENT_TIMEOUT, lock_timeout=LOCK_TIMEOUT):
            readable = [relation for relation in with_pages if relation.root not in refused]
            probes = [sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})").format(sql.Identifier(*r[:2])) for r in readable]
            for relation, found in zip(readable, ask(connection, [(probe, []) for probe in probes]), strict=True):
                if found.error:
                    evidence = evidence or _unreadable(found.error)
                elif found.rows[0][0]:
                    evidence, seen = ".".join(relation.root), True
                    break
            if evidence:
                return evidence, seen, _tables(connection, relations, refused, approximate)
    return ("a large object", True, ()) if large_object.rows else ("", False, ())


def _relations(timescaledb: bool) -> str:
    query = _RELATIONS.replace("{untrusted_code}", postgres.UNTRUSTED_CODE)
    for name, text in (_TIMESCALE if timescaledb else _PLAIN).items():
        query = query.replace(name, text)
    return query


def _unreadable(error: psycopg.Error) -> str:
    return f"its rows cannot be read ({error.diag.message_primary or error})"


def _tables(
    connection: Connection,
    relations: Sequence[_Relation],
    refused: Mapping[tuple[str, str], str],
    approximate: tuple[Any, ...],
) -> tuple[TableImpact, ...]:
    """Return each table with its size, and with its newest time, if an index gives it within a second; largest first.

    Those that are `refused` are not read.
    """
    tables: dict[tuple[str, str], list[_Relation]] = {}
    for relation in relations:
        tables.setdefault(relation.root, []).append(relation)
    sizes = ask(connection, [(_SIZES, [[part.oid for part in parts]]) for parts in tables.values()])
    queries: dict[tuple[tuple[str, str], str], postgres.Query] = {}
    for root, parts in tables.items():
        table = sql.Identifier(*root)
        if parts[0].newest and root not in refused:
            query = sql.SQL("SELECT pg_catalog.max({})::text FROM {}").format(sql.Identifier(parts[0].newest), table)
            queries[root, "newest"] = query, []
        if parts[0].compressed and approximate and root not in refused:
            function = sql.Identifier(approximate[0][0], "approximate_row_count")
            name = table.as_string(connection)
            queries[root, "rows"] = sql.SQL("SELECT {}({}::pg_catalog.regclass)").format(function, name), []
    connection.execute("SET LOCAL statement_timeout = '1s'")
    answers = zip(queries, ask(connection, list(queries.values())), strict=True)
    found = {key: answer.rows[0][0] for key, answer in answers if answer.rows}
    shown = [
        TableImpact(
            name=".".join(root),
            estimated_rows=int(found.get((root, "rows"), sum(part.estimated_rows for part in parts))),
            size=int(size.rows[0][0]) if size.rows else 0,
            newest=found.get((root, "newest")),
        )
        for (root, parts), size in zip(tables.items(), sizes, strict=True)
    ]
    return tuple(sorted(shown, key=lambda table: (-table.estimated_rows, table.name)))


def count_rows(connection: Connection) -> int:
    """Return how many rows there are in all tables; meant for a database that was just built."""
    # Chunks are tables like others here: whose rows they hold does not matter.
    (relations,) = read_together(connection, [(_relations(False), [])])
    filled = [relation for relation in map(_Relation._make, relations.fetched()) if relation.has_pages]
    counts: list[postgres.Query] = [
        (sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {}").format(sql.Identifier(*relation[:2])), [])
        for relation in filled
    ]
    return sum(int(answer.fetched()[0][0]) for answer in read_together(connection, counts)) if counts else 0
