"""A forwarder before a test server: it changes what a client says first, or stops passing bytes without a word."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.servers import TestServer

# PostgreSQL's documentation, "Message Formats": StartupMessage.
PROTOCOL = 196608
Startup = Callable[[dict[str, str]], dict[str, str] | bytes]


@dataclass(slots=True)
class Passed:
    """How many bytes went over all connections, both ways, and how many after each part that was received."""

    limit: int | None = None
    closes: bool = False
    total: int = 0
    boundaries: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, data: bytes) -> bytes:
        """Return what of some bytes is passed on."""
        with self.lock:
            room = len(data) if self.limit is None else max(0, self.limit - self.total)
            self.total += len(data[:room])
            self.boundaries.append(self.total)
            return data[:room]


def without_options(parameters: dict[str, str]) -> dict[str, str]:
    """Drop the options of a session in silence, as poolers can be told to."""
    return {key: value for key, value in parameters.items() if key != "options"}


def refused(sqlstate: str, words: str, severity: str = "FATAL") -> Startup:
    """Return what refuses a session with options, in words of its own."""

    def answer(parameters: dict[str, str]) -> dict[str, str] | bytes:
        if "options" not in parameters:
            return parameters
        fields = {"S": severity, "V": "FATAL", "C": sqlstate, "M": words}
        body = b"".join(f"{key}{value}\0".encode() for key, value in fields.items()) + b"\0"
        return b"E" + struct.pack("!i", len(body) + 4) + body

    return answer


@contextmanager
def forwarder(
    server: TestServer, *, limit: int | None = None, closes: bool = False, startup: Startup | None = None
) -> Iterator[tuple[TestServer, Passed]]:
    """Yield a server behind a forwarder that passes at most `limit` bytes.

    Then it keeps its connections open, or `closes` them and those that come later, as a server that is gone does.

    `startup` gets the parameters that a client connects with and returns others, or the answer to the client.
    """
    passed = Passed(limit, closes)
    open_ends: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, server, passed, startup, open_ends), daemon=True).start()
        port = str(listener.getsockname()[1])
        direct = {"host": "127.0.0.1", "port": port, "sslmode": "disable", "gssencmode": "disable"}
        try:
            yield TestServer({**server.parameters, **direct}), passed
        finally:
            for end in open_ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def _accept(
    listener: socket.socket,
    server: TestServer,
    passed: Passed,
    startup: Startup | None,
    open_ends: list[socket.socket],
) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            upstream = connect(server)
            open_ends += [client, upstream]
            threading.Thread(target=_begin, args=(client, upstream, passed, startup), daemon=True).start()


def connect(server: TestServer) -> socket.socket:
    """Return a connection to a server as libpq makes it."""
    host, port = server.parameters["host"], server.parameters.get("port", "5432")
    if not host.startswith("/"):
        return socket.create_connection((host, int(port)))
    upstream = socket.socket(socket.AF_UNIX)
    upstream.connect(f"{host}/.s.PGSQL.{port}")
    return upstream


def _begin(client: socket.socket, upstream: socket.socket, passed: Passed, startup: Startup | None) -> None:
    with contextlib.suppress(OSError):
        if startup:
            length, protocol = struct.unpack("!ii", client.recv(8, socket.MSG_WAITALL))
            body = client.recv(length - 8, socket.MSG_WAITALL)
            if protocol == PROTOCOL:
                words = body.decode().rstrip("\0").split("\0")
                answer = startup(dict(zip(words[::2], words[1::2], strict=True)))
                if isinstance(answer, bytes):
                    client.sendall(answer)
                    client.shutdown(socket.SHUT_RDWR)
                    upstream.shutdown(socket.SHUT_RDWR)
                    return
                body = b"".join(f"{key}\0{value}\0".encode() for key, value in answer.items()) + b"\0"
            upstream.sendall(struct.pack("!ii", len(body) + 8, protocol) + body)
    for source, sink in ((client, upstream), (upstream, client)):
        threading.Thread(target=_pass, args=(source, sink, passed), daemon=True).start()


def _pass(source: socket.socket, sink: socket.socket, passed: Passed) -> None:
    # A client that is killed while something for it is under way resets its connection.
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            part = passed.take(data)
            sink.sendall(part)
            if len(part) < len(data):
                if not passed.closes:
                    return  # Both ends stay open, and hear nothing any more.
                source.shutdown(socket.SHUT_RDWR)
                break
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
