"""A slow network before a test server."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.servers import TestServer

# The type of a client's messages during authentication: PostgreSQL's documentation, "Message Formats".
PASSWORD = b"p"


@dataclass(slots=True)
class Traffic:
    """How many connections were made, and how often a client sent something after it had heard from the server.

    Passwords do not count: whether a server asks for one, and how often, is the server's setting.
    """

    connections: int = 0
    round_trips: int = 0


@contextmanager
def slow_network(server: TestServer, delay: float) -> Iterator[tuple[TestServer, Traffic]]:
    """Return the server behind a network on which everything takes `delay` seconds each way, and count what passes."""
    made = Traffic()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, server, delay, made), daemon=True).start()
        port = str(listener.getsockname()[1])
        direct = {"host": "127.0.0.1", "port": port, "sslmode": "disable", "gssencmode": "disable"}
        yield TestServer({**server.parameters, **direct}), made


def _accept(listener: socket.socket, server: TestServer, delay: float, made: Traffic) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            made.connections += 1
            upstream = _connect(server)
            # As libpq and PostgreSQL do: small messages do not wait for the acknowledgement of earlier ones.
            for end in (client, upstream):
                if end.family == socket.AF_INET:
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            heard = threading.Event()
            heard.set()

            def asked(data: bytes, heard: threading.Event = heard) -> None:
                made.round_trips += heard.is_set() and not data.startswith(PASSWORD)
                heard.clear()

            def answered(_: bytes, heard: threading.Event = heard) -> None:
                heard.set()

            for source, sink, passed in ((client, upstream, asked), (upstream, client, answered)):
                waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()
                threading.Thread(target=_receive, args=(source, waiting, delay, passed), daemon=True).start()
                threading.Thread(target=_send, args=(sink, waiting), daemon=True).start()


def _connect(server: TestServer) -> socket.socket:
    host, port = server.parameters["host"], server.parameters.get("port", "5432")
    if not host.startswith("/"):
        return socket.create_connection((host, int(port)))
    upstream = socket.socket(socket.AF_UNIX)
    upstream.connect(f"{host}/.s.PGSQL.{port}")
    return upstream


def _receive(
    source: socket.socket, waiting: queue.Queue[tuple[float, bytes]], delay: float, passed: Callable[[bytes], object]
) -> None:
    data = b"-"
    while data:
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
        if data:
            passed(data)
        waiting.put((time.monotonic() + delay, data))


def _send(sink: socket.socket, waiting: queue.Queue[tuple[float, bytes]]) -> None:
    with sink, contextlib.suppress(OSError):
        while data := _due(waiting):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)


def _due(waiting: queue.Queue[tuple[float, bytes]]) -> bytes:
    due, data = waiting.get()
    time.sleep(max(0.0, due - time.monotonic()))
    return data
