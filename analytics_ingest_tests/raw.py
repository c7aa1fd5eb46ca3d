"""A server that sends bytes as a test says, byte by byte if need be, over plain TCP or TLS."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RawServer:
    """Accepts connections; ``serve`` gets each one after the head of a request has come.

    Attributes:
        over: Set when the server stops; a server that drips waits with it.
        requests: Heads that came.
    """

    def __init__(self, serve: Callable[[socket.socket, RawServer], None], *, read_head: bool = True) -> None:
        self.over = threading.Event()
        self.requests: list[bytes] = []
        self._serve = serve
        self._read_head = read_head
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self.over.set()
        # wakes accept
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self._read_head:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(65_536) or b"\r\n\r\n"
                self.requests.append(head)
            self._serve(connection, self)


def send(data: bytes) -> Callable[[socket.socket, RawServer], None]:
    """Answers with these bytes, as the ``serve`` of a server."""
    return lambda connection, _: connection.sendall(data)


def drip(connection: socket.socket, server: RawServer, data: bytes, *, seconds: float) -> None:
    """Sends one byte after the other, again from the beginning, until the server stops or nobody reads."""
    while True:
        for byte in data:
            connection.sendall(bytes([byte]))
            if server.over.wait(seconds):
                return
