"""Responses of the APIs: errors, rate limits, what faults answer, and how an answer is sent."""

from __future__ import annotations

import math
import time
from email.utils import formatdate
from http import HTTPStatus
from http.client import responses
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from starlette.types import Send

    from analytics_ingest.sandbox.journal import Record
    from analytics_ingest.sandbox.options import Fault, Options

_JSON = "application/json"


class Answer:
    """A response that is ready to be sent."""

    def __init__(
        self,
        status: int,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        content_type: str = _JSON,
    ) -> None:
        self.status = status
        self.body: bytes = body if isinstance(body, bytes) else orjson.dumps(body)
        if status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            self.body = b""
        self.headers = {"content-type": content_type, **(headers or {})}

    @property
    def half(self) -> int:
        """The length of half of the body, in bytes."""
        return len(self.body) // 2


def error_answer(status: int, message: str, *, headers: dict[str, str] | None = None) -> Answer:
    """Give an error as all five APIs state it."""
    return Answer(status, {"error": message, "status": status}, headers=headers)


class RateLimit:
    """A fixed window of requests for one API."""

    def __init__(self) -> None:
        self._began = -math.inf
        self._count = 0

    def refuse(self, options: Options) -> Answer | None:
        """Count a request; give the 429 if there are too many in this window."""
        if options.rate_limit is None:
            return None
        now = time.monotonic()
        if now - self._began >= options.rate_window:
            self._began, self._count = now, 0
        self._count += 1
        if self._count <= options.rate_limit:
            return None
        wait = self._began + options.rate_window - now
        seconds = max(1, math.ceil(wait))
        reset = math.ceil(time.time() + wait)
        headers = {
            "retry-after": {"retry-after": str(seconds)},
            "retry-after-date": {"retry-after": formatdate(reset, usegmt=True)},
            "x-ratelimit-reset": {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(reset)},
            "x-ratelimit-reset-delta": {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(seconds)},
            "none": {},
        }[options.rate_headers]
        return error_answer(429, "rate limit exceeded", headers=headers)


def fault_answer(fault: Fault) -> Answer:
    """Give the status, body and headers of a fault."""
    body = fault.body
    if body is None:
        return error_answer(fault.status, responses.get(fault.status, "fault"), headers=fault.headers)
    content = body.encode() if isinstance(body, str) else body
    return Answer(fault.status, content, headers=fault.headers, content_type=fault.content_type)


async def send_answer(record: Record, answer: Answer, send: Send, *, part: int | None = None) -> None:
    """Send an answer and record its status.

    With `part`, only so many bytes of the announced body are sent, and no end.
    """
    record.status = answer.status
    headers = {**answer.headers, "content-length": str(len(answer.body))}
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    body = answer.body if part is None else answer.body[:part]
    await send({"type": "http.response.body", "body": body, "more_body": part is not None})
