"""TimescaleDB's scheduler: a DROP or RENAME stops it, even one that fails, and it does not come back by itself."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from dbops import postgres
from dbops.errors import DbopsError
from dbops.postgres import Connection
from dbops.settings import Target

SCHEDULER = "TimescaleDB Background Worker Scheduler"
RUNNING = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = %s AND application_name = %s)"
# Before 2.11 the function was in another schema.
FIND = """
SELECT n.nspname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname = 'start_background_workers' AND n.nspname IN ('_timescaledb_functions', '_timescaledb_internal')
ORDER BY n.nspname LIMIT 1
"""


def running(connection: Connection, database: str) -> bool:
    """Return whether TimescaleDB's scheduler is at work in a database."""
    row: Any = connection.execute(RUNNING, [database, SCHEDULER]).fetchone()
    return bool(row[0])


def restart(target: Target, *, timeout: float = 5.0) -> bool:
    """Start the scheduler of the target's database again; True if it runs, or if there is nothing to run.

    Takes a superuser: for any other role it only looks.
    """
    deadline = time.monotonic() + timeout
    try:
        with postgres.connect(target) as connection:
            found: Any = connection.execute(FIND).fetchone()
            if found is None:
                return True
            while not running(connection, target.database):
                if time.monotonic() > deadline:
                    return False
                _start(connection, found[0])
                time.sleep(0.1)
            return True
    except (DbopsError, psycopg.Error):
        return False


def _start(connection: Connection, schema: str) -> None:
    """Ask for the workers; a role that may not is told so by the server and goes on looking."""
    try:
        connection.execute(f"SELECT {schema}.start_background_workers()")
    except psycopg.errors.InsufficientPrivilege:
        return
