"""Many statements in one round trip."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.waiting import Ready, Wait

from dbops.postgres.connection import BEGIN_READING, Connection, reading, reading_settings

Command = TypeVar("Command")

# How much travels ahead of its results: enough for a slow link, and bounded.
MOST_COMMANDS = 1000
MOST_BYTES = 1 << 20
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
    return [answers[-1] for answers in pipeline(connection, _apart(connection, queries))[::2]]


def read_together(
    connection: Connection,
    queries: Sequence[Query],
    *,
    statement_timeout: float = 0.0,
    lock_timeout: float = 0.0,
    settings: Sequence[str] = (),
) -> list[Answer]:
    """Return the answers to queries as `ask` within `reading` does, with the transaction in the same round trip.

    `settings` are statements that set more for that transaction.
    """
    if connection.info.transaction_status == TransactionStatus.IDLE and getattr(connection, "in_force", True):
        limits = {"statement_timeout": statement_timeout, "lock_timeout": lock_timeout}
        return asked_together(connection, queries, settings=settings, **limits)()
    with reading(connection, statement_timeout=statement_timeout, lock_timeout=lock_timeout):
        for setting in settings:
            connection.execute(setting.encode())
        return ask(connection, queries)


def asked_together(
    connection: Connection,
    queries: Sequence[Query],
    *,
    statement_timeout: float = 0.0,
    lock_timeout: float = 0.0,
    settings: Sequence[str] = (),
) -> Callable[[], list[Answer]]:
    """Send what `read_together` reads, and return what waits for it, as `asked` does; not in a transaction."""
    first = (BEGIN_READING, *reading_settings(statement_timeout, lock_timeout), *settings)
    waited = asked(connection, [first, *_apart(connection, queries), ("ROLLBACK",)])

    def read() -> list[Answer]:
        begun, *answers, _ = waited()
        if error := begun[-1].error:
            raise error
        return [answer[-1] for answer in answers[::2]]

    return read


def _apart(connection: Connection, queries: Sequence[Query]) -> list[tuple[str, ...]]:
    """Return queries as groups of statements, each query with a savepoint of its own."""
    cursor = psycopg.ClientCursor(connection)
    texts = [cursor.mogrify(query, parameters or None) for query, parameters in queries]  # type: ignore[arg-type]
    return [group for text in texts for group in (("SAVEPOINT ask", text), ("ROLLBACK TO SAVEPOINT ask",))]


def pipeline(connection: Connection, groups: Sequence[Sequence[str]]) -> list[list[Answer]]:
    """Send groups of statements in one round trip, and return each statement's answer.

    After an error the server skips the rest of the group, whose answers then have the same error. Each statement must
    be a single one: the extended protocol refuses more. An interruption closes the connection.
    """
    return asked(connection, groups)()


def asked(connection: Connection, groups: Sequence[Sequence[str]]) -> Callable[[], list[list[Answer]]]:
    """Send groups of statements as `pipeline` does, and return what waits for their answers.

    Other sessions can be used meanwhile, this one once its answers are there. What goes wrong is raised there too.
    """
    answers: list[list[Answer]] = []
    lost: psycopg.Error | None = None

    def end(group: list[Answer], result: PGresult) -> None:
        skipped = result.status == ExecStatus.PIPELINE_ABORTED
        group.append(group[-1] if skipped else answer(connection, result))

    def waited() -> list[list[Answer]]:
        if lost:
            raise lost
        with _closed_on_error(connection):
            line.finish()
        return answers

    line = Pipeline(connection, end)
    try:
        with _closed_on_error(connection):
            for statements in groups:
                answers.append([])
                for statement in statements:
                    line.send(statement, answers[-1])
                line.end_group()
            line.flush()
    except psycopg.Error as error:
        lost = error
    return waited


@contextmanager
def _closed_on_error(connection: Connection) -> Iterator[None]:
    """Close a connection over which answers may still arrive, after an error or an interruption."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def answer(connection: Connection, result: PGresult) -> Answer:
    """Return what a result of the driver's holds, its values as Python's."""
    if result.status == ExecStatus.FATAL_ERROR:
        return Answer(error=psycopg.errors.error_from_result(result, connection.info.encoding))
    rows = Transformer(connection)
    rows.set_pgresult(result)
    names = tuple((result.fname(i) or b"").decode(connection.info.encoding) for i in range(result.nfields))
    types = tuple(result.ftype(i) for i in range(result.nfields))
    return Answer(tuple(rows.load_rows(0, result.ntuples, tuple)), names, types)


