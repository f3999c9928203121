"""Judge an inspection: every condition that would make a drop or a create fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dbops.database.inspection import NO_RIGHTS, Inspection, Server
from dbops.errors import PreflightError
from dbops.postgres import quoted
from dbops.settings import Target

OLDEST_TIMESCALEDB = (2, 10)
NEXT_TIMESCALEDB = (3,)
# A rebuild works with one session beside the databases, one in the old and one in the new.
SESSIONS = 3
INSTALL = "Install it there, or use a server that has it: `invoke server.install`, `invoke server.up`."
PRELOAD = "Add timescaledb to shared_preload_libraries and restart the server."
ATTACHED = {
    "prepared transactions": "Commit or roll back each: COMMIT PREPARED '...' in that database.",
    "replication slots": "Drop each that is no longer read from: SELECT pg_drop_replication_slot('...').",
    "subscriptions": "Drop each, connected to that database: DROP SUBSCRIPTION ...",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; one that is not met has a reason, and a remedy as a full sentence."""

    name: str
    passed: bool
    reason: str = ""
    remedy: str = ""


def judged(name: str, passed: bool, reason: str, remedy: str) -> Condition:
    """Return a condition, with its reason and remedy only if the condition is not met."""
    return Condition(name, True) if passed else Condition(name, False, reason, remedy)


def assert_passed(conditions: tuple[Condition, ...], target: Target) -> None:
    """Raise PreflightError with every condition that is not met, if there is one."""
    refused = [condition for condition in conditions if not condition.passed]
    if not refused:
        return
    first = refused[0]
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    raise PreflightError(
        f"preflight refused: {first.reason}{more}",
        where=str(target),
        notes=tuple(f"{condition.name}: {condition.reason}. {condition.remedy}" for condition in refused if more),
        hint=first.remedy,
        state="Nothing was changed.",
    )


def preflight(
    inspection: Inspection, *, dropping: bool, creating: bool, keeping: bool = False
) -> tuple[Condition, ...]:
    """Return the conditions for dropping, creating or both, met or not; `keeping` keeps the old database."""
    server, target = inspection.server, inspection.target
    name = target.database
    conditions = [
        judged(
            "database name",
            not target.is_system_database,
            f"{name} is a system database",
            "Name another database in DATABASE_URL.",
        ),
        judged(
            "primary server",
            not server.in_recovery,
            "the server is a standby, or is still recovering",
            "Connect to the primary server.",
        ),
        judged(
            "direct connection",
            server.direct,
            "the connection goes through a pooler, which cannot hold a lock for one operator",
            "Connect to PostgreSQL directly: put its own host and port into DATABASE_URL.",
        ),
    ]
    if dropping and inspection.database:
        owner = inspection.database.properties.owner
        conditions += [
            judged(
                "right to drop",
                server.may_act_for(owner),
                f"{name} belongs to {owner}, and {server.role} may not drop it",
                _to_act_for(owner, server),
            ),
            judged(
                "not a template",
                not inspection.database.template,
                f"{name} is marked as a template",
                f"If it is not used as one, run ALTER DATABASE {quoted(name)} IS_TEMPLATE false.",
            ),
        ]
        for kind, remedy in ATTACHED.items():
            names = inspection.attached.get(kind, ())
            reason = f"there are {kind} in {name}: {', '.join(names)}"
            conditions.append(judged(f"no {kind}", not names, reason, remedy))
        conditions.append(sessions_can_be_ended(inspection))
    if creating and dropping:
        # A rebuild opens these beside the session that it has.
        (of_role, of_server), more = server.room, SESSIONS - 1
        if of_role is not None and of_role < more:
            reason = f"{server.role} may open {max(of_role, 0)} more, and a rebuild needs {more} more"
            remedy = f"End sessions of {server.role}, or raise its CONNECTION LIMIT."
            conditions.append(Condition("connections", False, reason, remedy))
        else:
            reason = f"the server has room for {max(of_server, 0)} more, and a rebuild needs {more} more"
            remedy = "Wait for sessions to end, or raise max_connections."
            conditions.append(judged("connections", of_server >= more, reason, remedy))
    if keeping and (kept := inspection.kept):
        reason = f"{kept.name} is kept for {name} already"
        remedy = "Put it back with `invoke db.undo`, or drop it with `invoke db.drop --kept`."
        conditions.append(Condition("no database kept", False, reason, remedy))
    if creating:
        conditions += creating_conditions(inspection)
    return tuple(conditions)


