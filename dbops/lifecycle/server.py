"""What the server and the connecting role are, as far as dropping and creating need to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dbops.postgres import Connection

READ = """
SELECT (SELECT system_identifier::text FROM pg_control_system()), current_setting('server_version_num')::int,
       current_setting('server_version'), r.rolname, r.rolsuper, r.rolcreatedb, pg_is_in_recovery(),
       pg_encoding_to_char(d.encoding), d.datlocprovider::text, d.datcollate, d.datctype,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'), t.spcname
FROM pg_roles r, pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
WHERE r.rolname = current_user AND d.datname = 'template0'
"""


@dataclass(frozen=True, slots=True)
class Server:
    """One server as one role sees it; `version` is like 150020, encoding and what follows are template0's."""

    system_identifier: str
    version: int
    version_text: str
    role: str
    superuser: bool
    createdb: bool
    in_recovery: bool
    encoding: str
    provider: str
    collate: str
    ctype: str
    locale: str | None
    tablespace: str


def read(connection: Connection) -> Server:
    """Return the server behind a connection."""
    row: Any = connection.execute(READ).fetchone()
    return Server(*row)
