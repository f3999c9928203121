"""A proxy before the server that delays each direction, and counts round trips: a server that is far away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

DELAY = 0.010
PORT = 5432


@dataclass(slots=True)
class Counter:
    """How many connections there were, and how often a client sent something after an answer of the server."""

    connections: int = 0
    round_trips: int = 0


@contextmanager
def slow_link(upstream: Path, directory: Path, delay: float = DELAY) -> Iterator[Counter]:
    """Listen on a socket in a directory, as port 5432, and pass everything on to a server's socket, each way late.

    `delay` is in seconds and holds for each direction. The handshake of TCP, another round trip, is not part of it.
    """
    counter = Counter()
    listening: SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = SimpleQueue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counter.connections += 1
        answers, requests = await asyncio.open_unix_connection(str(upstream))
        answer_seen = [True]

        def sent() -> None:
            counter.round_trips += answer_seen[0]
            answer_seen[0] = False

        def answered() -> None:
            answer_seen[0] = True

        await asyncio.gather(_pass_on(reader, requests, delay, sent), _pass_on(answers, writer, delay, answered))

    async def listen() -> None:
        await asyncio.start_unix_server(serve, directory / f".s.PGSQL.{PORT}")
        done = asyncio.Event()
        listening.put((asyncio.get_running_loop(), done))
        await done.wait()

    directory.mkdir(mode=0o700)
    # Connections that are still open at the end are ended with it.
    thread = threading.Thread(target=lambda: asyncio.run(listen()))
    thread.start()
    loop, done = listening.get()
    try:
        yield counter
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, seen: Callable[[], None]
) -> None:
    """Pass on what comes from one side to the other, each piece `delay` seconds after it came."""
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read() -> None:
        data = b"more"
        while data:
            try:
                data = await reader.read(2**16)
            except ConnectionError:
                data = b""
            if data:
                seen()
            pieces.put_nowait((time.monotonic() + delay, data))

    reading = asyncio.ensure_future(read())
    with suppress(ConnectionError):
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
    writer.close()
    await reading
