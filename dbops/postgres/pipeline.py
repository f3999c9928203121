"""Many statements in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import generators, sql
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus

from dbops.postgres.connection import Connection

# The results of a COPY from or to the client, which libpq gives again and again until its data has been sent or read.
COPYING = (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement returned: its rows, its columns' names and types (as oids); or the server's error."""

    rows: tuple[Any, ...] = ()
    columns: tuple[str, ...] = ()
    types: tuple[int, ...] = ()
    error: psycopg.Error | None = None

    def fetched(self) -> tuple[Any, ...]:
        """Return the rows; raise the error if there was one."""
        if self.error:
            raise self.error
        return self.rows


Query = tuple[str | sql.Composable, Sequence[object]]


def ask(connection: Connection, queries: Sequence[Query]) -> list[Answer]:
    """Return the answers to queries with their parameters, sent in one round trip inside a transaction.

    Each has a savepoint of its own: what it changes is undone, and its error does not keep the others from running.
    Raises psycopg.Error only where the connection is lost.
    """
    cursor = psycopg.ClientCursor(connection)
    texts = [cursor.mogrify(query, parameters or None) for query, parameters in queries]  # type: ignore[arg-type]
    groups = [group for text in texts for group in (("SAVEPOINT ask", text), ("ROLLBACK TO SAVEPOINT ask",))]
    return [answers[-1] for answers in pipeline(connection, groups)[::2]]


def pipeline(connection: Connection, groups: Sequence[Sequence[str]]) -> list[list[Answer]]:
    """Send groups of statements in one round trip, and return each statement's answer.

    After an error the server skips the rest of the group, whose answers then have the same error. Each statement must
    be a single one: the extended protocol refuses more. An interruption closes the connection.
    """
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    try:
        for group in groups:
            for statement in group:
                pgconn.send_query_params(statement.encode(connection.info.encoding), None)
            pgconn.pipeline_sync()
        connection.wait(generators.send(pgconn))
        return [_answers(connection, len(group)) for group in groups]
    except BaseException:
        connection.close()
        raise
    finally:
        if not connection.closed:
            pgconn.exit_pipeline_mode()


def _answers(connection: Connection, number: int) -> list[Answer]:
    """Return the answers to a number of statements that were sent, up to the end of their group."""
    answers: list[Answer] = []
    for _ in range(number):
        (result,) = connection.wait(generators.fetch_many(connection.pgconn))
        if result.status in COPYING:
            raise psycopg.errors.FeatureNotSupported("COPY from or to the client is not supported")
        if result.status == ExecStatus.PIPELINE_ABORTED:
            answers.append(answers[-1])
        elif result.status == ExecStatus.FATAL_ERROR:
            error = psycopg.errors.error_from_result(result, connection.info.encoding)
            if connection.info.status != psycopg.pq.ConnStatus.OK:
                raise error
            answers.append(Answer(error=error))
        else:
            rows = Transformer(connection)
            rows.set_pgresult(result)
            names = tuple((result.fname(i) or b"").decode(connection.info.encoding) for i in range(result.nfields))
            types = tuple(result.ftype(i) for i in range(result.nfields))
            answers.append(Answer(tuple(rows.load_rows(0, result.ntuples, tuple)), names, types))
    connection.wait(generators.fetch_many(connection.pgconn))
    return answers
