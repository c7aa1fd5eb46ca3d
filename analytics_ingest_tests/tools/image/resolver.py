"""A DNS server that knows no name, and records those that it is asked for: what would leave this machine."""

from __future__ import annotations

import socket
import threading


class Resolver:
    """Answers each query with a failure.

    Attributes:
        names: The names that were asked for.
    """

    def __init__(self) -> None:
        """Listens on the port of DNS."""
        self.names: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(4096)
            self.names.append(_name(query))
            # the same query as a response: SERVFAIL
            self._socket.sendto(query[:2] + b"\x81\x82" + query[4:], client)


def _name(query: bytes) -> str:
    labels = []
    at = 12
    while at < len(query) and query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += query[at] + 1
    return ".".join(labels)
