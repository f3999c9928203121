"""Many statements in one round trip."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
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
    answers: list[list[Answer]] = [[]]
    lost: psycopg.Error | None = None

    def end(statement: str | None, result: PGresult) -> None:
        if statement is None:
            answers.append([])
        elif result.status == ExecStatus.PIPELINE_ABORTED:
            answers[-1].append(answers[-1][-1])
        else:
            answers[-1].append(_answer(connection, result))

    def waited() -> list[list[Answer]]:
        if lost:
            raise lost
        with _closed_on_error(connection):
            connection.wait(exchanged)
            pgconn.exit_pipeline_mode()
        return answers[:-1]

    pgconn, encoding = connection.pgconn, connection.info.encoding
    commands = (part for group in groups for part in (*group, None))
    exchanged = _exchanged(pgconn, encoding, commands, str, end, lambda _: None)
    try:
        with _closed_on_error(connection):
            pgconn.enter_pipeline_mode()
            connection.wait(_sent(exchanged))
    except psycopg.Error as error:
        lost = error
    return waited


@contextmanager
def _closed_on_error(connection: Connection) -> Iterator[None]:
    """Close a connection whose use was interrupted, or failed: what comes over it next would be of the same use."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _sent(exchanged: PQGen[None]) -> PQGen[None]:
    """Go on with an exchange until all is sent, or as much as travels ahead of its results."""
    with suppress(StopIteration):
        wanted = next(exchanged)
        while wanted == Wait.RW:
            wanted = exchanged.send((yield wanted))


def _answer(connection: Connection, result: PGresult) -> Answer:
    if result.status == ExecStatus.FATAL_ERROR:
        return Answer(error=psycopg.errors.error_from_result(result, connection.info.encoding))
    rows = Transformer(connection)
    rows.set_pgresult(result)
    names = tuple((result.fname(i) or b"").decode(connection.info.encoding) for i in range(result.nfields))
    types = tuple(result.ftype(i) for i in range(result.nfields))
    return Answer(tuple(rows.load_rows(0, result.ntuples, tuple)), names, types)


def exchange(
    connection: Connection,
    commands: Iterator[Command | None],
    text: Callable[[Command], str],
    end: Callable[[Command | None, PGresult], None],
    begin: Callable[[Command], None] = lambda _: None,
) -> None:
    """Send commands ahead of their results, and hand on each result as it arrives; None ends a group of commands.

    After an error the server skips the rest of the group. `text` gives a command's SQL, a single statement. `begin` is
    called when the server turns to a command, `end` with its result, and with None at the end of a group. Raises
    psycopg.OperationalError if the connection is lost, FeatureNotSupported for a COPY from or to the client; a
    connection on which results are left unread is closed.
    """
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    try:
        connection.wait(_exchanged(pgconn, connection.info.encoding, commands, text, end, begin))
    finally:
        if pgconn.status == ConnStatus.OK:
            try:
                pgconn.exit_pipeline_mode()
            except psycopg.Error:
                connection.close()


def _exchanged(
    pgconn: PGconn,
    encoding: str,
    commands: Iterator[Command | None],
    text: Callable[[Command], str],
    end: Callable[[Command | None, PGresult], None],
    begin: Callable[[Command], None],
) -> PQGen[None]:
    """Return once all results are read: psycopg reads on when it cancels what runs."""
    sent: deque[tuple[Command | None, int]] = deque()
    size = 0
    result: PGresult | None = None
    more = True
    while more or sent:
        while more and len(sent) < MOST_COMMANDS and size < MOST_BYTES:
            try:
                command = next(commands)
            except StopIteration:
                more = False
                break
            data = b"" if command is None else text(command).encode(encoding)
            sent.append((command, len(data)))
            size += len(data)
            if command is None:
                pgconn.pipeline_sync()
                continue
            pgconn.send_query_params(data, None)
            pgconn.send_flush_request()
            if len(sent) == 1:
                begin(command)
        if not sent:
            return
        ready = yield Wait.RW if pgconn.flush() else Wait.R
        # psycopg resumes with nothing ready after it has canceled what runs.
        if ready and ready & Ready.R:
            pgconn.consume_input()
        while sent and not pgconn.is_busy():
            received = pgconn.get_result()
            if received is None and result is None:
                break
            if received is not None and received.status in COPYING:
                # The server waits for data, or sends it: the one way out of that is to close the connection.
                pgconn.finish()
                raise psycopg.errors.FeatureNotSupported("COPY from or to the client is not supported")
            if received is not None and received.status != ExecStatus.PIPELINE_SYNC:
                result = received
                continue
            # A command is complete, or a group: the server turns to what comes next.
            command, length = sent.popleft()
            size -= length
            complete, result = (received or result), None
            assert complete is not None  # noqa: S101
            end(command, complete)
            if sent and sent[0][0] is not None:
                begin(sent[0][0])
