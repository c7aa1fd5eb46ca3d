"""A local server that answers as a test says, for what the sandbox does not do, and sessions that ask it."""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from analytics_ingest.apis.model import RetryPolicy
from analytics_ingest.apis.registry import APIS
from analytics_ingest.config.api_settings import Settings
from analytics_ingest.http.meter import Meter
from analytics_ingest.http.rate_limit import Clock
from analytics_ingest.http.selector import RowSelector
from analytics_ingest.http.session import ApiSession
from analytics_ingest.http.transport import Request

KEY = "k3y-of-the-tests"
MAX_RUNS_PER_MESSAGE = struct.pack("ii", 1, 0)
"""SO_LINGER that makes ``close`` reset the connection."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """What is answered, or how an answer is kept back. A body that is no text is sent as JSON."""

    status: int = 200
    body: Any = field(default_factory=lambda: {"data": []})
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = "application/json"
    fault: Literal["", "reset", "truncate", "hang"] = ""

    @cached_property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    method: str = "GET"
    body: bytes = b""

    @cached_property
    def json(self) -> Any:
        """The parsed body; ``None`` for one that is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Server(ThreadingHTTPServer):
    """A server for as many connections at once as a sync opens: the default resets some of more than five."""

    daemon_threads = True
    request_queue_size = 128


class FakeServer:
    """The server. ``reply`` gives the answer to a request; ``asked`` are the requests so far."""

    def __init__(self, reply: Callable[[Asked], Response]) -> None:
        self.asked: list[Asked] = []
        self.over = threading.Event()
        self._reply = reply
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet

            def do_GET(self) -> None:
                upstream._answer(self)

            def do_POST(self) -> None:
                upstream._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        asked = Asked(parts.path, dict(parse_qsl(parts.query)), dict(handler.headers), handler.command, body)
        self.asked.append(asked)
        answer = self._reply(asked)
        if answer.fault == "hang":
            self.over.wait(5)
        if answer.fault in ("reset", "hang"):
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, MAX_RUNS_PER_MESSAGE)
            handler.connection.close()
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        if answer.content_type:
            handler.send_header("Content-Type", answer.content_type)
        handler.send_header("Content-Length", str(len(answer.content)))
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if answer.fault == "truncate":
            handler.wfile.write(answer.content[: len(answer.content) // 2])
            handler.close_connection = True
        else:
            handler.wfile.write(answer.content)


def script(*answers: Response | Callable[[Asked], Response]) -> Callable[[Asked], Response]:
    """One answer after the other, or what it gives to a request; the last one for ever."""
    left = deque(answers)

    def reply(asked: Asked) -> Response:
        answer = left.popleft() if len(left) > 1 else left[0]
        return answer if isinstance(answer, Response) else answer(asked)

    return reply


class Client:
    """One endpoint's session of an API, whose rows are at ``data``, with what it cost and logged."""

    def __init__(
        self,
        api: str,
        url: str,
        *,
        clock: Clock,
        status_codes: tuple[int, ...] = (),
        retry: RetryPolicy | None = None,
        **settings: Any,
    ) -> None:
        self.url = url
        self.meter = Meter()
        self._key = settings.get("api_key", KEY)
        self.api_session = ApiSession(
            replace(APIS[api], retry=retry or APIS[api].retry),
            Settings(**{"base_url": url, "api_key": KEY, **settings}),
            log=logging.getLogger("test"),
            clock=clock,
        )
        self._status_codes = status_codes

    def get(self, path: str = "/rows", *, json: dict[str, Any] | None = None) -> Any:
        """The parsed body of an answer, whose bytes are released; to a POST if there is a body to send."""
        answer = self.send(path, json=json)
        answer.release()
        return answer.body

    def send(self, path: str = "/rows", *, json: dict[str, Any] | None = None) -> Any:
        """The answer itself; pauses are slept."""
        steps = self.api_session.send(
            Request(self.url + path, {}, {"api_key": self._key}, json=json),
            meter=self.meter,
            select=RowSelector("data").select,
            status_codes=self._status_codes,
        )
        while True:
            try:
                self.api_session.clock.sleep(next(steps).seconds)
            except StopIteration as end:
                return end.value

    def close(self) -> None:
        self.api_session.close()
