"""A named place in the write-ahead log to restore to, before what cannot be taken back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dbops.events import Message, Report
from dbops.postgres.connection import Connection

_MAY = """
SELECT pg_catalog.has_function_privilege('pg_catalog.pg_create_restore_point(text)', 'EXECUTE')
   AND NOT pg_catalog.pg_is_in_recovery() AND pg_catalog.current_setting('wal_level') <> 'minimal'
   AND pg_catalog.current_setting('archive_mode') <> 'off'
"""
# MAXFNAMELEN in PostgreSQL 15's src/include/access/xlog_internal.h, with the NUL.
_LONGEST = 63


def restore_point(connection: Connection, what: str, report: Report) -> None:
    """Create a restore point named after the time (UTC) and what comes next, and report its name and LSN.

    Does nothing where the server archives no write-ahead log, or where the role may not.
    """
    may: Any = connection.execute(_MAY).fetchone()
    if may[0]:
        name = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {what}".encode()[:_LONGEST].decode("utf-8", "ignore")
        row: Any = connection.execute("SELECT pg_catalog.pg_create_restore_point(%s)::text", [name]).fetchone()
        report(Message("INFO", f'restore point "{name}" at {row[0]}'))
