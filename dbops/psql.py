"""The command that opens psql on a target."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from dbops.errors import ServerError, UsageError
from dbops.settings import Target


def check(target: Target, *, ask: bool) -> None:
    """Raise ServerError if the database does not let this role in; psql ends with 2 then, which is wrong usage here.

    Where psql can `ask` for a password on a terminal, a missing one is no error.
    """
    from dbops import postgres

    try:
        with postgres.reader(target):
            pass
    except ServerError as error:
        if not (ask and "password" in error.what):
            raise


def command(target: Target, environ: Mapping[str, str], *, sql: str = "") -> tuple[list[str], dict[str, str]]:
    """Return the arguments and the environment of psql, to be run as they are; with `sql` it runs that and ends.

    Arguments show in the process list, so that secrets are in the environment. What else libpq reads there is left
    out: the target has it. Raises ServerError if psql is not installed, UsageError for a secret that psql takes by no
    variable.
    """
    from psycopg import pq
    from psycopg.conninfo import make_conninfo

    program = shutil.which("psql", path=environ.get("PATH"))
    if not program:
        from dbops.server.find import find_installations

        installations = find_installations(environ.get("PATH", ""))
        program = shutil.which("psql", path=os.pathsep.join(str(found.binaries) for found in installations))
    if not program:
        raise ServerError(
            "psql is not installed",
            where="this machine",
            hint="Install it with `apt-get install postgresql-client`, or run `invoke server.install`.",
        )
    # psql's own encoding is that of the terminal.
    shown = {key: value for key, value in target.parameters.items() if key != "client_encoding"}
    given = dict(environ)
    for option in pq.Conninfo.get_defaults():
        if option.envvar and option.keyword not in (b"options", b"application_name", b"client_encoding"):
            given.pop(option.envvar.decode(), None)
        name = option.keyword.decode()
        if name in shown and option.dispchar == b"*":
            if not option.envvar:
                raise UsageError(
                    f"{name} cannot be passed to psql: it has no environment variable",
                    where=str(target),
                    hint=f"Put {name} into ~/.pg_service.conf and use PGSERVICE.",
                )
            given[option.envvar.decode()] = shown.pop(name)
    arguments = [program, "--dbname", make_conninfo("", **{**shown, "dbname": target.database})]
    return arguments + (["--command", sql] if sql else []), given
