"""The watchdog of requests, where the garbage collector closes connections of earlier sessions."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from analytics_ingest.http.deadline import Watchdog, WatchedHTTPConnection


@pytest.fixture
def connect() -> Iterator[Callable[[], WatchedHTTPConnection]]:
    """Opens connections to a server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def connected() -> WatchedHTTPConnection:
            connection = WatchedHTTPConnection("127.0.0.1", server.getsockname()[1])
            connection.connect()
            return connection

        yield connected


def in_time(act: Callable[[], None]) -> bool:
    """Whether something ends, in a thread of its own."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(10)
    return not thread.is_alive()


def test_connection_that_is_closed_while_the_watchdog_starts_holds_nothing_up(
    connect: Callable[[], WatchedHTTPConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage, watchdog = connect(), Watchdog(60)
    start = threading.Thread

    def collecting(*args: Any, **kwargs: Any) -> threading.Thread:
        # the garbage collector runs wherever something is made
        garbage.close()
        return start(*args, **kwargs)

    ended = []

    def request() -> None:
        watchdog.end(watchdog.watch())
        ended.append(True)

    with monkeypatch.context() as patch:
        thread = start(target=request, daemon=True)
        patch.setattr(threading, "Thread", collecting)
        thread.start()
        thread.join(10)
    assert ended == [True]
    watchdog.close()


def test_connection_of_an_earlier_session_is_not_kept_for_the_request(
    connect: Callable[[], WatchedHTTPConnection],
) -> None:
    garbage, watchdog = connect(), Watchdog(60)
    handle = garbage._handle
    assert handle

    def request() -> None:
        deadline = watchdog.watch()
        own = connect()
        garbage.close()
        assert handle.fileno() == -1
        # that of the request is, as its body may still be on the way
        kept = own._handle
        own.close()
        assert kept
        assert kept.fileno() != -1
        watchdog.end(deadline)
        assert kept.fileno() == -1

    assert in_time(request)
    watchdog.close()
