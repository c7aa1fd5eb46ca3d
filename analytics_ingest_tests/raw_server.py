"""A server that sends bytes as a test says, byte by byte if need be, over plain TCP or TLS."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle


class RawServer:
    """Accepts connections; ``serve`` gets each one after the head of a request has come.

    Attributes:
        over: Set when the server stops; a server that drips waits with it.
        requests: Heads that came.
    """

    def __init__(self, serve: Serve, *, read_head: bool = True) -> None:
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


Serve = Callable[[socket.socket, RawServer], None]
"""What a server does with a connection."""


def send(data: bytes) -> Serve:
    """Answers with these bytes."""
    return lambda connection, _: connection.sendall(data)


def send_for_ever(head: bytes, pieces: Sequence[bytes], *, seconds: float = 0) -> Serve:
    """Answers with ``head``, then with one piece after the other, over and over.

    Args:
        head: What comes at once.
        pieces: What comes then; the single bytes of a text with ``singly``.
        seconds: The pause after each piece.
    """

    def serve(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(head)
        for piece in cycle(pieces):
            connection.sendall(piece)
            if server.over.wait(seconds):
                return

    return serve


def singly(data: bytes) -> list[bytes]:
    """The single bytes of a text."""
    return [bytes([byte]) for byte in data]
