"""A slow network before a test server."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.servers import TestServer


@contextmanager
def slow_network(server: TestServer, delay: float) -> Iterator[tuple[TestServer, list[socket.socket]]]:
    """Return the server behind a network on which everything takes `delay` seconds each way, however much it is.

    The list has every connection that was made.
    """
    made: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, server, delay, made), daemon=True).start()
        port = str(listener.getsockname()[1])
        direct = {"host": "127.0.0.1", "port": port, "sslmode": "disable", "gssencmode": "disable"}
        yield TestServer({**server.parameters, **direct}), made


def _accept(listener: socket.socket, server: TestServer, delay: float, made: list[socket.socket]) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            made.append(client)
            upstream = _connect(server)
            for source, sink in ((client, upstream), (upstream, client)):
                waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()
                threading.Thread(target=_receive, args=(source, waiting, delay), daemon=True).start()
                threading.Thread(target=_send, args=(sink, waiting), daemon=True).start()


def _connect(server: TestServer) -> socket.socket:
    host, port = server.parameters["host"], server.parameters.get("port", "5432")
    if not host.startswith("/"):
        return socket.create_connection((host, int(port)))
    upstream = socket.socket(socket.AF_UNIX)
    upstream.connect(f"{host}/.s.PGSQL.{port}")
    return upstream


def _receive(source: socket.socket, waiting: queue.Queue[tuple[float, bytes]], delay: float) -> None:
    data = b"-"
    while data:
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
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
