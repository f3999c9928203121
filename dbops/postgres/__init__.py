"""One way in to PostgreSQL: connections, pipelines, sessions, the operator's lock, and errors in plain words."""

from __future__ import annotations

from dbops.postgres.connection import (
    APPLICATION,
    MARKER,
    OLDEST_SERVER,
    RESTORE_SETTINGS,
    SETTINGS,
    UNLOADED,
    Connection,
    connect,
    fresh,
    maintenance,
    quoted,
    reader,
    reading,
    refuse_old,
    run,
    run_together,
    server_of,
    set_role,
    translated,
)
from dbops.postgres.errors import (
    HINTS_BY_MESSAGE,
    REFUSED,
    UNDEFINED_FILE,
    UNREACHABLE,
    is_concurrent,
    redact,
    translate,
)
from dbops.postgres.operator_lock import (
    HOLDING,
    TIMEOUT,
    lock_holder,
    lock_key,
    operator_session,
    refuse_standby,
    tables_locked_against_reading,
    try_lock,
    unlock,
)
from dbops.postgres.pipeline import Answer, Pipeline, Query, answer, ask, asked_together, pipeline, read_together
from dbops.postgres.restore_point import restore_point
from dbops.postgres.sessions import Session, end, session_of, sessions_blocking, sessions_in, sessions_that_stay
from dbops.postgres.sqlfiles import sql_file
from dbops.postgres.waiting import attempts, deadline

# Relations of which a query would run code that belongs to neither a superuser nor the connected role: a subquery
# with the columns relation, name, reason.
UNTRUSTED_CODE = sql_file("dbops.postgres", "untrusted_code")
