"""Code of other roles in a database that a superuser migrates: none of it may run.

`SET ROLE owner` is no barrier, since any function, even an expression of PostgreSQL's own functions, can RESET ROLE and
is then the superuser who connected. So a superuser migrates only a database in which no code of a role without such
rights could run. That is looked at in the transaction of the migrations, under locks that keep other sessions from
creating any until it ends.
"""

from __future__ import annotations

from typing import Any

from dbops.errors import PreflightError
from dbops.migrations.files import first_of
from dbops.postgres import Connection, set_role, sql_file
from dbops.settings import Target

_LOCK = sql_file("dbops.migrations", "lock_catalogs")
_LET_OTHERS_END = sql_file("dbops.migrations", "let_others_end")


def possible(connection: Connection) -> str:
    """Return the superuser that the session is, or may become, if other roles may have code in its database.

    They may have it now, or at any time. Nothing is returned where they cannot, or the session has no such right.
    """
    row: Any = connection.execute(sql_file("dbops.migrations", "others_may_create").encode()).fetchone()
    return str(row[0]) if row else ""


def keep_out(connection: Connection, target: Target, superuser: str) -> None:
    """Raise PreflightError if there is such code; else there is none until the open transaction ends.

    The session acts as its own role afterwards. It must have the lock timeout that is to hold for this.
    """
    acting = set_role(superuser, local=True).as_string()
    connection.execute(f"{acting}; {_LOCK}; SET LOCAL ROLE NONE".encode())
    connection.execute(_LET_OTHERS_END.encode())
    refuse(connection, target)


def refuse(connection: Connection, target: Target) -> None:
    """Raise PreflightError if there is code that roles without superuser rights have in the connected database."""
    found: list[Any] = connection.execute(sql_file("dbops.migrations", "code_of_others").encode()).fetchall()
    if not found:
        return
    role, what, owner, trusted = found[0]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    raise PreflightError(
        f"{connection.info.user} has superuser rights, and {target.database} has code of role {role} that could run"
        f" with that right: {what}{more}",
        where=str(target),
        notes=first_of(tuple(f"{what} of role {role}" for role, what, *_ in found)) if more else (),
        state="Nothing of it ran, and nothing more was applied.",
        hint="Let a superuser own it or drop it: no other role may have code in a superuser's database."
        if trusted
        else f"Connect as {owner}, who owns the database, or as a member of that role without superuser rights.",
    )