class Pipeline(Generic[Command]):
    """Statements that are sent ahead of their results, and each result as it arrives.

    A command is what the caller knows a statement by. `begin` is called with it when the server turns to the statement,
    `end` with its result; what `end` raises is raised by `send` or `finish` once the wait for the server is over, and
    then `abandon` is to be called, as after any exception. Both raise psycopg.OperationalError if the connection is
    lost, FeatureNotSupported for a COPY from or to the client. The connection has no other use before `finish`.
    """

    def __init__(
        self,
        connection: Connection,
        end: Callable[[Command, PGresult], None],
        begin: Callable[[Command], None] = lambda _: None,
    ) -> None:
        self._connection = connection
        self._end = end
        self._begin = begin
        # What was sent and has no result yet, with its size in bytes; None ends a group.
        self._sent: deque[tuple[Command | None, int]] = deque()
        self._size = 0
        self._group_is_open = False
        # The result of the first of them, until it is known to be complete.
        self._result: PGresult | None = None
        self._error: Exception | None = None

    def send(self, statement: str, command: Command) -> None:
        """Send a single statement; wait for results where much is ahead of them."""
        pgconn = self._connection.pgconn
        if pgconn.pipeline_status == PipelineStatus.OFF:
            pgconn.enter_pipeline_mode()
        data = statement.encode(self._connection.info.encoding)
        pgconn.send_query_params(data, None)
        pgconn.send_flush_request()
        self._group_is_open = True
        self._sent.append((command, len(data)))
        self._size += len(data)
        if len(self._sent) == 1:
            self._begin(command)
        if len(self._sent) >= MOST_COMMANDS or self._size >= MOST_BYTES:
            self._wait(MOST_COMMANDS // 2, MOST_BYTES // 2)

    def end_group(self) -> None:
        """End the statements of which the server skips the rest after an error."""
        pgconn = self._connection.pgconn
        try:
            pgconn.pipeline_sync()
        except psycopg.OperationalError:
            # On a connection that was lost just now this says only that there is no pipeline.
            raise psycopg.OperationalError(pgconn.get_error_message()) from None
        self._group_is_open = False
        self._sent.append((None, 0))

    def flush(self) -> None:
        """Wait until all is sent, so that the server is at work on it meanwhile."""
        self._connection.wait(self._flushed())

    def finish(self) -> None:
        """Wait for all results: the connection can be used otherwise again."""
        if self._group_is_open:
            self.end_group()
        self._wait(0, 0)
        if self._connection.pgconn.pipeline_status != PipelineStatus.OFF:
            self._connection.pgconn.exit_pipeline_mode()

    def abandon(self) -> None:
        """Drop the results that have not arrived; close the connection if it is not known that they will be soon."""
        failed, self._error = self._error, None
        self._end, self._begin = (lambda *_: None), (lambda *_: None)
        try:
            if self._sent and not failed:
                self._connection.close()
            elif not self._connection.closed:
                self.finish()
        except psycopg.Error:
            self._connection.close()

    def _wait(self, most_commands: int, most_bytes: int) -> None:
        """Wait until no more than that has no result."""
        try:
            self._connection.wait(self._received(most_commands, most_bytes))
        except psycopg.Error:
            # A server that ends a session says why in a result, before the connection is lost.
            if not self._error:
                raise
        if self._error:
            raise self._error

    def _flushed(self) -> PQGen[None]:
        """Send what has not been sent, and take in what the server sends meanwhile."""
        pgconn = self._connection.pgconn
        while pgconn.flush():
            if (yield Wait.RW) & Ready.R:
                pgconn.consume_input()

    def _received(self, most_commands: int, most_bytes: int) -> PQGen[None]:
        """Read results; psycopg reads on when it cancels what runs, so nothing is raised in between."""
        pgconn = self._connection.pgconn
        while len(self._sent) > most_commands or self._size > most_bytes:
            ready = yield Wait.RW if pgconn.flush() else Wait.R
            # psycopg resumes with nothing ready after it has canceled what runs.
            if ready and ready & Ready.R:
                pgconn.consume_input()
            while self._sent and not pgconn.is_busy():
                received = pgconn.get_result()
                if received is None and self._result is None:
                    break
                if received is not None and received.status in COPYING:
                    # The server waits for data, or sends it: the one way out of that is to close the connection.
                    pgconn.finish()
                    raise psycopg.errors.FeatureNotSupported("COPY from or to the client is not supported")
                if received is not None and received.status != ExecStatus.PIPELINE_SYNC:
                    self._result = received
                    continue
                # A command is complete, or a group: the server turns to what comes next.
                (command, length), result = self._sent.popleft(), self._result
                self._size -= length
                self._result = None
                try:
                    if command is not None and result is not None and self._error is None:
                        self._end(command, result)
                    if self._sent and self._sent[0][0] is not None and self._error is None:
                        self._begin(self._sent[0][0])
                except Exception as error:
                    self._error = error
