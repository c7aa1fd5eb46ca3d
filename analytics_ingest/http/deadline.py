"""Ends a request whose answer is not complete at its deadline, in whichever phase it is."""

from __future__ import annotations

import math
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

_serving = threading.local()
"""The request that each thread sends."""


class Deadline:
    """The time by which one request must be answered; made by ``Watchdog.watch``."""

    __slots__ = ("_handle", "_lock", "_orphan", "_over", "at", "expired")

    def __init__(self, seconds: float, lock: threading.RLock) -> None:
        self._lock = lock
        self._handle: socket.socket | None = None
        self._orphan: socket.socket | None = None
        self._over = False
        self.at = time.monotonic() + seconds
        self.expired = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock while the request waits for something else than the server."""
        left = self.at - time.monotonic()
        self.at = math.inf
        try:
            yield
        finally:
            self.at = time.monotonic() + left

    def serve(self, handle: socket.socket) -> None:
        """Notes the connection that the request uses, which ends at once if the deadline has passed."""
        with self._lock:
            self._handle = handle
            if self.expired:
                _shut_down(handle)

    def keep(self, handle: socket.socket) -> bool:
        """Keeps the handle of a connection that was closed before the body was read, until the request is over.

        Returns:
            Whether it is the request's: this thread may also close another one's that is garbage.
        """
        with self._lock:
            if handle is not self._handle:
                return False
            former, self._orphan = self._orphan, handle
        if former is not None:
            former.close()
        return True

    def expire(self) -> None:
        """Ends the request: its connection reads and writes no more."""
        with self._lock:
            if self._over:
                return
            self.expired = True
            if self._handle is not None:
                _shut_down(self._handle)

    def end(self) -> None:
        """Reports that the request is over. Its connection may serve another one now."""
        with self._lock:
            self._over = True
            self._handle = None
        if self._orphan is not None:
            self._orphan.close()


def _shut_down(handle: socket.socket) -> None:
    """Ends what a connection reads and writes, from any thread."""
    # closed by now
    with suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


class _Watched:
    """What a connection adds: a second handle on its socket, by which another thread can shut it down.

    urllib3 keeps the socket to itself until the TLS handshake is over.
    """

    _handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        self._handle = made.dup()
        if deadline := getattr(_serving, "deadline", None):
            deadline.serve(self._handle)
        return made

    def request(self, *args: Any, **kwargs: Any) -> None:
        deadline = getattr(_serving, "deadline", None)
        if deadline and self._handle is not None:
            deadline.serve(self._handle)
        super().request(*args, **kwargs)  # type: ignore[misc]

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        handle, self._handle = self._handle, None
        if handle is None:
            return
        deadline = getattr(_serving, "deadline", None)
        # http.client closes a connection that serves once as soon as the head is there
        if not (deadline and deadline.keep(handle)):
            handle.close()


class WatchedHTTPConnection(_Watched, HTTPConnection):
    """A connection that a ``Deadline`` can end."""


class WatchedHTTPSConnection(_Watched, HTTPSConnection):
    """A TLS connection that a ``Deadline`` can end, also during the handshake."""


class Watchdog:
    """One thread that ends the requests of a transport that are past their deadline.

    Why not a socket's timeout: that starts anew with each byte, so a server that sends one now and then is never
    done, in the head, in the body or in the TLS handshake.
    """

    def __init__(self, seconds: float) -> None:
        """Starts no thread.

        Args:
            seconds: Time for one answer.
        """
        self._seconds = seconds
        self._tick = min(1.0, seconds / 10)
        self._deadlines: dict[int, Deadline] = {}
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        # of all deadlines: each holds it for an instant; the garbage collector may close a connection at any of these
        self._lock = threading.RLock()

    def watch(self) -> Deadline:
        """The deadline of the request that this thread sends next; ``end`` it with the answer."""
        deadline = Deadline(self._seconds, self._lock)
        _serving.deadline = self._deadlines[id(deadline)] = deadline
        if self._thread is None:
            self._start()
        if self._closed.is_set():
            deadline.expire()
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Watches a request no more."""
        deadline.end()
        _serving.deadline = None
        self._deadlines.pop(id(deadline), None)

    @property
    def is_closed(self) -> bool:
        """Whether requests end at once, as nobody waits for them any more."""
        return self._closed.is_set()

    def close(self) -> None:
        """Ends all requests, and the thread."""
        self._closed.set()
        for deadline in list(self._deadlines.values()):
            deadline.expire()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="answer-deadlines", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closed.wait(self._tick):
            now = time.monotonic()
            for deadline in list(self._deadlines.values()):
                if deadline.at <= now:
                    deadline.expire()