def sessions_can_be_ended(inspection: Inspection) -> Condition:
    """Return whether the role may end the sessions in the database."""
    others = [session for session in inspection.sessions if not session.endable]
    return judged(
        "sessions can be ended",
        not others,
        f"{inspection.server.role} may not end " + "; ".join(str(session) for session in others),
        "Ask their owners to disconnect, or connect as a superuser or as a member of pg_signal_backend.",
    )


def _to_act_for(owner: str, server: Server) -> str:
    """Return what lets a role do what another one may do."""
    remedy = f"Connect as {owner} or as a superuser"
    if server.roles.get(owner, NO_RIGHTS).superuser:
        return f"{remedy}."
    option = " WITH SET TRUE" if server.version >= 16 else ""
    return f"{remedy}; or, as one, run GRANT {quoted(owner)} TO {quoted(server.login)}{option}."


def right_to_create(inspection: Inspection) -> Condition:
    """Return whether the role may create a database and give it to its owner."""
    server, owner = inspection.server, inspection.wanted.owner
    role = server.role if server.role == server.login else f"{server.role}, as which {server.login} works here,"
    if not (server.superuser or server.createdb):
        remedy = f"As a superuser, run ALTER ROLE {quoted(server.role)} CREATEDB."
        return Condition("right to create", False, f"{role} may not create databases", remedy)
    reason = f"{server.role} may not give a database to {owner}"
    return judged("right to create", server.may_give_to(owner), reason, _to_act_for(owner, server))


def creating_conditions(inspection: Inspection) -> Iterator[Condition]:
    """Yield whether the role may create a database for its owner, who may then create what belongs there."""
    server, owner = inspection.server, inspection.wanted.owner
    yield right_to_create(inspection)
    yield judged(
        "rights of an owner",
        server.roles.get(owner, NO_RIGHTS).inherits,
        f"{owner} does not inherit, so it may not create objects in schema public of its own database",
        f"As a superuser, run ALTER ROLE {quoted(owner)} INHERIT.",
    )
    creators = [grant.grantee for grant in inspection.wanted.effective_acl() if grant.privilege == "CREATE"]
    yield judged(
        "right to create schemas",
        # Nothing can be granted on a database that is not there: this hinders its migrations then, not its creation.
        inspection.database is None
        or server.roles.get(owner, NO_RIGHTS).superuser
        or any(role in ("", owner) or server.may_act_for(role) for role in creators),
        f"{owner} may not create schemas in {inspection.target.database}, its own database",
        f"As the owner, run GRANT CREATE ON DATABASE {quoted(inspection.target.database)} TO {quoted(owner)}.",
    )
    yield from timescaledb(server.timescaledb, preloaded=server.timescaledb_preloaded)
    if server.timescaledb:
        yield judged(
            "right to create TimescaleDB",
            server.may_create_timescaledb,
            f"only a superuser may create the extension here, and {server.role} is not one",
            "Connect as a superuser.",
        )


def is_supported(version: str) -> bool:
    """Return whether a version of TimescaleDB, such as 2.19.3 or 2.20.0-dev, is supported."""
    number = tuple(int(part) for part in version.split("-")[0].split(".")[:2])
    return OLDEST_TIMESCALEDB <= number < NEXT_TIMESCALEDB


def timescaledb(version: str, *, preloaded: bool) -> Iterator[Condition]:
    """Yield whether the version of TimescaleDB that a server has, empty for none, is supported and loaded."""
    yield judged("TimescaleDB available", bool(version), "TimescaleDB is not installed on the server", INSTALL)
    if not version:
        return
    yield judged(
        "TimescaleDB version",
        is_supported(version),
        f"TimescaleDB {version} is not supported",
        "Install TimescaleDB 2.10 or a newer 2.x.",
    )
    yield judged(
        "TimescaleDB preloaded", preloaded, "TimescaleDB is installed, but the server does not load it", PRELOAD
    )
