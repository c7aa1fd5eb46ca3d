"""Ends requests whose response is incomplete at its deadline: in the TLS handshake, the head or the body."""

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

_current = threading.local()
"""The ``deadline`` of the request that each thread sends."""


class Deadline:
    """The time at which one request is ended if its response is incomplete; created by ``Watchdog.watch``."""

    __slots__ = ("_deferred", "_handle", "_is_over", "_lock", "at", "expired")

    def __init__(self, seconds: float, lock: threading.RLock) -> None:
        self._lock = lock
        self._handle: socket.socket | None = None
        self._deferred: socket.socket | None = None
        self._is_over = False
        self.at = time.monotonic() + seconds
        self.expired = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock while the request waits for something other than the server."""
        remaining = self.at - time.monotonic()
        self.at = math.inf
        try:
            yield
        finally:
            self.at = time.monotonic() + remaining

    def attach(self, handle: socket.socket) -> None:
        """Sets the connection that the request uses, and shuts it down at once if the deadline has passed."""
        with self._lock:
            self._handle = handle
            if self.expired:
                _shut_down(handle)

    def defer_close(self, handle: socket.socket) -> bool:
        """Defers the close of a connection, which may happen before its body is read, until the request is over.

        Returns:
            Whether the handle is the request's. The garbage collector may close other connections in this thread.
        """
        with self._lock:
            if handle is not self._handle:
                return False
            previous, self._deferred = self._deferred, handle
        if previous is not None:
            previous.close()
        return True

    def expire(self) -> None:
        """Ends the request, unless it is over: its connection is shut down."""
        with self._lock:
            if self._is_over:
                return
            self.expired = True
            if self._handle is not None:
                _shut_down(self._handle)

    def end(self) -> None:
        """Reports that the request is over: its connection may serve another one."""
        with self._lock:
            self._is_over = True
            self._handle = None
        if self._deferred is not None:
            self._deferred.close()


def _shut_down(handle: socket.socket) -> None:
    """Ends the reads and writes of a connection in any thread."""
    # it may be closed already
    with suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


class _Watched:
    """Adds a second handle on a connection's socket, so that another thread can shut it down.

    urllib3 gives no access to the socket before the TLS handshake is over.
    """

    _handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        connected: socket.socket = super()._new_conn()  # type: ignore[misc]
        self._handle = connected.dup()
        if deadline := getattr(_current, "deadline", None):
            deadline.attach(self._handle)
        return connected

    def request(self, *args: Any, **kwargs: Any) -> None:
        deadline = getattr(_current, "deadline", None)
        if deadline and self._handle is not None:
            deadline.attach(self._handle)
        super().request(*args, **kwargs)  # type: ignore[misc]

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        handle, self._handle = self._handle, None
        if handle is None:
            return
        deadline = getattr(_current, "deadline", None)
        # http.client closes a connection without keep-alive as soon as it has read the head
        if not (deadline and deadline.defer_close(handle)):
            handle.close()


class WatchedHTTPConnection(_Watched, HTTPConnection):
    """A connection that a ``Deadline`` can end."""


class WatchedHTTPSConnection(_Watched, HTTPSConnection):
    """A TLS connection that a ``Deadline`` can end, also during the handshake."""


class Watchdog:
    """A thread that ends the requests of a transport at their deadlines.

    Why not a socket's timeout: each byte restarts it, so a server that sends a byte now and then would never be timed
    out.
    """

    def __init__(self, seconds: float) -> None:
        """Starts no thread.

        Args:
            seconds: Seconds that a response may take.
        """
        self._seconds = seconds
        self._tick = min(1.0, seconds / 10)
        self._deadlines: dict[int, Deadline] = {}
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        # shared by all deadlines; reentrant, as the garbage collector may close a connection while it is held
        self._lock = threading.RLock()

    def watch(self) -> Deadline:
        """Starts the deadline of the request that this thread sends next; call ``end`` when it is over."""
        deadline = Deadline(self._seconds, self._lock)
        _current.deadline = self._deadlines[id(deadline)] = deadline
        if self._thread is None:
            self._start()
        if self._closed.is_set():
            deadline.expire()
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Stops watching a request."""
        deadline.end()
        _current.deadline = None
        self._deadlines.pop(id(deadline), None)

    @property
    def is_closed(self) -> bool:
        """Whether the watchdog is closed, and requests are ended at once."""
        return self._closed.is_set()

    def close(self) -> None:
        """Ends all requests and the thread."""
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
